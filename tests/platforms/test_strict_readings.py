"""Reddit and X: whatever ingest accepts, the simulator takes with every uncertain rule switched to its strict side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Adapter, Prepared, Request, Response, Target
from postbacks.platforms.reddit import AGE_MARGIN, Reddit
from postbacks.platforms.x import X
from postbacks.sandbox.base import Fault, Reply, Seen, Simulator
from postbacks.sandbox.reddit import RedditSimulator
from postbacks.sandbox.x import XSimulator
from tests.platforms.conversions import NOW, conversion, conversions, target

REDDIT_STRICT = {"rule_28": True, "rule_32": True, "requests_per_second": 0, "events_per_second": 0}
X_STRICT = {"rule_17_age": True, "rate_limit": 0}
X_OAUTH = {
    "pixel_id": "o1abc",
    "consumer_key": "sandbox-x-consumer",
    "consumer_secret": "sandbox-x-consumer-secret",
    "access_token": "sandbox-x-access",
    "access_token_secret": "sandbox-x-access-secret",
}
HOST = "http://127.0.0.1:9000"


def seen(request: Request, prefix: str) -> Seen:
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.removeprefix(HOST + prefix)
    return Seen(request.method, path, request.url, {}, headers, request.body, NOW.timestamp())


def scene(
    adapter: Adapter[Any, Any], simulator: Simulator, switches: Mapping[str, Any], **credentials: str
) -> tuple[Target[Any, Any], str]:
    """The demo destination of a simulator, at its address."""
    simulator.set_switches(switches)
    prefix = f"/{simulator.name}"
    options = {"share": ["ip", "user_agent"]} if isinstance(adapter, X) else {}
    configured = target(adapter, credentials or simulator.demo_destination()["credentials"], options)
    bases = dict.fromkeys(adapter.api_bases, HOST + prefix)
    return Target(configured.credentials, configured.options, bases), prefix


def answered(reply: Reply) -> Response:
    return Response(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.payload())


def sent(
    adapter: Adapter[Any, Any], simulator: Simulator, drawn: Sequence[Conversion], *, fault: str = "", **setup: Any
) -> list[Verdict]:
    """The verdict for each conversion of the first round, in order; unsendable ones included."""
    configured, prefix = scene(adapter, simulator, **setup)
    built = adapter.build(configured, drawn, NOW, None)
    verdicts: dict[int, Verdict] = {one.position: one.verdict for one in built.unsendable}
    prepared: Prepared
    for prepared in built.prepared:
        reply = simulator.answer(seen(prepared.request, prefix), Fault(fault) if fault else None)
        read = adapter.read(configured, prepared, answered(reply), NOW)
        verdicts |= dict(zip(prepared.positions, read, strict=True))
    return [verdicts[at] for at in range(len(drawn))]


REDDIT_MAPPINGS = ({"name": "Install"}, {"name": "PURCHASE"}, {"name": "🎮" * 64}, {"name": "SEARCH"}, {"name": "Lead"})
X_MAPPINGS = ({"event_id": "tw-o1abc-o1d01"}, {"event_id": "o1p07"})


@settings(max_examples=80, deadline=None)
@given(st.lists(conversions(("rdt_cid",), REDDIT_MAPPINGS), max_size=4))
def test_reddit_takes_what_ingest_takes(drawn: list[Conversion]) -> None:
    simulator = RedditSimulator()
    verdicts = sent(Reddit(), simulator, drawn, switches=REDDIT_STRICT)

    assert {one.kind for one in verdicts} <= {Kind.DELIVERED, Kind.SKIPPED, Kind.EXPIRED}
    assert all(one.code for one in verdicts)
    assert not simulator.diagnostics


@pytest.mark.parametrize("credentials", [{}, X_OAUTH], ids=["token", "oauth"])
@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(conversions(("twclid",), X_MAPPINGS), max_size=4))
def test_x_takes_what_ingest_takes(credentials: dict[str, str], drawn: list[Conversion]) -> None:
    simulator = XSimulator()
    verdicts = sent(X(), simulator, drawn, switches=X_STRICT, **credentials)

    assert {one.kind for one in verdicts} <= {Kind.DELIVERED, Kind.SKIPPED, Kind.EXPIRED}
    assert all(one.code for one in verdicts)
    assert not simulator.notes


def click(kind: str, **changes: Any) -> Conversion:
    mapping = {"name": "PURCHASE"} if kind == "rdt_cid" else {"event_id": "tw-o1abc-o1p07"}
    base = {"click_type": kind, "click_value": "2-4k1zq8examplexx0w7p3m5n9", "mapping": mapping}
    return conversion(**(base | changes))


LIMITS: list[dict[str, Any]] = [
    {"value": Decimal(0), "currency": "JPY"},
    {"value": Decimal("1e12"), "currency": "JPY"},
    {"value": Decimal("1e12"), "currency": "KWD"},
    {"value": Decimal("0.1") + Decimal("0.2"), "currency": "EUR"},
    {"value": Decimal(0.1 + 0.2), "currency": "CLF"},
    {"occurred_at": NOW},
    {"occurred_at": NOW + timedelta(minutes=10)},
    {"occurred_at": NOW - timedelta(hours=168) + AGE_MARGIN + timedelta(seconds=1)},
    {"consent": Consent(ad_personalization=False)},
]


@pytest.mark.parametrize("changes", LIMITS)
def test_each_limit_is_taken_by_both(changes: dict[str, Any]) -> None:
    reddit = sent(Reddit(), RedditSimulator(), [click("rdt_cid", **changes)], switches=REDDIT_STRICT)
    x = sent(X(), XSimulator(), [click("twclid", **changes)], switches=X_STRICT)

    assert [one.kind for one in (*reddit, *x)] == [Kind.DELIVERED] * 2


def test_reddit_takes_the_longest_click_id() -> None:
    simulator = RedditSimulator()
    verdicts = sent(Reddit(), simulator, [click("rdt_cid", click_value="c" * 2_000)], switches=REDDIT_STRICT)

    assert [one.kind for one in verdicts] == [Kind.DELIVERED]
    assert simulator.received()[0]["click_id"] == "c" * 2_000


def test_amounts_arrive_as_they_are() -> None:
    reddit, x = RedditSimulator(), XSimulator()
    for amount in ({"value": Decimal("4.99"), "currency": "EUR"}, {"value": Decimal("1.234"), "currency": "KWD"}):
        sent(Reddit(), reddit, [click("rdt_cid", key=f"pbk_{amount['currency']}", **amount)], switches=REDDIT_STRICT)
        sent(X(), x, [click("twclid", key=f"pbk_{amount['currency']}", **amount)], switches=X_STRICT)

    for simulator in (reddit, x):
        assert [(one["value"], one["currency"]) for one in simulator.received()] == [(4.99, "EUR"), (1.234, "KWD")]


REDDIT_FAULTS = {
    "throttle": Kind.RETRY,
    "user_agent_limited": Kind.RETRY,
    "unavailable": Kind.RETRY,
    "token_revoked": Kind.HOLD,
    "wrong_permission": Kind.HOLD,
    "http_503": Kind.RETRY,
    "processed_zero": Kind.SPLIT,
    "invalid_in_200": Kind.RETRY,
}
X_FAULTS = {
    "cancelled_408": Kind.RETRY,
    "locked_423": Kind.RETRY,
    "throttle": Kind.RETRY,
    "internal_500": Kind.RETRY,
    "over_capacity_503": Kind.RETRY,
    "token_revoked": Kind.HOLD,
    "wrong_permission": Kind.HOLD,
    "html_502": Kind.RETRY,
    "html_404": Kind.RETRY,
    "no_account": Kind.HOLD,
    "processed_zero": Kind.RETRY,
    "processed_fewer": Kind.REFUSED,
}


@pytest.mark.parametrize("fault", sorted(RedditSimulator.fault_kinds))
def test_every_fault_of_reddit_is_understood(fault: str) -> None:
    verdicts = sent(Reddit(), RedditSimulator(), [click("rdt_cid")] * 2, fault=fault, switches={})

    assert {one.kind for one in verdicts} == {REDDIT_FAULTS[fault]}
    assert {one.retry_after for one in verdicts} == {5.0 if fault == "throttle" else None}


@pytest.mark.parametrize("fault", sorted(XSimulator.fault_kinds))
def test_every_fault_of_x_is_understood(fault: str) -> None:
    verdicts = sent(X(), XSimulator(), [click("twclid")] * 2, fault=fault, switches={})

    assert {one.kind for one in verdicts} == {X_FAULTS[fault]}
    assert {one.retry_after for one in verdicts} == {5.0 if fault in ("throttle", "over_capacity_503") else None}


def test_reddits_other_rate_headers_are_obeyed() -> None:
    verdicts = sent(
        Reddit(), RedditSimulator(), [click("rdt_cid")], fault="throttle", switches={"throttle_header": "x"}
    )

    assert [(one.kind, one.retry_after, one.throttled) for one in verdicts] == [(Kind.RETRY, 5.0, True)]


@pytest.mark.parametrize(
    ("switches", "kinds"),
    [
        ({"poison": "bad"}, [Kind.RETRY, Kind.REFUSED, Kind.RETRY]),
        ({"poison": "bad", "poison_index": False}, [Kind.SPLIT] * 3),
        ({"poison": "bad", "error_fields": False}, [Kind.SPLIT] * 3),
    ],
)
def test_reddit_names_the_bad_event_or_the_batch_is_split(switches: dict[str, Any], kinds: list[Kind]) -> None:
    batch = [click("rdt_cid", key=key) for key in ("good1", "bad", "good2")]

    assert [one.kind for one in sent(Reddit(), RedditSimulator(), batch, switches=switches)] == kinds


def test_checks_prove_the_credentials_and_record_nothing() -> None:
    for adapter, simulator in ((Reddit(), RedditSimulator()), (X(), XSimulator())):
        configured, prefix = scene(adapter, simulator, {})
        request = adapter.check_request(configured, NOW, None)
        assert request is not None
        good = adapter.read_check(configured, answered(simulator.answer(seen(request, prefix), None)))
        bad = adapter.read_check(configured, answered(simulator.answer(seen(request, prefix), Fault("token_revoked"))))

        assert (good.ok, bad.ok, bool(bad.remedy)) == (True, False, True)
        assert simulator.received() == []
        assert not any(orjson.loads(request.body).get("data", {}).get("events", []))
