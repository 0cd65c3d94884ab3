"""The control API under `/_sandbox/`: what arrived, what to do wrong, what to switch. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from postbacks.sandbox.base import COMMON_FAULTS, COMMON_SWITCHES, Fault, Simulator
from postbacks.sandbox.masking import mask_body, mask_headers, mask_query

SIMULATORS_KEY: web.AppKey[dict[str, Simulator]] = web.AppKey("simulators", dict)
DEFAULT_LIMIT = 1_000
"""How many of the newest conversions `received` shows unless `?limit=` says otherwise."""

LONGEST_FAULT_SECONDS = 3600.0

routes = web.RouteTableDef()


class ControlError(Exception):
    """The caller's mistake, in words; becomes `{"error": …}` with `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


def _simulator(request: web.Request) -> Simulator:
    simulators = request.app[SIMULATORS_KEY]
    name = request.match_info["name"]
    if name not in simulators:
        raise ControlError(404, f"There is no simulator {name!r}. There are: {', '.join(simulators)}.")
    return simulators[name]


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ControlError(400, f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ControlError(400, "The body must be a JSON object.")
    return body


@routes.get("/_sandbox/")
@routes.get("/_sandbox")
async def index(request: web.Request) -> web.Response:
    simulators = request.app[SIMULATORS_KEY]
    return answer({"simulators": {name: _described(one) for name, one in simulators.items()}})


def _described(simulator: Simulator) -> dict[str, Any]:
    return {
        "prefix": f"/{simulator.name}",
        "description": (type(simulator).__doc__ or "").strip().partition("\n")[0],
        "stored": len(simulator.stored),
        "requests": len(simulator.requests),
        "faults": [asdict(fault) for fault in simulator.faults],
        "fault_kinds": sorted(COMMON_FAULTS | simulator.fault_kinds),
        "switches": simulator.switches,
    }


@routes.get("/_sandbox/{name}/received")
async def received(request: web.Request) -> web.Response:
    simulator = _simulator(request)
    limit = _limit(request)
    items = simulator.received()
    key = request.query.get("key")
    if key is not None:
        items = [one for one in items if one["key"] == key]
    return answer({"count": len(items), "items": items[-limit:] if limit else []})


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not text.isascii() or not text.isdigit():
        raise ControlError(400, "limit must be a whole number, 0 or more.")
    return int(text)


@routes.get("/_sandbox/{name}/requests")
async def requests(request: web.Request) -> web.Response:
    simulator = _simulator(request)
    items = [_masked(entry) for entry in simulator.requests]
    return answer({"count": len(items), "items": items})


def _masked(entry: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**entry, "headers": mask_headers(entry["headers"]), "query": mask_query(entry["query"])}
    for part in ("body", "answer"):
        if part in entry:
            shown[part] = mask_body(entry[part])
    return shown


@routes.get("/_sandbox/{name}/faults")
async def faults(request: web.Request) -> web.Response:
    return answer({"faults": [asdict(fault) for fault in _simulator(request).faults]})


@routes.post("/_sandbox/{name}/faults")
async def add_fault(request: web.Request) -> web.Response:
    simulator = _simulator(request)
    fault = _fault(await _object(request))
    try:
        simulator.add_fault(fault)
    except ValueError as error:
        raise ControlError(400, f"{error}.") from error
    return answer({"faults": [asdict(one) for one in simulator.faults]}, 201)


def _fault(body: dict[str, Any]) -> Fault:
    known = {"kind", "times", "seconds", "status", "match"}
    if unknown := sorted(body.keys() - known):
        raise ControlError(400, f"A fault has no {', '.join(unknown)}; it has: {', '.join(sorted(known))}.")
    fault = Fault(
        kind=body.get("kind", ""),
        times=body.get("times", 1),
        seconds=body.get("seconds", 5.0),
        status=body.get("status", 502),
        match=body.get("match", ""),
    )
    if not isinstance(fault.kind, str) or not fault.kind:
        raise ControlError(400, "kind must name a fault, for example slow.")
    if not _same_type(1, fault.times) or fault.times < 1:
        raise ControlError(400, "times must be a whole number, 1 or more.")
    if not _same_type(1.0, fault.seconds) or not 0 <= fault.seconds <= LONGEST_FAULT_SECONDS:
        raise ControlError(400, f"seconds must be a number from 0 to {LONGEST_FAULT_SECONDS:.0f}.")
    if not _same_type(1, fault.status) or not 200 <= fault.status <= 599:
        raise ControlError(400, "status must be an HTTP status from 200 to 599.")
    if not isinstance(fault.match, str):
        raise ControlError(400, "match must be text that a request's body contains.")
    return fault


@routes.delete("/_sandbox/{name}/faults")
async def clear_faults(request: web.Request) -> web.Response:
    _simulator(request).faults.clear()
    return answer({"faults": []})


@routes.get("/_sandbox/{name}/switches")
async def switches(request: web.Request) -> web.Response:
    return answer(_simulator(request).switches)


@routes.put("/_sandbox/{name}/switches")
async def put_switches(request: web.Request) -> web.Response:
    simulator = _simulator(request)
    values = await _object(request)
    defaults = {**COMMON_SWITCHES, **simulator.switch_defaults}
    for name, value in values.items():
        if name in defaults and not _may_be(name, defaults[name], value):
            raise ControlError(400, f"{name} must be of the same type as its default, {defaults[name]!r}.")
    try:
        simulator.set_switches(values)
    except ValueError as error:
        raise ControlError(400, f"{error}.") from error
    return answer(simulator.switches)


def _may_be(name: str, default: Any, value: Any) -> bool:
    # Some switches have modes with names besides on and off; a rule is on or off, and "no" would count as on.
    named_mode = isinstance(default, bool) and isinstance(value, str) and not name.startswith("rule_")
    return named_mode or _same_type(default, value)


def _same_type(default: Any, value: Any) -> bool:
    """Whether JSON `value` may stand where `default` stands; a wrong type would only surface as a crash later."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, Mapping):
        return isinstance(value, dict)
    if isinstance(default, list | tuple | set | frozenset):
        return isinstance(value, list)
    return isinstance(value, type(default))


@routes.post("/_sandbox/reset")
async def reset_all(request: web.Request) -> web.Response:
    simulators = request.app[SIMULATORS_KEY]
    for simulator in simulators.values():
        simulator.reset()
    return answer({"reset": list(simulators)})


@routes.post("/_sandbox/{name}/reset")
async def reset(request: web.Request) -> web.Response:
    simulator = _simulator(request)
    simulator.reset()
    return answer({"reset": [simulator.name]})
