"""Prometheus metrics of one process. Labels are platforms and verdicts, never players or click IDs."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from postbacks.domain.model import Verdict


class _Row(Protocol):
    @property
    def created_at(self) -> datetime: ...


class _Item(Protocol):
    @property
    def row(self) -> _Row: ...
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
        self._delay = Histogram(
            "postbacks_delivery_delay_seconds",
            "From planning to the platform's final yes.",
            ["platform"],
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 600, 3600, 21600, 86400),
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

    def settled(self, destination: _Destination, items: Sequence[_Item], stale: int, now: datetime) -> None:
        """The verdicts of one claim."""
        kinds = Counted(item.verdict.kind.value for item in items if item.verdict is not None)
        for kind, n in kinds.items():
            self._settled.labels(destination.platform, kind).inc(n)
        if kinds["delivered"]:
            delay = self._delay.labels(destination.platform)
            for item in items:
                if item.verdict is not None and item.verdict.kind.value == "delivered":
                    delay.observe((now - item.row.created_at).total_seconds())
        if stale:
            self._stale.inc(stale)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
