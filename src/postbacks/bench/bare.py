"""The ceiling of single requests: one FastAPI endpoint with one pydantic model, no database, the same server set-up.

python -m postbacks.bench.bare   prints its port
"""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Purchase(BaseModel):
    name: str
    event_id: str
    user_id: str
    value: float
    currency: str
    platform: str | None = None


def build() -> FastAPI:
    """The bare application."""
    app = FastAPI()

    @app.post("/v1/events", status_code=202)
    async def post(event: Purchase) -> dict[str, str]:
        return {"event_id": event.event_id, "status": "matched"}

    return app


async def _serve() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - the parent process reads it
    config = uvicorn.Config(
        build(),
        loop="none",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve())
