"""Meta's Conversions API, as strict as its sheet allows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

import orjson

from postbacks.sandbox.base import Fault, Reply, Seen, Simulator, Stored
from postbacks.sandbox.meta_errors import FAULTS, invalid, trace_id
from postbacks.sandbox.meta_events import Context, click_id_of, first_refusal, number_of, warnings_of
from postbacks.sandbox.meta_request import REQUEST_RULES, Call, read_params

DEDUP_SECONDS = 48 * 3600
DEMO_BEARER = "sandbox-meta-token"
DEMO_DATASET = "998877665544332"

STRICTEST: Mapping[str, Any] = {
    "rule_10_length": True,
    "rule_11_text": False,
    "rule_11_future_seconds": 0,
    "rule_14_strict": True,
    "rule_16_md5": False,
    "rule_18": True,
    "rule_22_number": False,
}
"""Every switch whose default is the lenient reading of an uncertain rule, turned to the strict one."""


class MetaSimulator(Simulator):
    """`POST /v26.0/{dataset}/events`, validated by the 26 rules of the sheet meta, first failure first.

    A stored conversion's `key` is the `event_id`, its `click_id` the fbclid inside of `user_data.fbc`.
    """

    name = "meta"
    fault_kinds = frozenset(FAULTS)
    switch_defaults: ClassVar[dict[str, Any]] = {
        # Which tokens exist, and which datasets each may write to (rules 4 and 6).
        "tokens": {DEMO_BEARER: [DEMO_DATASET]},
        "expired_tokens": ["sandbox-meta-expired"],
        # With text, the app demands `appsecret_proof` made with it (rule 5).
        "app_secret": "",
        # Events whose JSON contains this text are refused as code 100 without naming the event.
        "poison": "",
        "versions": ["v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0"],
        "rule_2": True,
        # False: an unsupported version is taken, with the header `X-Ad-Api-Version-Warning`.
        "rule_3": True,
        # False: a missing token is answered like an unknown one, 190 instead of 104.
        "rule_4": True,
        # True: a dataset that the token may not use gives 200 with status 403 instead of 100/33.
        "rule_6_scope": False,
        "rule_9": True,
        # True: names beyond the recommended 50 characters are refused.
        "rule_10_length": False,
        # True: `event_time` may be a string of digits.
        "rule_11_text": True,
        "rule_11_future_seconds": 60,
        "rule_12": True,
        "rule_13": True,
        # True: the time in `fbc` must have 13 digits and must not be in the future.
        "rule_14_strict": False,
        "rule_16": True,
        # True: 32 hexadecimal digits also pass for a hash.
        "rule_16_md5": True,
        "rule_17": True,
        # False: website events without URL or user agent are stored with a warning.
        "rule_18": False,
        "rule_19": True,
        "rule_21": True,
        # True: `event_id` may be a number.
        "rule_22_number": True,
    }

    def __init__(self) -> None:
        super().__init__()
        self._serial = count()

    @classmethod
    def demo_destination(cls) -> dict[str, Any]:
        return {
            "platform": "meta",
            "enabled": True,
            "credentials": {"dataset_id": DEMO_DATASET, "access_token": DEMO_BEARER},
            "options": {"event_source_url": "https://game.example/lp"},
            "events": {
                "install": {"name": "AppInstall"},
                "registration": {"name": "CompleteRegistration"},
                "level_up": {"name": "LevelAchieved"},
                "purchase": {"name": "Purchase"},
            },
        }

    def answer(self, seen: Seen, fault: Fault | None) -> Reply:
        if fault is not None:
            return FAULTS[fault.kind](fault)
        call = Call(seen, read_params(seen))
        for rule in REQUEST_RULES:
            refusal = rule(call, self.switches)
            if refusal is not None:
                return refusal.reply()
        refusal = first_refusal(call.events, Context(seen.at, self.switches))
        if refusal is not None:
            return refusal.reply()
        # Rule 25.
        test_code = (call.params or {}).get("test_event_code", "")
        if not isinstance(test_code, str):
            return invalid("Invalid test_event_code", "test_event_code must be text.").reply()
        poison = self.switches["poison"].encode()
        if poison and any(poison in orjson.dumps(event) for event in call.events):
            return invalid("Invalid parameter", "An event holds something that cannot be processed.").reply()
        for event in call.events:
            self._store(event, call.dataset, test_code, seen.at)
        # Rule 24: repeats count as received.
        body = {"events_received": len(call.events), "messages": [], "fbtrace_id": trace_id()}
        return Reply(200, body, call.headers)

    def _store(self, event: dict[str, Any], dataset: str, test_code: str, at: float) -> None:
        event_id = "" if event.get("event_id") is None else str(event["event_id"])
        # Rule 22: an event without id is never a repeat.
        key = (dataset, event["event_name"], event_id) if event_id else (dataset, "", "", str(next(self._serial)))
        user, custom = event.get("user_data"), event.get("custom_data")
        user = user if isinstance(user, dict) else {}
        custom = custom if isinstance(custom, dict) else {}
        currency = custom.get("currency")
        one = Stored(
            key=event_id,
            name=event["event_name"],
            click_id=click_id_of(user.get("fbc")),
            occurred_at=float(event["event_time"]),
            value=number_of(custom.get("value")),
            currency=currency.upper() if isinstance(currency, str) else None,
            raw=event,
            received_at=at,
            test_code=test_code,
            warnings=warnings_of(event),
        )
        self.remember(key, one, DEDUP_SECONDS)
