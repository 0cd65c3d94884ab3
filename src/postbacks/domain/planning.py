"""To which destinations an event goes, and why to the others it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from postbacks.domain.frozen import frozen
from postbacks.domain.model import Click

YOUNG_CLICK = "young_click"
"""The platform takes no click as young as this one."""
EARLY_EVENT = "early_event"
"""The event's own time has not come: the game's clock is ahead, by 10 minutes at most."""


class NotSent(StrEnum):
    NO_CLICK_ID = "no_click_id"
    UNMAPPED = "unmapped"
    CONSENT = "consent"
    DESTINATION_DISABLED = "destination_disabled"


@frozen
class Timing:
    """When a platform takes a conversion: from `wait` on and up to `age`, each counted from the event or the click.

    Plain data, because it is asked for every delivery: `plan` adds two numbers instead of asking an adapter twice.
    """

    age: timedelta
    age_of_click: bool = False
    wait: timedelta = timedelta(0)
    wait_from_click: bool = False

    def not_before(self, occurred_at: datetime, clicked_at: datetime) -> datetime:
        """The earliest time at which the platform should be asked."""
        return (clicked_at if self.wait_from_click else occurred_at) + self.wait

    def deadline(self, occurred_at: datetime, clicked_at: datetime) -> datetime:
        """The time after which the platform refuses the event for its age."""
        return (clicked_at if self.age_of_click else occurred_at) + self.age


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
    @property
    def timing(self) -> Timing: ...

    def mapping_for(self, event_name: str) -> Mapping[str, Any] | None:
        """The platform's side of an event, or `None` where it is not mapped."""


@frozen
class Planned:
    """A delivery to be. `expired`: the platform would refuse it for its age even now."""

    destination: str
    platform: str
    click: Click
    due: datetime
    deadline: datetime
    held: str
    """Why it is not to be sent yet; empty for "at once"."""
    expired: bool

    @property
    def status(self) -> str:
        """How it begins: `queued`, `held`, or `expired` where it ends at once."""
        if self.expired:
            return "expired"
        return "held" if self.held else "queued"


@frozen
class Omitted:
    destination: str
    platform: str
    reason: NotSent


@frozen
class Route:
    """Where an event goes, before its times are known. `to`: each outlet with the platform whose click it takes;
    `None` stands for the last click of all."""

    to: tuple[tuple[Outlet, str | None], ...]
    not_sent: tuple[Omitted, ...]


def route(
    event_name: str,
    matched: Collection[str],
    refused: Collection[str],
    outlets: Iterable[Outlet],
    *,
    consent_refused: bool = False,
) -> Route:
    """Which destinations an event goes to, and a reason for each other one.

    `matched`: platforms with a click to send; `refused`: platforms whose click lacks consent. It depends on nothing
    else, so that the events of a batch can share it.
    """
    to: list[tuple[Outlet, str | None]] = []
    not_sent: list[Omitted] = []
    for outlet in outlets:
        reason = _reason(outlet, event_name, matched, refused, consent_refused=consent_refused)
        if reason is None:
            to.append((outlet, None if outlet.any_click else outlet.platform))
        else:
            not_sent.append(Omitted(outlet.name, outlet.platform, reason))
    return Route(tuple(to), tuple(not_sent))


def plan(routed: Route, occurred_at: datetime, clicks: Mapping[str, Click], now: datetime) -> tuple[Planned, ...]:
    """One delivery for each outlet of the route. `clicks`: platform → click, as matched."""
    deliveries = []
    for outlet, platform in routed.to:
        click = _last(clicks.values()) if platform is None else clicks[platform]
        timing = outlet.timing
        not_before = timing.not_before(occurred_at, click.clicked_at)
        deadline = timing.deadline(occurred_at, click.clicked_at)
        due, held = now, ""
        if not_before > now:
            due, held = not_before, YOUNG_CLICK if not_before > occurred_at else EARLY_EVENT
        deliveries.append(Planned(outlet.name, outlet.platform, click, due, deadline, held, deadline <= due))
    return tuple(deliveries)


def _reason(
    outlet: Outlet, event_name: str, matched: Collection[str], refused: Collection[str], *, consent_refused: bool
) -> NotSent | None:
    if not outlet.enabled:
        return NotSent.DESTINATION_DISABLED
    if outlet.mapping_for(event_name) is None:
        return NotSent.UNMAPPED
    if consent_refused:
        return NotSent.CONSENT
    if _serves(outlet, matched):
        return None
    return NotSent.CONSENT if _serves(outlet, refused) else NotSent.NO_CLICK_ID


def _serves(outlet: Outlet, platforms: Collection[str]) -> bool:
    return bool(platforms) if outlet.any_click else outlet.platform in platforms


def _last(clicks: Iterable[Click]) -> Click:
    return max(clicks, key=lambda click: click.clicked_at)
