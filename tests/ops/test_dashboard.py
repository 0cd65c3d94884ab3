"""The operator's pages, over a source that holds plain dictionaries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from itsdangerous import TimestampSigner

from postbacks.errors import NotFound, Unavailable
from postbacks.ops.dashboard import formatting, session
from postbacks.ops.dashboard.pages import SIGN_INS_PER_MINUTE, dashboard_router
from postbacks.snippet.serving import integrity

ADMIN = "adm_the-right-token"
KEY = b"k" * 32
SECRETS = ("EAAB-planted", "sk_planted", "whsec_planted")

ITEM = {
    "id": "dlv_01", "app": "my-game", "event_id": "order/7?x", "event_name": "<script>alert(1)</script>",
    "destination": "meta-main", "platform": "meta", "status": "held", "reason": "held", "attempts": 2,
    "next_attempt_at": "2999-01-01T00:00:00Z", "deadline": "2999-01-02T00:00:00Z",
    "created_at": "2026-11-02T09:30:00Z", "updated_at": "2026-11-02T09:30:05Z", "delivered_at": None,
}  # fmt: skip
ATTEMPT = {
    "number": 1, "started_at": "2026-11-02T09:30:01Z", "duration_ms": 81, "http_status": 400, "verdict": "hold",
    "code": "190", "message": "Error validating access token: <b>expired</b>",
    "request": {"method": "POST", "url": "https://graph.example/events", "body": '{"value":4.90,"n":"</pre><script>"}'},
    "response": {"body": '{"error":{"code":190}}'},
}  # fmt: skip
EVENT = {
    "event_id": "order/7?x", "name": "<script>alert(1)</script>", "status": "matched",
    "occurred_at": "2026-11-02T09:30:00Z",
    "match": {"method": "visitor_id", "confidence": "high"},
    "clicks": [
        {"type": "fbclid", "value": "IwAR0", "clicked_at": "2026-11-02T09:00:00Z", "method": "visitor_id",
         "taken": True, "why": "the click of the same visitor"},
        {"type": "ttclid", "value": "E.C.P", "clicked_at": "2026-11-02T10:00:00Z", "method": "visitor_id",
         "taken": False, "why": "the click is later than the event"},
    ],
    "deliveries": [ITEM],
    "not_sent": [{"destination": "x-main", "platform": "x", "reason": "no_click_id"}],
}  # fmt: skip
DESTINATION = {
    "app": "my-game", "name": "meta main", "platform": "meta", "enabled": True,
    "credentials": {"access_token": SECRETS[0], "signing_secret": SECRETS[2]},
    "held_at": "2026-11-02T09:30:01Z", "held_code": "190", "held_message": "Error validating access token",
    "held_remedy": "Generate a new access token in Events Manager.", "paused_at": None,
}  # fmt: skip
APP = {"name": "my-game", "secret_key": SECRETS[1], "keys": [
    {"publishable_key": "pk_in_force", "revoked_at": None, "secret_key": SECRETS[1]},
    {"publishable_key": "pk_revoked", "revoked_at": "2026-11-01T00:00:00Z"},
]}  # fmt: skip


class FakeSource:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.next_cursor: str | None = None

    async def list_deliveries(self, filters: Mapping[str, str], limit: int, cursor: str | None) -> dict[str, Any]:
        self.calls.append(("list", dict(filters), limit, cursor))
        return {"items": [ITEM], "next_cursor": self.next_cursor}

    async def get_delivery(self, delivery_id: str) -> dict[str, Any]:
        if delivery_id != ITEM["id"]:
            raise NotFound("There is no such delivery.")
        match = {"method": "ip", "confidence": "ambiguous", "clicked_at": None}
        return {**ITEM, "idempotency_key": "c" * 36, "match": match, "attempt_log": [ATTEMPT]}

    async def get_event(self, app: str, event_id: str) -> dict[str, Any]:
        self.calls.append(("event", app, event_id))
        return EVENT

    async def list_destinations(self) -> list[dict[str, Any]]:
        return [DESTINATION]

    async def list_apps(self) -> list[dict[str, Any]]:
        return [APP]

    async def retry(self, delivery_id: str) -> None:
        self.calls.append(("retry", delivery_id))

    async def pause(self, app: str, name: str) -> None:
        self.calls.append(("pause", app, name))

    async def resume(self, app: str, name: str) -> None:
        self.calls.append(("resume", app, name))

    async def check(self, app: str, name: str) -> dict[str, Any]:
        self.calls.append(("check", app, name))
        return {"ok": False, "code": "190", "message": "The token is dead.", "remedy": "Make a new one."}


PAGES = ["/", "/deliveries/dlv_01", "/apps/my-game/events/order%2F7%3Fx", "/destinations", "/setup"]
ACTIONS = [
    ("/deliveries/dlv_01/retry", ("retry", "dlv_01")),
    ("/destinations/my-game/meta-main/pause", ("pause", "my-game", "meta-main")),
    ("/destinations/my-game/meta-main/resume", ("resume", "my-game", "meta-main")),
    ("/destinations/my-game/meta-main/check", ("check", "my-game", "meta-main")),
]


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


def browser(
    source: FakeSource, *, base: str = "http://testserver", token: str = ADMIN, key: bytes = KEY, **options: Any
) -> TestClient:
    app = FastAPI(docs_url=None)
    app.include_router(dashboard_router(lambda _: source, lambda _: token, lambda _: key, **options))
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.fixture
def guest(source: FakeSource) -> TestClient:
    return browser(source)


@pytest.fixture
def operator(guest: TestClient) -> TestClient:
    assert sign_in(guest).status_code == 303
    return guest


def csrf_of(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found
    return found[1]


def sign_in(client: TestClient, token: str = ADMIN, target: str = "/") -> Any:
    form = client.get("/sign-in", params={"next": target})
    return client.post("/sign-in", data={"csrf": csrf_of(form.text), "token": token, "next": target})


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_sent_to_the_sign_in_form_and_back(guest: TestClient, source: FakeSource, path: str) -> None:
    away = guest.get(path)

    assert (away.status_code, source.calls) == (303, [])
    assert csrf_of(guest.get(away.headers["location"]).text)
    assert sign_in(guest, target=path).headers["location"] == path


@pytest.mark.parametrize("base", ["http://testserver", "https://testserver"])
def test_the_session_cookie_is_out_of_reach(source: FakeSource, base: str) -> None:
    cookie = sign_in(browser(source, base=base)).headers["set-cookie"]

    assert cookie.startswith(f"{session.COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ("Secure" in cookie) == base.startswith("https")
    assert ADMIN not in cookie


def test_behind_a_tls_proxy_the_cookie_is_secure_and_tags_say_https(source: FakeSource) -> None:
    client = browser(source, scheme_of=lambda _: "https")
    # The proxy speaks http with us and hands the browser's cookies on.
    form = client.get("/sign-in")
    guest = form.headers["set-cookie"].partition(";")[0]
    data = {"csrf": csrf_of(form.text), "token": ADMIN}
    answer = client.post("/sign-in", data=data, headers={"Cookie": guest})
    cookie = answer.headers["set-cookie"]

    assert answer.status_code == 303
    assert "Secure" in cookie and "Secure" in form.headers["set-cookie"]
    setup = client.get("/setup", headers={"Cookie": cookie.partition(";")[0]}).text
    assert "https://testserver/postbacks.js" in setup


def test_sign_ins_are_limited_by_address_whether_right_or_wrong(source: FakeSource) -> None:
    address = ["203.0.113.1"]
    client = browser(source, address_of=lambda _: address[0])

    assert [sign_in(client, f"wrong-{n}").status_code for n in range(SIGN_INS_PER_MINUTE)] == [
        401
    ] * SIGN_INS_PER_MINUTE
    refused = sign_in(client)
    assert refused.status_code == 429, "the right one now tells nothing either"
    assert int(refused.headers["retry-after"]) >= 1
    assert session.COOKIE not in client.cookies
    address[0] = "203.0.113.2"
    assert sign_in(client).status_code == 303, "another address is not slowed"


@pytest.mark.parametrize("token", ["", "adm_wrong", ADMIN[:-1], ADMIN + "x", "ä"])
def test_a_wrong_token_opens_nothing(guest: TestClient, token: str) -> None:
    answer = sign_in(guest, token)

    assert answer.status_code == 401
    assert session.COOKIE not in guest.cookies
    assert guest.get("/").status_code == 303


def test_an_empty_admin_token_lets_nobody_in(source: FakeSource) -> None:
    assert sign_in(browser(source, token=""), "").status_code == 401


def test_the_sign_in_form_must_be_our_own(guest: TestClient) -> None:
    guest.get("/sign-in")

    assert guest.post("/sign-in", data={"csrf": "0" * 64, "token": ADMIN}).status_code == 403


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "evil", ""]
)
def test_signing_in_never_leads_to_another_site(guest: TestClient, target: str) -> None:
    assert sign_in(guest, target=target).headers["location"] == "/"


@pytest.mark.parametrize(
    "cookie",
    [
        "admin",
        TimestampSigner(b"another key", salt="operator").sign("x").decode(),
        "\xff.x.y".encode("latin-1").decode("latin-1"),
    ],
    ids=["unsigned", "another key", "no text"],
)
def test_a_forged_session_is_none(guest: TestClient, cookie: str) -> None:
    header = f"{session.COOKIE}={cookie}".encode("latin-1")

    assert guest.get("/", headers={"Cookie": header}).status_code == 303


def test_the_cookie_of_the_sign_in_form_is_no_session(guest: TestClient) -> None:
    guest.get("/sign-in")
    planted = guest.cookies[session.GUEST_COOKIE]

    assert guest.get("/", headers={"Cookie": f"{session.COOKIE}={planted}"}).status_code == 303


@pytest.mark.parametrize("changed", [{"token": "adm_new"}, {"key": b"n" * 32}])
def test_a_new_token_or_key_ends_every_session(
    operator: TestClient, source: FakeSource, changed: dict[str, Any]
) -> None:
    cookie = {"Cookie": f"{session.COOKIE}={operator.cookies[session.COOKIE]}"}

    assert browser(source).get("/", headers=cookie).status_code == 200
    assert browser(source, **changed).get("/", headers=cookie).status_code == 303


def test_a_session_ends_with_its_lifetime(operator: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LIFETIME", -1)

    assert operator.get("/").status_code == 303


def test_signing_out_forgets_the_session(operator: TestClient) -> None:
    csrf = csrf_of(operator.get("/").text)

    assert operator.post("/sign-out", data={"csrf": csrf}).status_code == 303
    assert session.COOKIE not in operator.cookies


@pytest.mark.parametrize(("path", "call"), ACTIONS)
def test_an_action_needs_the_token_of_its_session(
    operator: TestClient, source: FakeSource, path: str, call: tuple[str, ...]
) -> None:
    other = browser(source)
    sign_in(other)
    foreign = csrf_of(other.get("/destinations").text)
    own = csrf_of(operator.get("/destinations").text)

    for bad in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "é"}):
        assert operator.post(path, data=bad).status_code == 403
    assert call not in source.calls
    assert operator.post(path, data={"csrf": own}).status_code in (200, 303)
    assert call in source.calls


@pytest.mark.parametrize(("path", "call"), ACTIONS)
def test_an_action_needs_a_session(guest: TestClient, source: FakeSource, path: str, call: tuple[str, ...]) -> None:
    csrf = csrf_of(guest.get("/sign-in").text)

    assert guest.post(path, data={"csrf": csrf}).headers["location"] == "/sign-in?next=%2F"
    assert source.calls == []


def test_a_long_form_is_refused(operator: TestClient) -> None:
    assert operator.post("/sign-in", content=b"x" * 20_000).status_code == 413


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/deliveries/dlv_none", "/dashboard.css", "/docs"])
def test_every_answer_carries_a_strict_policy(operator: TestClient, path: str) -> None:
    answer = operator.get(path)

    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (answer.headers["cache-control"] == "no-store") == (path != "/dashboard.css")


@pytest.mark.parametrize("path", [*PAGES, "/?user_id=%22%3E%3Cscript%3E&refresh=5", "/docs"])
def test_nothing_on_a_page_is_markup_but_ours(operator: TestClient, path: str) -> None:
    html = operator.get(path).text

    assert not re.search(r"<script|<b>|\son\w+=|\sstyle=|javascript:", html)


@pytest.mark.parametrize("path", ["/", "/deliveries/dlv_01", "/apps/my-game/events/x"])
def test_an_event_named_script_is_shown_as_text(operator: TestClient, path: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in operator.get(path).text


@pytest.mark.parametrize("path", PAGES)
def test_no_secret_is_shown_even_where_the_source_gives_one(operator: TestClient, path: str) -> None:
    html = operator.get(path).text

    assert not [secret for secret in (*SECRETS, ADMIN) if secret in html]


def test_filters_and_cursor_reach_the_source_and_the_links(operator: TestClient, source: FakeSource) -> None:
    source.next_cursor = "c2"
    html = operator.get("/?status=failed&event_name=%20level%20up%20&app=&cursor=c1&refresh=10&other=1").text

    assert source.calls[-1] == ("list", {"status": "failed", "event_name": "level up"}, 50, "c1")
    assert 'href="/?status=failed&amp;event_name=level+up&amp;cursor=c2"' in html
    assert '<meta http-equiv="refresh" content="10">' in html
    assert "<option selected>failed</option>" in html


@pytest.mark.parametrize("refresh", ["0", "1", "301", "-5", "x", "9" * 5000, "٣"])
def test_an_odd_refresh_is_ignored(operator: TestClient, refresh: str) -> None:
    answer = operator.get("/", params={"refresh": refresh})

    assert answer.status_code == 200
    assert "http-equiv" not in answer.text


def test_a_delivery_shows_each_attempt_as_it_was_sent(operator: TestClient) -> None:
    html = operator.get("/deliveries/dlv_01").text

    assert "HTTP 400" in html
    assert "&#34;value&#34;: 4.90" in html
    assert "Error validating access token" in html
    assert "ip (ambiguous)" in html
    assert 'action="/deliveries/dlv_01/retry"' in html


def test_an_event_shows_why_each_click_was_taken_or_not(operator: TestClient, source: FakeSource) -> None:
    html = operator.get(PAGES[2]).text

    assert source.calls[-1] == ("event", "my-game", "order/7?x")
    assert "the click of the same visitor" in html
    assert "the click is later than the event" in html
    assert "no click of this platform was matched" in html
    assert "/apps/my-game/events/order%2F7%3Fx" in operator.get("/").text


def test_a_held_destination_shows_since_when_why_and_what_to_do(operator: TestClient) -> None:
    html = operator.get("/destinations").text

    assert "2026-11-02 09:30:01" in html
    assert "Error validating access token" in html
    assert "Generate a new access token in Events Manager." in html
    assert 'action="/destinations/my-game/meta%20main/resume"' in html


def test_a_destination_shows_the_time_left_for_what_waits(
    operator: TestClient, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=5, minutes=30)

    async def destinations(*_: Any) -> list[dict[str, Any]]:
        return [{**DESTINATION, "waiting": 3, "expires_at": soon}, {**DESTINATION, "held_at": None, "waiting": 1}]

    monkeypatch.setattr(source, "list_destinations", destinations)
    html = operator.get("/destinations").text

    assert html.count("Time left: the first of them expires in 5 h 29 min.") == 1
    assert "3 deliveries waiting" in html and "1 delivery waiting" in html


@pytest.mark.parametrize(
    ("reason", "due"), [("paused", False), ("destination_held: 190", False), ("young_click", True)]
)
def test_what_waits_for_its_destination_is_not_called_due(reason: str, due: bool) -> None:
    assert formatting.gated({"status": "held", "reason": reason}) is not due


def test_backticks_become_code_and_nothing_else_does() -> None:
    assert formatting.ticks("put `a<b>` & go") == "put <code>a&lt;b&gt;</code> &amp; go"
    assert formatting.ticks("one ` alone <b>") == "one ` alone &lt;b&gt;"
    assert formatting.ticks(None) == ""


def test_a_check_shows_cause_and_remedy(operator: TestClient) -> None:
    csrf = csrf_of(operator.get("/destinations").text)
    answer = operator.post("/destinations/my-game/meta%20main/check", data={"csrf": csrf})

    assert answer.status_code == 200
    assert "The token is dead." in answer.text
    assert "Make a new one." in answer.text


def test_the_setup_page_has_the_tag_of_each_key_in_force(operator: TestClient) -> None:
    html = operator.get("/setup").text

    assert "data-key=&#34;pk_in_force&#34;" in html or 'data-key="pk_in_force"' in html
    assert integrity() in html
    assert "pk_revoked" not in html


@pytest.mark.parametrize(("problem", "status"), [(NotFound("Gone <b>."), 404), (Unavailable("No database."), 503)])
def test_a_problem_is_a_page(
    operator: TestClient, source: FakeSource, monkeypatch: pytest.MonkeyPatch, problem: Any, status: int
) -> None:
    async def fails(*_: Any) -> Any:
        raise problem

    monkeypatch.setattr(source, "list_destinations", fails)
    answer = operator.get("/destinations")

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"b":1.50,"a":[]}', '{\n  "b": 1.50,\n  "a": []\n}'),
        ('[1,{"x":"{,}\\""}]', '[\n  1,\n  {\n    "x": "{,}\\""\n  }\n]'),
        ({"a": 1}, '{\n  "a": 1\n}'),
        ("event=install&x={", "event=install&x={"),
        ("[" * 100_000, "[" * 100_000),
        (None, ""),
    ],
)
def test_bodies_are_indented_and_otherwise_untouched(body: object, expected: str) -> None:
    assert formatting.pretty(body) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (864_000 + 7200, "10 d")],
)
def test_spans(seconds: float, expected: str) -> None:
    assert formatting.span(seconds) == expected
