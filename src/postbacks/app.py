"""Builds the HTTP application from a runtime; nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from postbacks import __version__
from postbacks.admin import apps as admin_apps
from postbacks.admin import destinations as admin_destinations
from postbacks.dashboard_source import DashboardSource
from postbacks.ingest import clicks, events, tracks
from postbacks.ops import deliveries, health, statistics, users
from postbacks.ops import events as ops_events
from postbacks.ops.dashboard.pages import dashboard_router
from postbacks.privacy.addresses import household
from postbacks.runtime import Runtime
from postbacks.snippet import serving
from postbacks.web import openapi, problems
from postbacks.web.connection import client_address, client_scheme
from postbacks.web.cors import OpenCors
from postbacks.web.shortcuts import Application

DESCRIPTION = "Ad clicks in, game events in; conversions out to the platform whose click brought the player."


def build_app(runtime: Runtime, extra: Sequence[APIRouter] = ()) -> FastAPI:
    """The API, the dashboard and the snippet. `extra`: routers of the sandbox."""
    app = Application(
        {("POST", "/v1/events"): events.take_events},
        title="Postbacks",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    app.state.ingest = runtime.ingest
    app.state.ops = runtime.ops
    app.state.admin = runtime.admin
    problems.install(app)
    app.add_middleware(OpenCors)
    dashboard = dashboard_router(
        source_of=lambda _: DashboardSource(runtime.ops, runtime.admin),
        admin_token_of=lambda _: runtime.settings.admin_token or "",
        signing_key_of=lambda _: runtime.vault.derive("dashboard session"),
        address_of=lambda request: household(client_address(request, runtime.settings.trusted_proxies)),
        scheme_of=lambda request: client_scheme(request, runtime.settings.trusted_proxies),
    )
    for router in (
        clicks.router,
        events.router,
        ops_events.router,
        tracks.router,
        deliveries.router,
        statistics.router,
        users.router,
        admin_apps.router,
        admin_destinations.router,
        health.router,
        serving.router,
        dashboard,
        *extra,
    ):
        app.include_router(router)
    openapi.install(app)
    return app
