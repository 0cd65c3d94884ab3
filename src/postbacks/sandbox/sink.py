"""A webhook receiver that takes everything: the sixth destination of the demo, and a load sink."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar

import orjson

from postbacks.sandbox.base import Fault, Reply, Seen, Simulator, Stored
from postbacks.sandbox.masking import mask_headers

URL_PLACEHOLDER = "SANDBOX_URL"
"""Stands in `demo_destination()` for the address at which the sandbox listens; whoever starts it puts that in."""

_MACROS = ("click_id", "click_id_type", "event_name", "event_id", "value", "currency", "occurred_at")


class SinkSimulator(Simulator):
    """Any method on any path under `/sink/` is recorded and answered with an empty 204; one entry per request.

    Nothing is validated and nothing is a repeat. `event_id`, `event_name`, `click_id`, `value` and `currency` are
    read from the query, else from the top level of a JSON body; the header `webhook-id` (Standard Webhooks) is the
    key where there is one. `raw` holds method, path, query, headers (credentials masked) and body.

    Faults, none of which stores anything: `throttle` (429) and `unavailable` (503), both with a `Retry-After` of
    `seconds`, `redirect` (302 to `/sink/redirected`), `gone` (410). The common `status` answers anything else.
    """

    name = "sink"
    fault_kinds: ClassVar[frozenset[str]] = frozenset({"throttle", "unavailable", "redirect", "gone"})
    switch_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._serial = count()

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        query = "&".join(f"{macro}={{{macro}}}" for macro in _MACROS)
        return {
            "platform": "webhook",
            "enabled": True,
            "credentials": {},
            "options": {"url": f"{URL_PLACEHOLDER}/sink/demo?{query}", "method": "GET"},
            "events": {"*": {}},
        }

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        if fault is not None:
            return _faulty(fault)
        facts = {**_json_object(seen.body), **seen.query}
        one = Stored(
            key=seen.headers.get("webhook-id") or _text(facts.get("event_id")),
            name=_text(facts.get("event_name")) or seen.path,
            click_id=_text(facts.get("click_id")),
            occurred_at=seen.at,
            value=_number(facts.get("value")),
            currency=_text(facts.get("currency")) or None,
            raw={
                "method": seen.method,
                "path": seen.path,
                "query": dict(seen.query),
                "headers": mask_headers(seen.headers),
                "body": seen.body.decode("utf-8", "replace"),
            },
            received_at=seen.at,
        )
        self.remember((str(next(self._serial)),), one)
        return Reply(204)


def _faulty(fault: Fault) -> Reply:
    wait = {"Retry-After": str(round(fault.seconds))}
    match fault.kind:
        case "throttle":
            return Reply(429, headers=wait)
        case "unavailable":
            return Reply(503, headers=wait)
        case "redirect":
            return Reply(302, headers={"Location": "/sink/redirected"})
        case _:
            return Reply(410)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
