"""schemathesis over the OpenAPI document, against a process of its own: no 500, no hang, no growth.

First every operation by itself, then walks in which the answer of one gives the parameters of the next.
`POSTBACKS_FUZZ_EXAMPLES` is the number of cases per operation. Most of the path and query parameters are replaced
by names that exist, so that cases reach the code behind the look-up.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from typing import Any

import httpx
import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.security.process import postbacks
from tests.support.service import ADMIN

EXAMPLES = int(os.environ.get("POSTBACKS_FUZZ_EXAMPLES", "175"))
WALKS, STEPS = EXAMPLES // 4, 12
"""A walk is a chain of up to so many operations."""
AT_LEAST = 5_000
"""Cases, of both kinds together, in the version that CI runs."""
SLOWEST = 10.0
"""Seconds for any answer."""
GROWTH = 120 * 1024 * 1024

NOWHERE = "http://127.0.0.1:9"
BASES = {
    f"POSTBACKS_{name}": NOWHERE
    for name in (
        "META_API_BASE", "TIKTOK_API_BASE", "REDDIT_API_BASE", "X_API_BASE", "GOOGLE_DATA_MANAGER_API_BASE",
        "GOOGLE_ADS_API_BASE", "GOOGLE_TOKEN_URL",
    )
}  # fmt: skip


class Fuzzer:
    """Sends generated cases; remembers what was wrong."""

    def __init__(self, url: str, known: dict[str, list[str]], tokens: tuple[str, str]) -> None:
        self._url = url
        self._known = known
        self._tokens = tokens
        self._session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.walked = 0
        self.wrong: list[str] = []

    def run(self, operation: Any, examples: int) -> None:
        random_ = random.Random(operation.label)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            self._send(case, random_)

        one()

    def walk(self, schema: Any, walks: int) -> None:
        """Chains of operations, each with what the one before has answered."""
        fuzzer, random_ = self, random.Random(walks)

        class Walk(schema.as_state_machine()):  # type: ignore[misc]
            def before_call(self, case: Any) -> None:
                fuzzer.known_names(case, random_)

            def get_call_kwargs(self, case: Any) -> dict[str, Any]:
                return fuzzer.options(case, random_)

            def validate_response(self, response: Any, case: Any, **_: Any) -> None:
                fuzzer.walked += 1
                fuzzer.judge(case, response)

        Walk.run(
            settings=settings(
                max_examples=walks,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
        )

    def _send(self, case: Any, random_: random.Random) -> None:
        self.known_names(case, random_)
        self.judge(case, case.call(**self.options(case, random_)))

    def known_names(self, case: Any, random_: random.Random) -> None:
        """Puts names that exist into some of the parameters."""
        for place in (case.path_parameters, case.query):
            for name in list(place or ()):
                if name in self._known and random_.random() < 0.85 and not _destructive(case):
                    place[name] = random_.choice(self._known[name])

    def options(self, case: Any, random_: random.Random) -> dict[str, Any]:
        """With a token that mostly fits, so that cases get past the door."""
        admin, secret = self._tokens
        fits = admin if case.path.startswith("/v1/apps") else secret
        token = random_.choice((admin, secret)) if random_.random() < 0.2 else fits
        return {
            "base_url": self._url,
            "headers": {"Authorization": f"Bearer {token}"},
            "session": self._session,
            "timeout": SLOWEST,
            "allow_redirects": False,
        }

    def judge(self, case: Any, answer: Any) -> None:
        self.statuses[answer.status_code] += 1
        kind = answer.headers.get("content-type", [""])[0]
        if answer.status_code >= 500:
            self.wrong.append(f"{answer.status_code} {case.as_curl_command()}"[:2000])
        elif answer.status_code >= 400 and kind != "application/problem+json":
            self.wrong.append(f"{answer.status_code} as {kind}: {case.as_curl_command()}"[:2000])


def _destructive(case: Any) -> bool:
    """Deleting what the other cases need would only make them shallow."""
    return bool(case.method.upper() == "DELETE" and re.search(r"/v1/apps/\{app\}$|keys/|destinations/", case.path))


@pytest.mark.timeout(0 if EXAMPLES > 200 else 240)
async def test_no_case_breaks_the_service(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with postbacks("api", database_url, BASES) as process:
        known, keys = await _prepare(process.url)
        schema = schemathesis.openapi.from_url(f"{process.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 30
        memory = psutil.Process(process.pid)
        fuzzer = Fuzzer(process.url, known, (ADMIN, keys["secret_key"]))

        def work(examples: int) -> None:
            for operation in operations:
                fuzzer.run(operation, examples)

        await asyncio.to_thread(work, 5)
        before = memory.memory_info().rss
        await asyncio.to_thread(work, EXAMPLES)
        await asyncio.to_thread(fuzzer.walk, schema, WALKS)
        growth = memory.memory_info().rss - before
    cases = fuzzer.statuses.total()
    with capsys.disabled():
        print(
            f"\nfuzzed: {cases} cases over {len(operations)} operations, {fuzzer.walked} of them in {WALKS} walks; "
            f"answers {dict(sorted(fuzzer.statuses.items()))}; memory {growth / 1e6:+.0f} MB"
        )
    assert not fuzzer.wrong, "\n".join(fuzzer.wrong[:10])
    assert cases >= AT_LEAST * EXAMPLES / 175
    assert fuzzer.walked >= 2 * WALKS, "walks that lead somewhere"
    assert sum(n for status, n in fuzzer.statuses.items() if status < 300) > 500, fuzzer.statuses
    assert growth < GROWTH, f"{growth / 1e6:.0f} MB"


async def _prepare(url: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """An app with a destination, an event and a delivery; what exists, by name of the parameter."""
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        keys = (await admin.post("/v1/apps", json={"name": "game"})).json()
        body = {"platform": "meta", "credentials": {"dataset_id": "998877665544332", "access_token": "EAAB" + "a" * 60}}
        assert (await admin.put("/v1/apps/game/destinations/meta", json=body)).status_code == 201
        secret = {"Authorization": f"Bearer {keys['secret_key']}"}
        await admin.post("/v1/clicks", headers=secret, json={"click_ids": {"fbclid": "IwAR0a"}, "user_id": "u1"})
        event = {"name": "install", "user_id": "u1", "event_id": "e1"}
        delivery = (await admin.post("/v1/events", headers=secret, json=event)).json()["deliveries"][0]["id"]
    known = {
        "app": ["game"],
        "name": ["meta"],
        "destination": ["meta"],
        "platform": ["meta"],
        "event_id": ["e1"],
        "user_id": ["u1", "u2"],
        "delivery_id": [delivery],
        "status": ["queued", "delivered,failed"],
        "cursor": [delivery],
        "from": ["2026-01-01T00:00:00Z"],
        "created_after": ["2026-01-01T00:00:00Z"],
    }
    return known, keys
