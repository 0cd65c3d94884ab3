"""`GET /v1/stats`: counts per destination and status per time bucket, and how long deliveries took."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from postbacks.catalog import App
from postbacks.domain.delays import NO_DELAY, percentile
from postbacks.errors import FieldError, Invalid
from postbacks.ingest.fields import parse_time
from postbacks.ops.service import Caller
from postbacks.store import stats
from postbacks.web.answers import json_response

router = APIRouter(tags=["Deliveries"])

BUCKETS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
MOST_BUCKETS = 2_000


@router.get("/v1/stats", summary="Counts and delays")
async def get_stats(
    caller: Caller,
    app: Annotated[str | None, Query(max_length=64)] = None,
    start: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=64)] = None,
    bucket: Literal["minute", "hour", "day"] = "hour",
) -> Response:
    """From (inclusive) and to (exclusive) default to the last 24 hours; times are when a delivery ended."""
    service, principal = caller
    now = service.clock()
    since, until = _range(start, end, now, BUCKETS[bucket])
    apps = service.apps_of(principal, app)
    rows: list[Mapping[str, Any]] = []
    pending: list[Mapping[str, Any]] = []
    for one in apps:
        async with service.database.connection() as connection:
            rows += [{**row, "app": one.name} for row in await stats.read(connection, one.name, since, until)]
            pending += [{**row, "app": one.name} for row in await stats.open_counts(connection, one.name)]
    names = {one.name: one for one in apps}
    return json_response(
        {
            "from": since,
            "to": until,
            "bucket": bucket,
            "buckets": _buckets(rows, BUCKETS[bucket], names),
            "totals": _buckets(rows, None, names),
            "open": [
                {
                    "app": row["app"],
                    "destination": row["destination"],
                    "status": row["status"],
                    "count": row["n"],
                    "oldest_due_at": row["oldest_due"],
                }
                for row in pending
            ],
            "events": _events(rows),
            "not_sent": _not_sent(rows, names),
        }
    )


def _range(start: str | None, end: str | None, now: datetime, step: timedelta) -> tuple[datetime, datetime]:
    errors, times = [], []
    for name, text, default in (("from", start, now - timedelta(days=1)), ("to", end, now + timedelta(minutes=1))):
        try:
            times.append(parse_time(text) if text is not None else default)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if not errors and times[0] >= times[1]:
        errors.append(FieldError("to", "must be later than from"))
    if not errors and (times[1] - times[0]) / step > MOST_BUCKETS:
        errors.append(
            FieldError("bucket", f"gives more than {MOST_BUCKETS} buckets: take a larger one or a shorter time")
        )
    if errors:
        raise Invalid("A parameter is not valid.", errors=errors)
    return times[0].replace(second=0, microsecond=0), times[1]


def _buckets(rows: list[Mapping[str, Any]], step: timedelta | None, apps: Mapping[str, App]) -> list[dict[str, Any]]:
    counts: dict[tuple[Any, str, str], Counter[str]] = defaultdict(Counter)
    delays: dict[tuple[Any, str, str], Counter[int]] = defaultdict(Counter)
    for row in rows:
        if row["destination"] == stats.EVENTS:
            continue
        at = _start(row["minute"], step) if step else None
        key = (at, row["app"], row["destination"])
        counts[key][row["status"]] += row["n"]
        if row["delay"] != NO_DELAY:
            delays[key][row["delay"]] += row["n"]
    return [
        {
            **({"at": at} if step else {}),
            "app": app,
            "destination": destination,
            "platform": _platform(apps, app, destination),
            "counts": {status: n for status, n in sorted(counts[at, app, destination].items()) if n},
            "delay_ms": {
                name: percentile(delays[at, app, destination], share)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            },
        }
        for at, app, destination in sorted(counts, key=lambda key: (str(key[0]), *key[1:]))
    ]


def _start(minute: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + ((minute - epoch) // step) * step


def _platform(apps: Mapping[str, App], app: str, destination: str) -> str | None:
    known = apps[app].destinations.get(destination)
    return known.platform if known else None


def _events(rows: list[Mapping[str, Any]]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for row in rows:
        if row["destination"] == stats.EVENTS:
            totals[row["status"]] += row["n"]
    return {status: n for status, n in sorted(totals.items()) if n}


def _not_sent(rows: list[Mapping[str, Any]], apps: Mapping[str, App]) -> list[dict[str, Any]]:
    totals: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row["status"] == "not_sent":
            totals[row["app"], row["destination"], row["reason"]] += row["n"]
    return [
        {
            "app": app,
            "destination": destination,
            "platform": _platform(apps, app, destination),
            "reason": reason,
            "count": n,
        }
        for (app, destination, reason), n in sorted(totals.items())
        if n
    ]
