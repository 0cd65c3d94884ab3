"""The webhook receiver: it records what comes, or refuses it as a fault says."""

from __future__ import annotations

import pytest

from postbacks.sandbox.base import Fault, Reply, Seen
from postbacks.sandbox.sink import SinkSimulator


def send(sim: SinkSimulator, fault: Fault | None = None) -> Reply:
    seen = Seen("POST", "/in", "http://127.0.0.1/sink/in", {"click_id": "c1"}, {"webhook-id": "pbk_1"}, b"{}", 1.0)
    return sim.answer(seen, fault)


def test_what_comes_is_recorded() -> None:
    sim = SinkSimulator()

    assert (send(sim).status, send(sim).status) == (204, 204)
    assert [(one["key"], one["click_id"]) for one in sim.received()] == [("pbk_1", "c1")] * 2


@pytest.mark.parametrize(
    ("kind", "status", "headers"),
    [
        ("throttle", 429, {"Retry-After": "7"}),
        ("unavailable", 503, {"Retry-After": "7"}),
        ("redirect", 302, {"Location": "/sink/redirected"}),
        ("gone", 410, {}),
    ],
)
def test_faults(kind: str, status: int, headers: dict[str, str]) -> None:
    sim = SinkSimulator()
    sim.add_fault(Fault(kind))
    reply = send(sim, Fault(kind, seconds=7))

    assert (reply.status, reply.headers) == (status, headers)
    assert sim.received() == []
