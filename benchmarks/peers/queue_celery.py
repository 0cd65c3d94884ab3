"""Celery with Redis: gevent workers, which is its pool for jobs that wait for a network."""

from __future__ import annotations

import sys

import redis
from celery import Celery
from geventhttpclient import HTTPClient

import conversion

QUEUE = "celery"

app = Celery("peers", broker=conversion.redis())
app.conf.update(
    task_ignore_result=True,
    task_store_eager_result=False,
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_compression=None,
)


class _Client:
    """The pooled keep-alive client, opened with the first job of a worker."""

    opened: HTTPClient | None = None

    @classmethod
    def get(cls) -> HTTPClient:
        if cls.opened is None:
            host, port = conversion.sink().split("/")[2].split(":")
            cls.opened = HTTPClient(host, int(port), concurrency=conversion.setting("concurrency"))
        return cls.opened


@app.task(name="send")
def send(body: str) -> None:
    """The job."""
    response = _Client.get().post(conversion.PATH, body=body, headers=conversion.HEADERS)
    response.read()
    if response.status_code != 200:
        raise RuntimeError(response.status_code)


def _enqueue(count: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for body in conversion.bodies(count):
            send.apply_async((body,), producer=producer)


def _work() -> None:
    app.worker_main(
        [
            "worker",
            "--pool=gevent",
            f"--concurrency={conversion.setting('concurrency')}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )


def _left() -> int:
    client = redis.Redis.from_url(conversion.redis())
    return int(client.llen(QUEUE)) + int(client.hlen("unacked"))


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        from gevent import monkey

        monkey.patch_all()
    conversion.command(_enqueue, _work, _left)
