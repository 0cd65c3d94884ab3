"""TikTok's Events API 2.0, as strict as its sheet allows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

import orjson

from postbacks.sandbox.base import Fault, Reply, Seen, Simulator, Stored
from postbacks.sandbox.tiktok_errors import FAULTS, OK, PARTIAL, Refusal, no_permission, parameter
from postbacks.sandbox.tiktok_events import Context, Event, first_refusal, warnings_of
from postbacks.sandbox.tiktok_request import REQUEST_RULES, Call, rule_9

DEDUP_SECONDS = 48 * 3600
DEMO_ACCESS = "sandbox-tiktok-token"
DEMO_PIXEL = "C9SANDBOX0PIXEL00001"
DEMO_APP = "7300000000000000001"
DEMO_OFFLINE_SET = "7300000000000000002"
DEMO_CRM_SET = "7300000000000000003"

STRICTEST: Mapping[str, Any] = {
    "rule_13_milliseconds": True,
    "rule_14": True,
    "rule_24_strict": True,
    "rule_26_strict": True,
}
"""Every switch whose default is the lenient reading of an uncertain rule, turned to the strict one."""


class TikTokSimulator(Simulator):
    """`POST /open_api/v1.3/event/track/`, validated by the 31 rules of the sheet tiktok, first failure first.

    A stored conversion's `key` is the `event_id`, its `click_id` the `user.ttclid`.
    """

    name = "tiktok"
    fault_kinds = frozenset(FAULTS) | {"wrong_permission", "partial_20001", "http_429"}
    switch_defaults: ClassVar[dict[str, Any]] = {
        # Which tokens exist, and which source ids each may write to (rules 4 and 9).
        "tokens": {DEMO_ACCESS: [DEMO_PIXEL, DEMO_APP, DEMO_OFFLINE_SET, DEMO_CRM_SET]},
        "expired_tokens": ["sandbox-tiktok-expired"],
        # Which `event_source` an id belongs to; an id that is not listed is judged by its shape (rule 8).
        "source_kinds": {DEMO_APP: "app", DEMO_OFFLINE_SET: "offline", DEMO_CRM_SET: "crm"},
        # App ids on TikTok's allow list for app events (rule 10).
        "allowed_apps": [],
        # Events whose JSON contains this text are refused as code 40002 without naming the event.
        "poison": "",
        "rule_1_version": True,
        # True: an unknown path comes with status 404 instead of 200.
        "rule_1_http_404": False,
        # False: another method than POST is answered with status 200 instead of 405.
        "rule_2_http_405": True,
        "rule_6": True,
        "rule_10": True,
        "rule_11_max": True,
        "rule_11_empty": True,
        "rule_12_offline": True,
        # True: milliseconds are refused; False: stored with a warning.
        "rule_13_milliseconds": False,
        # True: events older than 7 days (offline: 28) or more than 5 minutes ahead are refused.
        "rule_14": False,
        "rule_17": True,
        "rule_18": True,
        "rule_21": True,
        "rule_24": True,
        # True: a Purchase with value and without currency is refused; False: stored with a warning.
        "rule_24_strict": False,
        "rule_25": True,
        "rule_26": True,
        # True: `limited_data_use` without `user.ip` is refused; False: stored with a warning.
        "rule_26_strict": False,
        # True: the good events of a request are stored, and the answer is 20001.
        "rule_31_partial": False,
    }

    def __init__(self) -> None:
        super().__init__()
        self._serial = count()

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        return {
            "platform": "tiktok",
            "enabled": True,
            "credentials": {"pixel_code": DEMO_PIXEL, "access_token": DEMO_ACCESS},
            "options": {"event_source_url": "https://game.example/lp"},
            "events": {
                "install": {"name": "Download"},
                "registration": {"name": "CompleteRegistration"},
                "level_up": {"name": "AchieveLevel"},
                "purchase": {"name": "Purchase"},
            },
        }

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        if fault is not None and fault.kind == "http_429":
            return Reply(429)
        return self._outcome(seen, fault).reply(seen.at)

    def _outcome(self, seen: Seen, fault: Fault | None) -> Refusal:
        if fault is not None and fault.kind in FAULTS:
            return FAULTS[fault.kind]
        call = Call(seen)
        for request_rule in REQUEST_RULES:
            refusal = request_rule(call, self.switches)
            if refusal is None and request_rule is rule_9 and fault is not None and fault.kind == "wrong_permission":
                refusal = no_permission(call.source_id)
            if refusal is not None:
                return refusal
        # Rule 27.
        test_code = call.params.get("test_event_code", "")
        if not isinstance(test_code, str):
            return parameter("Invalid value for test_event_code: not a valid string.")
        partial = fault is not None and fault.kind == "partial_20001"
        return self._take(call, test_code, always_partial=partial)

    def _take(self, call: Call, test_code: str, *, always_partial: bool) -> Refusal:
        ctx = Context(call.seen.at, call.source, self.switches)
        numbered = list(enumerate(call.events))
        refusal = first_refusal(numbered, ctx) or self._poisoned(call.events)
        good = call.events
        # Rule 31: one bad event refuses all, unless the simulator is told to take the good ones.
        if refusal is not None:
            if not always_partial and not self.switches["rule_31_partial"]:
                return refusal
            good = [one[1] for one in numbered if self._is_good(one, ctx)]
            if not good:
                return refusal
        for event in good:
            self._store(event, call.source_id, test_code, call.seen.at)
        return PARTIAL if always_partial or refusal is not None else OK

    def _is_good(self, one: tuple[int, Event], ctx: Context) -> bool:
        return first_refusal([one], ctx) is None and self._poisoned([one[1]]) is None

    def _poisoned(self, events: list[Event]) -> Refusal | None:
        poison = self.switches["poison"].encode()
        if poison and any(poison in orjson.dumps(event) for event in events):
            return parameter("Invalid value for data: an event cannot be processed.")
        return None

    def _store(self, event: Event, source_id: str, test_code: str, at: float) -> None:
        event_id = event.get("event_id", "")
        # Rules 15 and 29: an event without id is never a repeat.
        key = (source_id, event["event"], event_id) if event_id else (source_id, "", "", str(next(self._serial)))
        properties = event.get("properties", {})
        one = Stored(
            key=event_id,
            name=event["event"],
            click_id=event.get("user", {}).get("ttclid", ""),
            occurred_at=float(event["event_time"]),
            value=properties.get("value"),
            currency=properties.get("currency"),
            raw=event,
            received_at=at,
            test_code=test_code,
            warnings=warnings_of(event),
        )
        self.remember(key, one, DEDUP_SECONDS)
