"""The hand-written field tables against Google's own protobuf package (a development dependency only)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from google.ads.datamanager_v1 import IngestEventsRequest, IngestEventsResponse, RetrieveRequestStatusResponse
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import ParseDict, ParseError

from postbacks.sandbox.google_fields import INGEST_EVENTS
from postbacks.sandbox.google_json import Message, Problem, snake
from tests.sandbox.google_driver import EVENT, INGEST, Driver, changed


def parses(body: Any, kind: Any = IngestEventsRequest, **options: Any) -> bool:
    try:
        ParseDict(copy.deepcopy(body), kind.pb()(), **options)
    except ParseError:
        return False
    return True


def test_the_tables_name_exactly_the_fields_of_the_package() -> None:
    def compare(table: Message, descriptor: Descriptor, path: str) -> None:
        assert set(table.fields) == {field.json_name for field in descriptor.fields}, path
        assert {snake(name) for name in table.fields} == {field.name for field in descriptor.fields}, path

    def walk(table: Message, descriptor: Descriptor, path: str) -> None:
        compare(table, descriptor, path)
        for field in descriptor.fields:
            reader: Any = table.fields[field.json_name]
            inner = [cell.cell_contents for cell in getattr(reader, "__closure__", None) or ()]
            nested = next((one for one in (reader, *inner) if isinstance(one, Message)), None)
            is_message = field.message_type is not None and field.message_type.name != "Timestamp"
            assert (nested is not None) == is_message, f"{path}.{field.name}"
            if nested is not None:
                walk(nested, field.message_type, f"{path}.{field.name}")

    walk(INGEST_EVENTS, IngestEventsRequest.pb().DESCRIPTOR, "")


RICH = changed(
    changed(INGEST, "events.0.cartData", {"merchantId": "1", "items": [{"quantity": "2", "unitPrice": 1.5}]}),
    "events.0.userData",
    {"userIdentifiers": [{"emailAddress": "ab" * 32}, {"address": {"regionCode": "DE"}}]},
)


@pytest.mark.parametrize(
    "body",
    [
        INGEST,
        {**RICH, "encoding": "HEX"},
        {**INGEST, "consent": {"adUserData": "CONSENT_GRANTED"}, "validateOnly": True},
        changed(INGEST, "events.0.eventTimestamp", "2026-11-20T13:03:09.123456789Z"),
        changed(INGEST, "events.0.conversionValue", "4.99"),
        changed(INGEST, "events.0.conversionValue", 5),
        changed(INGEST, "events.0.conversionValue", None),
        {"destinations": INGEST["destinations"], "events": [{**EVENT, "user_id": "x"}]},
    ],
)
def test_what_the_simulator_takes_the_package_reads(body: Any) -> None:
    assert Driver().ingest(body).status == 200
    assert parses(body)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("surprise", 1),
        ("conversions", []),
        ("destinations.0.customerId", "1"),
        ("destinations.0.operatingAccount.name", "x"),
        ("events.0.gclid", "G"),
        ("events.0.conversionEnvironment", "APP"),
        ("events.0.adIdentifiers.fbclid", "F"),
        ("events.0.consent.analytics", True),
        ("events.0.consent.adUserData", "GRANTED"),
        ("events.0.eventSource", "app"),
        ("events.0.eventTimestamp", "2026-11-20T14:03:09"),
        ("events.0.eventTimestamp", "2026-11-20 14:03:09Z"),
        ("events.0.eventTimestamp", 1795179789),
        ("events.0.transactionId", 1),
        ("events.0.currency", True),
        ("events.0.conversionValue", "much"),
        ("events.0.eventDeviceInfo", {"screenWidth": 2**31}),
        ("events.0.eventDeviceInfo", {"screenWidth": 1.5}),
        ("events.0.userData", {"userIdentifiers": [{"emailAddress": "a", "phoneNumber": "b"}]}),
        ("events.0.destinationReferences", "install"),
        ("events.0.destinationReferences", [None]),
        ("events", {}),
        ("validateOnly", "yes"),
    ],
)
def test_what_the_package_cannot_read_the_simulator_refuses(path: str, value: Any) -> None:
    body = changed(INGEST, path, value)
    assert not parses(body)
    reply = Driver().ingest(body)
    assert reply.status == 400
    assert [one["@type"] for one in reply.body["error"]["details"]] == ["type.googleapis.com/google.rpc.BadRequest"]


@pytest.mark.parametrize(
    ("path", "value"),
    [("events.0.conversionValue", True), ("events.0.transaction_id", "again"), ("events.0.eventSource", 1)],
)
def test_where_the_simulator_is_stricter_than_the_package(path: str, value: Any) -> None:
    body = changed(INGEST, path, value)
    assert parses(body)
    assert Driver().ingest(body).status == 400


def test_answers_parse_with_the_package() -> None:
    driver = Driver(async_outcomes={"evt-0001": "TOO_RECENT_CLICK"}, record_indices=False)
    answer = driver.ingest(INGEST)
    assert parses(answer.body, IngestEventsResponse)
    status = driver.status(answer.body["requestId"])
    assert parses(status.body, RetrieveRequestStatusResponse)
    warned = driver.ingest(changed(INGEST, "events.0.cartData", {"merchantId": "1"}))
    assert parses(warned.body, IngestEventsResponse)


def test_snake_case_and_nulls_are_tidied_away() -> None:
    problems: list[Problem] = []
    body = INGEST_EVENTS.read(
        {"validate_only": True, "events": [{"event_source": "WEB", "userId": None}]}, "", problems
    )
    assert (body, problems) == ({"validateOnly": True, "events": [{"eventSource": "WEB"}]}, [])
