"""`/healthz`, `/readyz`, `/metrics`: for machines that look after machines."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from postbacks.errors import Unavailable
from postbacks.ops.service import Ops
from postbacks.store import configuration, migrating, stats, upkeep
from postbacks.store.database import OUTAGES
from postbacks.web.answers import json_response

router = APIRouter(tags=["Health"])


# HEAD as well: some load balancers ask so.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="The process lives")
async def healthz() -> Response:
    return json_response({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Database and schema are there")
async def readyz(request: Request) -> Response:
    """503 while the database cannot be reached or its schema is older than this code.

    `dispatchers.last_heartbeat_seconds` is reported only: ingest stays ready without dispatchers.
    """
    service: Ops = request.app.state.ops
    try:
        async with service.database.connection() as connection:
            schema = await migrating.current(connection)
            age = await upkeep.last_heartbeat_seconds(connection)
    except OUTAGES as outage:
        raise Unavailable(f"The database cannot be reached ({type(outage).__name__}).") from None
    newest = migrating.newest()
    if schema is None or schema < newest:
        raise Unavailable(
            f"The database has schema {schema or 'none'}, this version needs {newest}: run `postbacks migrate`."
        )
    return json_response(
        {
            "status": "ready",
            "database": "ok",
            "schema": {"current": schema, "needed": newest},
            "dispatchers": {"last_heartbeat_seconds": age},
        }
    )


@router.get("/metrics", summary="Prometheus metrics of this process, and the backlog")
async def metrics(request: Request) -> Response:
    service: Ops = request.app.state.ops
    gauges = service.metrics
    try:
        now = service.clock()
        found = []
        async with service.database.connection() as connection:
            rows = await configuration.destinations(connection)
        for app in list(service.catalog.apps()):
            async with service.database.connection() as connection:
                found += [(app.name, row) for row in await stats.open_counts(connection, app.name)]
        gauges.held.clear()
        for one in rows:
            gauges.held.labels(one.app, one.name).set(1 if one.held_at else 0)
        gauges.open_deliveries.clear()
        gauges.oldest_due.clear()
        for name, row in found:
            gauges.open_deliveries.labels(name, row["destination"], row["status"]).set(row["n"])
            if row["status"] != "held" and row["oldest_due"] is not None:
                age = max(0.0, (now - row["oldest_due"]).total_seconds())
                gauges.oldest_due.labels(name, row["destination"]).set(age)
    except OUTAGES:
        pass  # the process's own counters are worth having while the database is away
    return Response(gauges.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
