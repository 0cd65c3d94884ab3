"""Every platform as a case: its destination, its click, and how its simulator misbehaves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from postbacks.sandbox import meta, tiktok
from postbacks.sandbox.base import Fault, Simulator
from tests.support.service import CLICKS, Service, eventually

X_OAUTH = {
    "pixel_id": "o1abc",
    "consumer_key": "sandbox-x-consumer",
    "consumer_secret": "sandbox-x-consumer-secret",
    "access_token": "sandbox-x-access",
    "access_token_secret": "sandbox-x-access-secret",
}
SINK_BODY = {
    "event_id": "{event_id}",
    "event_name": "{event_name}",
    "click_id": "{click_id}",
    "value": "{value}",
    "currency": "{currency}",
    "occurred_at": "{occurred_at}",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One platform (or one of its routes). `names`: what the simulator calls install and purchase."""

    id: str
    platform: str
    click_type: str
    names: tuple[str, str]
    time_step: float
    """Seconds to which the platform's time format rounds."""
    throttles: tuple[str, float]
    """Fault of a 429 in the platform's own form, and the seconds that the answer asks for (0: it does not say)."""
    server_error: str
    expired_token: str
    wrong_permission: str
    credentials: Mapping[str, str] = field(default_factory=dict)
    """Instead of the simulator's demo credentials."""
    bad_credentials: Mapping[str, str] = field(default_factory=dict)
    """Merged over the good ones: a token that the platform does not know."""
    wrong_id: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, Any] = field(default_factory=dict)
    keep_events: bool = False
    """The platform has no preset: the demo's mapping is used."""

    @property
    def click_id(self) -> str:
        return CLICKS[self.click_type]


META = Case(
    "meta",
    "meta",
    "fbclid",
    ("AppInstall", "Purchase"),
    1,
    ("throttle_4", 0),
    "server_1",
    "token_expired",
    "wrong_permission",
    bad_credentials={"access_token": "EAABnotatoken"},
    wrong_id={"dataset_id": "111222333"},
    switches=meta.STRICTEST,
)
GOOGLE = Case(
    "google",
    "google",
    "gclid",
    ("55501", "55504"),
    0.001,
    ("quota", 1),
    "internal",
    "token_invalid_grant",
    "permission_denied",
    bad_credentials={"refresh_token": "1//not-a-token"},
    wrong_id={"operating_account_id": "5005005005"},
    switches={"rule_40": True, "retry_delay_seconds": 1.0, "requests_per_minute": 0},
    keep_events=True,
)
GOOGLE_ADS = Case(
    "google_ads",
    "google",
    "gclid",
    ("55501", "55504"),
    1,
    ("quota", 1),
    "internal",
    "token_invalid_grant",
    "permission_denied",
    bad_credentials={"refresh_token": "1//not-a-token"},
    wrong_id={"operating_account_id": "5005005005"},
    options={"route": "ads_api"},
    keep_events=True,
)
TIKTOK = Case(
    "tiktok",
    "tiktok",
    "ttclid",
    ("Download", "Purchase"),
    1,
    ("throttle_40100", 0),
    "sys_50000",
    "token_expired",
    "wrong_permission",
    bad_credentials={"access_token": "not-a-token"},
    wrong_id={"pixel_code": "C9OTHER00PIXEL000001"},
    switches=tiktok.STRICTEST,
)
REDDIT = Case(
    "reddit",
    "reddit",
    "rdt_cid",
    ("Install", "PURCHASE"),
    0.001,
    ("throttle", 1),
    "unavailable",
    "token_revoked",
    "wrong_permission",
    bad_credentials={"access_token": "not-a-token"},
    wrong_id={"pixel_id": "a2_otherpixel"},
)
X = Case(
    "x",
    "x",
    "twclid",
    ("tw-o1abc-o1d01", "tw-o1abc-o1p07"),
    0.001,
    ("throttle", 2),
    "internal_500",
    "token_revoked",
    "wrong_permission",
    bad_credentials={"pixel_token": "not-a-token"},
    wrong_id={"pixel_id": "o9zzz"},
    keep_events=True,
)
X_BY_OAUTH = Case(
    "x_oauth",
    "x",
    "twclid",
    ("tw-o1abc-o1d01", "tw-o1abc-o1p07"),
    0.001,
    ("throttle", 2),
    "internal_500",
    "token_revoked",
    "no_account",
    credentials=X_OAUTH,
    bad_credentials={"access_token_secret": "not-the-secret"},
    wrong_id={"pixel_id": "o9zzz"},
    keep_events=True,
)
PLATFORM_CASES = (META, GOOGLE, GOOGLE_ADS, TIKTOK, REDDIT, X, X_BY_OAUTH)
DEDUPLICATING = (META, GOOGLE, GOOGLE_ADS, TIKTOK, REDDIT)
SPLITTING = PLATFORM_CASES


@dataclass(slots=True)
class Scene:
    """The running service with a fresh app, and simulators that remember nothing of earlier tests."""

    service: Service
    app: str
    bought: int = 0

    def simulator(self, case: Case | str) -> Simulator:
        name = case if isinstance(case, str) else case.platform
        return self.service.sandbox.simulators["sink" if name == "webhook" else name]

    def body(self, case: Case, **changes: Any) -> dict[str, Any]:
        """The destination's body; `changes` replace whole parts of it, `merge_…` only some keys."""
        body = deepcopy(dict(self.simulator(case).demo_destination()))
        if case.credentials:
            body["credentials"] = dict(case.credentials)
        body["options"] |= case.options
        if not case.keep_events:
            del body["events"]
        for key, value in changes.items():
            if key.startswith("merge_"):
                body[key.removeprefix("merge_")] |= value
            else:
                body[key] = value
        return body

    async def put(self, case: Case, name: str | None = None, **changes: Any) -> None:
        self.simulator(case).set_switches(case.switches)
        await self.put_body(self.body(case, **changes), name or case.id)

    async def put_body(self, body: Mapping[str, Any], name: str) -> None:
        answer = await self.service.admin.put(f"/v1/apps/{self.app}/destinations/{name}", json=body)
        assert answer.status_code in (200, 201), answer.text

    async def post(self, case_or_name: Case | str, action: str, body: Any = None) -> dict[str, Any]:
        name = case_or_name if isinstance(case_or_name, str) else case_or_name.id
        answer = await self.service.admin.post(f"/v1/apps/{self.app}/destinations/{name}/{action}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def destination(self, case_or_name: Case | str) -> dict[str, Any]:
        name = case_or_name if isinstance(case_or_name, str) else case_or_name.id
        answer = await self.service.admin.get(f"/v1/apps/{self.app}/destinations/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def batch(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        answer = await self.service.game.post("/v1/events", json={"events": list(events)})
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def start(self, case: Case, **changes: Any) -> None:
        """Destination and click; the click is ten minutes old, so that events may lie after it."""
        await self.put(case, **changes)
        await self.click(case)

    async def click(self, case: Case, user: str = "p1", **body: Any) -> None:
        body.setdefault("click_ids", {case.click_type: case.click_id})
        body.setdefault("clicked_at", time.time() - 600)
        await self.service.click(user_id=user, **body)

    async def buy(self, **body: Any) -> dict[str, Any]:
        """A purchase of the player; returns its only delivery.

        Each has a second of its own: the Google Ads API counts one conversion per click, action and second.
        """
        self.bought += 1
        at = time.time() - 500 + self.bought
        facts = {"user_id": "p1", "value": 4.99, "currency": "EUR", "occurred_at": at, **body}
        event = await self.service.event("purchase", **facts)
        assert len(event["deliveries"]) == 1, event
        return event["deliveries"][0]

    async def all_settled(self, count: int, *statuses: str, seconds: float = 15.0) -> list[dict[str, Any]]:
        """Waits until `count` deliveries exist, all with one of the statuses."""

        async def page() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = []
            cursor: str | None = None
            while True:
                query = {"limit": 200, **({"cursor": cursor} if cursor else {})}
                answer = (await self.service.game.get("/v1/deliveries", params=query)).json()
                items += answer["items"]
                cursor = answer["next_cursor"]
                if cursor is None:
                    return items

        found: list[dict[str, Any]] = await eventually(
            page,
            lambda items: len(items) == count and all(one["status"] in statuses for one in items),
            seconds=seconds,
        )
        return found

    def fault(self, case: Case | str, kind: str, **values: Any) -> None:
        self.simulator(case).add_fault(Fault(kind, **values))

    def sends(self, case: Case | str) -> list[dict[str, Any]]:
        """Requests that carried conversions."""
        return [
            one
            for one in self.simulator(case).requests
            if not one["path"].endswith(("/token", "requestStatus:retrieve"))
        ]

    async def close(self) -> None:
        with suppress(AssertionError):
            await self.service.admin.delete(f"/v1/apps/{self.app}")
        for simulator in self.service.sandbox.simulators.values():
            simulator.reset()


def ids_of(cases: Sequence[Case]) -> list[str]:
    return [case.id for case in cases]
