"""Prometheus metrics of one process. Labels are platforms and verdicts, never players or click IDs."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import Counter as Counted
from collections.abc import Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from postbacks.domain.model import Verdict


class DelayHistogram(Collector):
    """A histogram by platform that takes the delays of a whole claim at once; the library's own takes one at a time."""

    def __init__(self, name: str, documentation: str, *, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._documentation, self._bounds = name, documentation, bounds
        self._counts: dict[str, list[int]] = {}
        """Platform → delays up to each bound, and all of them."""
        self._sums: dict[str, float] = {}
        self._since: dict[str, float] = {}
        registry.register(self)

    def observe(self, platform: str, delays: Sequence[float]) -> None:
        """Adds delays in seconds, which are in ascending order."""
        if not delays:
            return
        self._since.setdefault(platform, time.time())
        counts = self._counts.setdefault(platform, [0] * (len(self._bounds) + 1))
        for index, bound in enumerate((*self._bounds, math.inf)):
            counts[index] += bisect_right(delays, bound)
        self._sums[platform] = self._sums.get(platform, 0.0) + sum(delays)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=["platform"])
        texts = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for platform, counts in self._counts.items():
            family.add_metric([platform], list(zip(texts, counts, strict=True)), self._sums[platform])
            family.add_sample(f"{self._name}_created", {"platform": platform}, self._since[platform])
        return [family]


class _Item(Protocol):
    @property
    def verdict(self) -> Verdict | None: ...


class _Destination(Protocol):
    @property
    def platform(self) -> str: ...


class Metrics:
    """Counted where it happens, read by `GET /metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "postbacks_events_total", "Events answered, by outcome.", ["outcome"], registry=self.registry
        )
        self._outcomes: dict[str, Counter] = {}
        self._clicks = Counter("postbacks_clicks_total", "Click IDs registered.", registry=self.registry)
        self._sends = Counter(
            "postbacks_requests_total", "Requests to platforms.", ["platform", "verdict"], registry=self.registry
        )
        self._conversions = Counter(
            "postbacks_conversions_sent_total", "Conversions in those requests.", ["platform"], registry=self.registry
        )
        self._seconds = Histogram(
            "postbacks_request_seconds",
            "How long platforms took to answer.",
            ["platform"],
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self._settled = Counter(
            "postbacks_deliveries_settled_total",
            "Verdicts on deliveries.",
            ["platform", "verdict"],
            registry=self.registry,
        )
        self._stale = Counter(
            "postbacks_stale_outcomes_total", "Outcomes that came after the lease was lost.", registry=self.registry
        )
        self._delay = DelayHistogram(
            "postbacks_delivery_delay_seconds",
            "From planning to the platform's final yes.",
            bounds=(0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 600, 3600, 21600, 86400),
            registry=self.registry,
        )
        self.open_deliveries = Gauge(
            "postbacks_open_deliveries", "Open deliveries.", ["app", "destination", "status"], registry=self.registry
        )
        self.oldest_due = Gauge(
            "postbacks_oldest_due_seconds",
            "Age of the oldest delivery that is due.",
            ["app", "destination"],
            registry=self.registry,
        )

        self.held = Gauge(
            "postbacks_destination_held",
            "1 where a destination sends nothing until a person acts.",
            ["app", "destination"],
            registry=self.registry,
        )

    def event(self, outcome: str, count: int = 1) -> None:
        # `labels` takes longer than the counting.
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = self._events.labels(outcome)
        counter.inc(count)

    def click(self, count: int) -> None:
        self._clicks.inc(count)

    def sent(self, platform: str, verdict: str, seconds: float, conversions: int) -> None:
        """One request to a platform."""
        self._sends.labels(platform, verdict).inc()
        self._conversions.labels(platform).inc(conversions)
        self._seconds.labels(platform).observe(seconds)

    def settled(self, destination: _Destination, items: Sequence[_Item], stale: int, delays: Sequence[float]) -> None:
        """The verdicts of one claim, and the delays (ascending) of what was delivered."""
        # Hundreds of items share a verdict, and an enumeration's hash is a call of its own.
        verdicts = {id(item.verdict): item.verdict for item in items}
        kinds: Counted[str] = Counted()
        for known, n in Counted(id(item.verdict) for item in items).items():
            if (verdict := verdicts[known]) is not None:
                kinds[verdict.kind.value] += n
        for kind, n in kinds.items():
            self._settled.labels(destination.platform, kind).inc(n)
        self._delay.observe(destination.platform, delays)
        if stale:
            self._stale.inc(stale)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
