"""Meta and TikTok: what the adapters send against their simulators at their strictest, and what these answer, read.

Adapters and simulators are written from the same sheets and share no code: here they may disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.domain.model import Consent, Conversion, Kind, Verdict
from postbacks.platforms.base import Adapter, Prepared, Request, Response, Target
from postbacks.platforms.meta import Meta
from postbacks.platforms.tiktok import TikTok
from postbacks.sandbox import meta as meta_sandbox
from postbacks.sandbox import tiktok as tiktok_sandbox
from postbacks.sandbox.base import Fault, Seen, Simulator
from tests.platforms.conversions import NOW, conversion, conversions, target

META, TIKTOK = Meta(), TikTok()
UA = "Mozilla/5.0 (Linux; Android 15; Pixel 9)"
LP = "https://game.example/lp"
AGREED = Consent(postbacks=True)
FBCLIDS = {
    "an fbclid": "IwZXh0bgNhZW0BMABhZGlkAasSYNTH_ETIC-0001",
    "2,000 characters": "Aa-_" * 500,
    "an _fbc": "fb.1.1795420000123.IwZXh0bgNhZW0",
    "an _fbc with a language mark": "fb.2.1795420000123.IwZXh0bgNhZW0.Ag",
    "an _fbc with a mark of 8": "fb.1.1795420000123.IwZXh0bgNhZW0.AQIAAQMC",
}

META_OPTIONS: list[dict[str, Any]] = [
    {},
    {"event_source_url": LP},
    {"share": []},
    {"share": ["user_agent", "ip"], "test_event_code": "TEST12345", "partner_agent": "postbacks"},
    {"action_source": "physical_store"},
    {"data_processing_options": []},
    {"data_processing_options": ["LDU"], "share": ["ip"]},
    {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": 1,
        "data_processing_options_state": 1013,
    },
]
TIKTOK_OPTIONS: list[dict[str, Any]] = [
    {},
    {"event_source_url": LP},
    {"share": ["user_agent", "ip"], "test_event_code": "TEST12345", "event_source_url": LP},
    {"limited_data_use": True, "share": ["ip"], "event_source_url": LP},
    {"limited_data_use": False, "event_source_url": LP},
]


def meta(strictest: bool = True, **switches: Any) -> Simulator:
    return _with(meta_sandbox.MetaSimulator(), meta_sandbox.STRICTEST if strictest else {}, switches)


def tiktok(strictest: bool = True, **switches: Any) -> Simulator:
    return _with(tiktok_sandbox.TikTokSimulator(), tiktok_sandbox.STRICTEST if strictest else {}, switches)


def _with(simulator: Simulator, *switches: Any) -> Simulator:
    for one in switches:
        simulator.set_switches(one)
    return simulator


def where(adapter: Adapter[Any, Any], options: dict[str, Any], **credentials: str) -> Target[Any, Any]:
    demo = {"meta": meta_sandbox.MetaSimulator, "tiktok": tiktok_sandbox.TikTokSimulator}[adapter.name]
    return target(adapter, demo.demo_destination()["credentials"] | credentials, options)


def ask(simulator: Simulator, request: Request, fault: Fault | None = None, at: datetime = NOW) -> Response:
    """The simulator's answer to an adapter's request, without a network between them."""
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    seen = Seen(
        request.method, url.path, request.url, dict(parse_qsl(url.query)), headers, request.body, at.timestamp()
    )
    reply = simulator.answer(seen, fault)
    return Response(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.payload())


def sent(
    adapter: Adapter[Any, Any],
    simulator: Simulator,
    to: Target[Any, Any],
    items: Sequence[Conversion],
    *,
    fault: Fault | None = None,
    at: datetime = NOW,
) -> list[tuple[Prepared, Sequence[Verdict]]]:
    built = adapter.build(to, items, NOW, None)
    return [(one, adapter.read(to, one, ask(simulator, one.request, fault, at), at)) for one in built.prepared]


def stored_all(
    adapter: Adapter[Any, Any], simulator: Simulator, to: Target[Any, Any], items: Sequence[Conversion], at: datetime
) -> None:
    for prepared, verdicts in sent(adapter, simulator, to, items, at=at):
        assert set(verdicts) == {Verdict(Kind.DELIVERED)}, (verdicts, prepared.request.body)
    keys = {one["key"] for one in simulator.received()}
    left_out = {left.position for left in adapter.build(to, items, NOW, None).unsendable}
    assert keys == {item.key for position, item in enumerate(items) if position not in left_out}
    assert not [one["warnings"] for one in simulator.received() if one["warnings"]]


META_MAPPINGS = (*META.presets.values(), {"name": "Drache 🐉"}, {"name": "x" * 50}, {"name": "Purchase"})
TIKTOK_MAPPINGS = (*TIKTOK.presets.values(), {"name": "Drache 🐉"}, {"name": "Purchase"}, {"name": "CompletePayment"})


@settings(max_examples=80, deadline=None)
@given(
    st.lists(conversions(("fbclid",), META_MAPPINGS), max_size=6),
    st.sampled_from(META_OPTIONS),
    st.integers(min_value=0, max_value=110),
)
def test_meta_takes_all_that_is_sent_even_two_minutes_later(
    items: list[Conversion], options: dict[str, Any], seconds: int
) -> None:
    stored_all(META, meta(), where(META, options), items, NOW + timedelta(seconds=seconds))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(conversions(("ttclid",), TIKTOK_MAPPINGS), max_size=6),
    st.sampled_from(TIKTOK_OPTIONS),
    st.integers(min_value=0, max_value=110),
)
def test_tiktok_takes_all_that_is_sent_even_two_minutes_later(
    items: list[Conversion], options: dict[str, Any], seconds: int
) -> None:
    stored_all(TIKTOK, tiktok(), where(TIKTOK, options), items, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("options", META_OPTIONS, ids=str)
@pytest.mark.parametrize("value", FBCLIDS.values(), ids=FBCLIDS)
def test_meta_takes_each_form_of_its_click_id_under_each_option(value: str, options: dict[str, Any]) -> None:
    simulator = meta()
    facts: dict[str, Any] = {"click_value": value, "ip": "2001:db8::1", "consent": AGREED, "user_agent": UA}
    item = conversion(mapping={"name": "Purchase"}, value=Decimal("0"), currency="JPY", url=f"{LP}?x=1", **facts)
    stored_all(META, simulator, where(META, options), [item], NOW)
    (one,) = simulator.received()

    assert one["click_id"] == (value.split(".")[3] if value.startswith("fb.") else value)
    assert (one["value"], one["currency"]) == (0, "JPY")


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=7, minutes=-2), timedelta(minutes=-10)])
@pytest.mark.parametrize("adapter", [META, TIKTOK], ids=["meta", "tiktok"])
def test_times_at_each_limit(adapter: Adapter[Any, Any], age: timedelta) -> None:
    simulator = meta() if adapter is META else tiktok()
    item = conversion(occurred_at=NOW - age, clicked_at=NOW - age - timedelta(days=1), url=LP, user_agent=UA)
    stored_all(adapter, simulator, where(adapter, {}), [item], NOW + timedelta(seconds=119))

    assert len(simulator.received()) == 1


def test_meta_takes_our_app_secret_proof() -> None:
    to = where(META, {}, app_secret="hush")
    ((_, verdicts),) = sent(META, meta(app_secret="hush"), to, [conversion()])
    ((_, wrong),) = sent(META, meta(app_secret="other"), to, [conversion()])
    ((_, absent),) = sent(META, meta(app_secret="hush"), where(META, {}), [conversion()])

    assert [verdicts[0].kind, wrong[0].kind, absent[0].kind] == [Kind.DELIVERED, Kind.HOLD, Kind.HOLD]
    assert "app_secret" in wrong[0].remedy
    assert META.read_check(to, ask(meta(app_secret="hush"), META.check_request(to, NOW, None))).ok


META_FAULTS = {
    **dict.fromkeys(
        ("throttle_4", "throttle_17", "throttle_613", "throttle_80004", "throttle_429"), (Kind.RETRY, True)
    ),
    "http_429": (Kind.RETRY, True),
    **dict.fromkeys(("server_1", "server_2", "error_200", "received_none", "unknown_code"), (Kind.RETRY, False)),
    **dict.fromkeys(("token_expired", "token_invalid", "wrong_permission", "proof_required"), (Kind.HOLD, False)),
}
TIKTOK_FAULTS = {
    **dict.fromkeys(("throttle_40100", "throttle_40132", "throttle_429", "http_429"), (Kind.RETRY, True)),
    "maintenance_60001": (Kind.RETRY, True),
    **dict.fromkeys(("sys_50000", "sys_50002", "sys_51012", "sys_500", "unknown_code"), (Kind.RETRY, False)),
    **dict.fromkeys(("token_expired", "token_revoked", "wrong_permission"), (Kind.HOLD, False)),
    "partial_20001": (Kind.DELIVERED, False),
}
FAULTS = [(META, kind, *expected) for kind, expected in META_FAULTS.items()]
FAULTS += [(TIKTOK, kind, *expected) for kind, expected in TIKTOK_FAULTS.items()]


@pytest.mark.parametrize(
    ("adapter", "fault", "kind", "throttled"), FAULTS, ids=lambda value: getattr(value, "name", None) or str(value)
)
def test_each_fault_of_the_simulator_is_read_for_what_it_is(
    adapter: Adapter[Any, Any], fault: str, kind: Kind, throttled: bool
) -> None:
    simulator = meta() if adapter is META else tiktok()
    to = where(adapter, {"event_source_url": LP})
    ((_, verdicts),) = sent(adapter, simulator, to, [conversion()], fault=Fault(fault, seconds=300))
    request = adapter.check_request(to, NOW, None)
    assert request is not None
    check = adapter.read_check(to, ask(simulator, request, Fault(fault)))

    assert (verdicts[0].kind, verdicts[0].throttled) == (kind, throttled)
    assert verdicts[0].message and (verdicts[0].remedy or fault == "http_429")
    assert verdicts[0].retry_after == (300 if fault in ("throttle_80004", "throttle_429") and adapter is META else None)
    assert check.ok is (fault == "partial_20001")
    assert check.ok or len(check.remedy) > 10


def test_every_fault_is_read() -> None:
    assert META_FAULTS.keys() == meta_sandbox.MetaSimulator.fault_kinds
    assert TIKTOK_FAULTS.keys() == tiktok_sandbox.TikTokSimulator.fault_kinds


WRONG = [
    (META, {"access_token": "EAABunknown"}, {}, "190", "access_token"),
    (META, {"access_token": "sandbox-meta-expired"}, {}, "190/463", "access_token"),
    (META, {"dataset_id": "111222333"}, {}, "100/33", "dataset_id"),
    (META, {"dataset_id": "111222333"}, {"rule_6_scope": True}, "200", "ads_management"),
    (TIKTOK, {"access_token": "unknown"}, {}, "40105", "access_token"),
    (TIKTOK, {"access_token": "sandbox-tiktok-expired"}, {}, "40102", "access_token"),
    (TIKTOK, {"pixel_code": "C9OTHER00PIXEL000001"}, {}, "40001", "Operator"),
    (TIKTOK, {"pixel_code": "7300000000000000001"}, {}, "40002", "pixel_code"),
]


@pytest.mark.parametrize(("adapter", "credentials", "switches", "code", "remedy"), WRONG)
def test_a_check_finds_what_a_send_would_find(
    adapter: Adapter[Any, Any], credentials: dict[str, str], switches: dict[str, Any], code: str, remedy: str
) -> None:
    simulator = meta(**switches) if adapter is META else tiktok(**switches)
    to = where(adapter, {"event_source_url": LP}, **credentials)
    request = adapter.check_request(to, NOW, None)
    assert request is not None
    check = adapter.read_check(to, ask(simulator, request))
    ((_, verdicts),) = sent(adapter, simulator, to, [conversion()])

    assert (check.ok, check.code) == (False, code)
    assert remedy in check.remedy
    assert (verdicts[0].kind, verdicts[0].code) == (Kind.HOLD, code)


@pytest.mark.parametrize("strictest", [True, False])
@pytest.mark.parametrize("adapter", [META, TIKTOK], ids=["meta", "tiktok"])
def test_a_check_of_good_credentials_records_nothing(adapter: Adapter[Any, Any], strictest: bool) -> None:
    simulator = (meta if adapter is META else tiktok)(strictest)
    to = where(adapter, {"test_event_code": "TEST12345"})
    request = adapter.check_request(to, NOW, None)
    assert request is not None

    assert adapter.read_check(to, ask(simulator, request)).ok
    assert not simulator.received()


@pytest.mark.parametrize("adapter", [META, TIKTOK], ids=["meta", "tiktok"])
def test_a_poisoned_batch_is_to_be_split_and_fails_alone(adapter: Adapter[Any, Any]) -> None:
    simulator = (meta if adapter is META else tiktok)(poison="77.25")
    to = where(adapter, {"event_source_url": LP})
    good, bad = (
        conversion(key=f"dlv_{amount}", mapping={"name": "Purchase"}, value=Decimal(amount), currency="EUR")
        for amount in ("4.99", "77.25")
    )
    ((_, together),) = sent(adapter, simulator, to, [good, bad])
    ((_, alone),) = sent(adapter, simulator, to, [bad])
    ((_, rest),) = sent(adapter, simulator, to, [good])

    assert [one.kind for one in together] == [Kind.SPLIT, Kind.SPLIT]
    assert [alone[0].kind, rest[0].kind] == [Kind.REFUSED, Kind.DELIVERED]
    assert [one["key"] for one in simulator.received()] == ["dlv_4.99"]


def test_tiktok_tells_the_good_from_the_bad_of_a_partial_success_alone() -> None:
    simulator = tiktok(poison="77.25", rule_31_partial=True)
    to = where(TIKTOK, {"event_source_url": LP})
    items = [
        conversion(key=f"dlv_{amount}", mapping={"name": "Purchase"}, value=Decimal(amount), currency="EUR")
        for amount in ("4.99", "77.25")
    ]
    ((_, together),) = sent(TIKTOK, simulator, to, items)
    alone = [sent(TIKTOK, simulator, to, [item])[0][1][0].kind for item in items]

    assert {one.kind for one in together} == {Kind.SPLIT}
    assert alone == [Kind.DELIVERED, Kind.REFUSED]
    assert [one["copies"] for one in simulator.received()] == [2]


def test_the_body_of_a_thousand_is_taken_whole() -> None:
    items = [conversion(key=f"dlv_{number}", url=LP, user_agent=UA) for number in range(1000)]
    for adapter, simulator in ((META, meta()), (TIKTOK, tiktok())):
        stored_all(adapter, simulator, where(adapter, {}), items, NOW)
        assert len(simulator.received()) == 1000
        assert orjson.loads(adapter.build(where(adapter, {}), items, NOW, None).prepared[0].request.body)["data"]
