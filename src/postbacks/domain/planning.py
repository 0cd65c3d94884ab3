"""To which destinations an event goes, and why to the others it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from postbacks.domain.frozen import frozen
from postbacks.domain.matching import Decision
from postbacks.domain.model import Click


class NotSent(StrEnum):
    NO_CLICK_ID = "no_click_id"
    UNMAPPED = "unmapped"
    CONSENT = "consent"
    DESTINATION_DISABLED = "destination_disabled"


class Outlet(Protocol):
    """What planning needs to know of a destination."""

    @property
    def name(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def any_click(self) -> bool: ...

    def mapping_for(self, event_name: str) -> Mapping[str, Any] | None:
        """The platform's side of an event, or `None` where it is not mapped."""

    def not_before(self, *, occurred_at: datetime, clicked_at: datetime) -> datetime: ...

    def deadline(self, *, occurred_at: datetime, clicked_at: datetime) -> datetime: ...


@frozen
class Planned:
    """A delivery to be. `expired`: the platform would refuse it for its age even now."""

    destination: str
    platform: str
    click: Click
    due: datetime
    deadline: datetime
    held: bool
    expired: bool


@frozen
class Omitted:
    destination: str
    platform: str
    reason: NotSent


@frozen
class Plan:
    deliveries: tuple[Planned, ...]
    not_sent: tuple[Omitted, ...]


def plan(
    event_name: str,
    occurred_at: datetime,
    decision: Decision,
    outlets: Iterable[Outlet],
    now: datetime,
    *,
    consent_refused: bool = False,
) -> Plan:
    """One delivery per enabled destination whose platform has a matching click; a reason for each other one."""
    deliveries: list[Planned] = []
    not_sent: list[Omitted] = []
    for outlet in outlets:
        click = _click_for(outlet, decision.clicks)
        reason = _reason(outlet, event_name, click, decision, consent_refused)
        if reason is not None or click is None:
            not_sent.append(Omitted(outlet.name, outlet.platform, reason or NotSent.NO_CLICK_ID))
            continue
        not_before = outlet.not_before(occurred_at=occurred_at, clicked_at=click.clicked_at)
        deadline = outlet.deadline(occurred_at=occurred_at, clicked_at=click.clicked_at)
        deliveries.append(
            Planned(
                destination=outlet.name,
                platform=outlet.platform,
                click=click,
                due=max(now, not_before),
                deadline=deadline,
                held=not_before > now,
                expired=deadline <= max(now, not_before),
            )
        )
    return Plan(tuple(deliveries), tuple(not_sent))


def _reason(
    outlet: Outlet, event_name: str, click: Click | None, decision: Decision, consent_refused: bool
) -> NotSent | None:
    if not outlet.enabled:
        return NotSent.DESTINATION_DISABLED
    if outlet.mapping_for(event_name) is None:
        return NotSent.UNMAPPED
    if consent_refused:
        return NotSent.CONSENT
    if click is not None:
        return None
    return NotSent.CONSENT if _click_for(outlet, decision.refused) is not None else NotSent.NO_CLICK_ID


def _click_for(outlet: Outlet, clicks: Mapping[str, Click]) -> Click | None:
    if not outlet.any_click:
        return clicks.get(outlet.platform)
    return max(clicks.values(), key=lambda click: click.clicked_at, default=None)
