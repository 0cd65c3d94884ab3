"""schemathesis over the OpenAPI document, against a process of its own: no 500, no hang, no growth.

`POSTBACKS_FUZZ_EXAMPLES` is the number of cases per operation. Half of the path and query parameters are replaced
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

EXAMPLES = int(os.environ.get("POSTBACKS_FUZZ_EXAMPLES", "170"))
WORKERS = 1
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

    def __init__(self, url: str, known: dict[str, list[str]], tokens: list[str]) -> None:
        self._url = url
        self._known = known
        self._tokens = tokens
        self._session = requests.Session()
        self.statuses: Counter[int] = Counter()
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

    def _send(self, case: Any, random_: random.Random) -> None:
        for place in (case.path_parameters, case.query):
            for name in list(place or ()):
                if name in self._known and random_.random() < 0.6 and not _destructive(case):
                    place[name] = random_.choice(self._known[name])
        token = random_.choice(self._tokens)
        answer = case.call(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}"},
            session=self._session,
            timeout=SLOWEST,
            allow_redirects=False,
        )
        self.statuses[answer.status_code] += 1
        kind = answer.headers.get("content-type", [""])[0]
        if answer.status_code >= 500:
            self.wrong.append(f"{answer.status_code} {case.as_curl_command()}"[:2000])
        elif answer.status_code >= 400 and kind != "application/problem+json":
            self.wrong.append(f"{answer.status_code} as {kind}: {case.as_curl_command()}"[:2000])


def _destructive(case: Any) -> bool:
    """Deleting what the other cases need would only make them shallow."""
    return bool(case.method.upper() == "DELETE" and re.search(r"/v1/apps/\{app\}$|keys/", case.path))


@pytest.mark.timeout(0 if EXAMPLES > 200 else 240)
async def test_no_case_breaks_the_service(database_url: str) -> None:
    async with postbacks("api", database_url, BASES) as process:
        known, keys = await _prepare(process.url)
        schema = schemathesis.openapi.from_url(f"{process.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 30
        memory = psutil.Process(process.pid)
        queue = list(operations)
        fuzzers = [Fuzzer(process.url, known, [ADMIN, keys["secret_key"], keys["secret_key"]]) for _ in range(WORKERS)]

        def work(fuzzer: Fuzzer, examples: int, operations: list[Any]) -> None:
            while operations:
                fuzzer.run(operations.pop(), examples)

        await asyncio.gather(*(asyncio.to_thread(work, fuzzer, 5, queue) for fuzzer in fuzzers))
        before = memory.memory_info().rss
        queue += operations
        await asyncio.gather(*(asyncio.to_thread(work, fuzzer, EXAMPLES, queue) for fuzzer in fuzzers))
        growth = memory.memory_info().rss - before
        statuses: Counter[int] = sum((fuzzer.statuses for fuzzer in fuzzers), Counter())
        wrong = [line for fuzzer in fuzzers for line in fuzzer.wrong]
        assert not wrong, "\n".join(wrong[:10])
        assert sum(statuses.values()) >= EXAMPLES * len(operations) * 0.5
        assert sum(n for status, n in statuses.items() if status < 300) > 100, statuses
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
