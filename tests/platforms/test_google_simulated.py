"""Whatever ingest accepts, the simulator at its strictest takes what the adapter makes of it, on both routes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Conversion
from postbacks.platforms.base import Response, Target
from postbacks.sandbox.base import Reply
from tests.platforms.conversions import NOW, conversions
from tests.platforms.google_setup import GOOGLE, build, destination
from tests.sandbox.google_driver import Driver, row_errors

MAPPINGS = ({"conversion_action_id": "55501"}, {"conversion_action_id": "55502"})
OF_THE_CLICK = {"UNPARSEABLE_GCLID", "UNPARSEABLE_GBRAID", "UNPARSEABLE_WBRAID", "CLICK_CONVERSION_ALREADY_EXISTS"}
"""What the platform alone can know: whether it ever gave out such a click ID, and what it holds already."""

drawn = st.lists(conversions(GOOGLE.click_id_types, MAPPINGS), max_size=5, unique_by=lambda one: one.key)


def replies(route: str, conversions: list[Conversion]) -> list[Reply]:
    """The simulator's answers to the adapter's requests for all that is due; the bearer is one that it knows."""
    driver = Driver()
    driver.now = NOW.timestamp()
    where = destination(route, hold_hours=0)
    due = [one for one in conversions if not_before(where, one) <= NOW]
    answers = []
    for prepared in build(where, *due).prepared:
        headers = {name.lower(): value for name, value in prepared.request.headers.items()}
        path = urlsplit(prepared.request.url).path
        sent = {**headers, "authorization": driver.headers()["authorization"]}
        answers.append(driver.send(prepared.request.method, path, prepared.request.body, sent))
    return answers


def not_before(where: Target[Any, Any], one: Conversion) -> datetime:
    return GOOGLE.timing(where).not_before(one.occurred_at, one.click.clicked_at)


@given(drawn)
@settings(max_examples=80, deadline=None)
def test_data_manager(conversions: list[Conversion]) -> None:
    assert [(reply.status, reply.body) for reply in replies("data_manager", conversions) if reply.status != 200] == []


@given(drawn)
@settings(max_examples=80, deadline=None)
def test_the_google_ads_api(conversions: list[Conversion]) -> None:
    for reply in replies("ads_api", conversions):
        assert {code for _, _, code, _ in row_errors(reply)} <= OF_THE_CLICK


@pytest.mark.parametrize("mappings", [(), MAPPINGS, MAPPINGS * 6])
@pytest.mark.parametrize("route", ["data_manager", "ads_api"])
def test_the_check_is_taken_and_leaves_nothing(route: str, mappings: tuple[Any, ...]) -> None:
    driver = Driver()
    where = destination(route)
    request = GOOGLE.check_request_for(where, mappings, NOW, driver.headers()["authorization"].partition(" ")[2])
    headers = {name.lower(): value for name, value in request.headers.items()}

    reply = driver.send(request.method, urlsplit(request.url).path, request.body, headers)

    said = GOOGLE.read_check_for(where, mappings, response(reply))
    assert said.ok, said
    assert driver.sim.stored == {}


def response(reply: Reply) -> Response:
    return Response(
        reply.status, {name.lower(): value for name, value in reply.headers.items()}, orjson.dumps(reply.body)
    )
