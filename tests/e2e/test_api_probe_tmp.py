import pytest, httpx, json
from tests.support.service import Service
async def test_probe(running: Service):
    s = running
    def show(tag, r): print(tag, r.status_code, r.headers.get("content-type"), r.text[:160].replace("\n"," "))
    for m, p in [("GET","/nope"),("DELETE","/v1/events"),("PUT","/v1/clicks"),("GET","/v1/users/%00"),("GET","/v1/events/%00"),("GET","/v1/events/a%2Fb"),("GET","/v1/users/a%2Fb"),
                 ("GET","/v1/deliveries?limit=201"),("GET","/v1/deliveries?app=%00"),("GET","/v1/deliveries?destination=%00"),("GET","/v1/deliveries?status=nope"),("GET","/v1/deliveries?cursor=x"),("GET","/v1/deliveries?cursor="),
                 ("GET","/v1/deliveries/%00"),("GET","/v1/deliveries/dlv_00"),("GET","/v1/stats?bucket=x"),("GET","/v1/stats?from=x"),("GET","/v1/stats?from=%00"),("DELETE","/v1/users/%00"),("GET","/v1/events/%ff"),("GET","/v1/users/%ff"),("HEAD","/healthz"),("HEAD","/"),("GET","/"),("GET","/docs"),("GET","/openapi.json")]:
        show(m+" "+p, await s.game.request(m, p))
    for m,p in [("GET","/v1/apps/%00"),("GET","/v1/apps/game/destinations/%00"),("DELETE","/v1/apps/game/keys/%00"),("POST","/v1/apps/game/destinations/%00/pause"),("DELETE","/v1/apps/%00"),("GET","/v1/apps/a%2Fb")]:
        show("adm "+m+" "+p, await s.admin.request(m,p))
    for b in [b"", b"{", b"[]", b"null", b"{}", b'"x"', b'{"name":"x"}', b'{"name":"install","user_id":"u","value":1}', b'{"events":[]}', b'{"events":5}', b'{"name":"install","user_id":"u","occurred_at":"nope"}', b"\xff\xfe", b'{"name":"install","user_id":"u","value":NaN,"currency":"EUR"}', b"["*100000]:
        show("POST "+repr(b[:40]), await s.game.post("/v1/events", content=b))
    big = json.dumps({"name":"install","user_id":"u","pad":""})
    pad = 5*1024*1024-len(big)
    for extra in (0,1):
        body = json.dumps({"name":"install","user_id":"u","pad":"x"*(pad+extra)}).encode()
        show(f"big {len(body)-5*1024*1024}", await s.game.post("/v1/events", content=body))
        async def gen():
            for i in range(0,len(body),65536): yield body[i:i+65536]
        show(f"big chunked {len(body)-5*1024*1024}", await s.game.post("/v1/events", content=gen()))
    show("enc", await s.game.post("/v1/events", content=b"{}", headers={"content-encoding":"gzip"}))
    for t in (None, "pk_x", "adm_x"):
        c = s.client(t)
        show(f"auth {t}", await c.post("/v1/events", json={}))
        show(f"auth {t}", await c.get("/v1/deliveries?limit=900"))
        show(f"auth {t}", await c.post("/v1/clicks", json={}))
        show(f"auth {t}", await c.post("/v1/apps", content=b"{"))
        show(f"auth {t}", await c.post("/v1/measure", json={}))
    show("pk", await s.page.post("/v1/events", json={}))
    show("pk", await s.page.get("/v1/deliveries"))
    show("sk", await s.game.get("/v1/apps"))
    show("adm", await s.admin.post("/v1/events", json={"name":"install","user_id":"u"}))
    show("adm", await s.admin.post("/v1/events?app=game", json={"name":"install","user_id":"u"}))
    show("adm", await s.admin.post("/v1/clicks?app=game", json={}))
    show("adm", await s.admin.post("/v1/clicks", json={}))
    show("metrics", await s.client(None).get("/metrics"))
    show("readyz", await s.client(None).get("/readyz"))
