"""Which clicks an event belongs to, and why.

Tiers, best first: a click ID given with the event, the visitor, the player, the address. The first tier with a
usable click decides. Every click that was looked at is kept with the reason it was or was not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from postbacks.domain.consent import may_match, may_send
from postbacks.domain.frozen import frozen
from postbacks.domain.model import Click, Consent

CONSIDERED_LIMIT = 20
"""Clicks kept with their reasons per event; the newest of a shared address are enough to explain it."""


class Method(StrEnum):
    CLICK_ID = "click_id"
    VISITOR_ID = "visitor_id"
    USER_ID = "user_id"
    IP = "ip"


class Confidence(StrEnum):
    HIGH = "high"
    """A click ID, a visitor or a player: deterministic."""
    MEDIUM = "medium"
    """The only visitor on the address."""
    AMBIGUOUS = "ambiguous"
    """The last of several visitors on the address."""


_SURE = (Confidence.HIGH, Confidence.MEDIUM, Confidence.AMBIGUOUS)


class SendTo(StrEnum):
    EVERY_MATCHED_PLATFORM = "every_matched_platform"
    LAST_CLICK = "last_click"


@frozen
class Rules:
    """An app's attribution settings."""

    click_window: timedelta = timedelta(days=30)
    ip_window: timedelta = timedelta(hours=24)
    install_inheritance: timedelta = timedelta(days=30)
    ip_shared_threshold: int = 5
    send_to: SendTo = SendTo.EVERY_MATCHED_PLATFORM
    require_consent: bool = False


@frozen
class Inheritance:
    """An earlier event of the player that was matched to the click, and how sure that match was."""

    until: datetime
    confidence: Confidence
    since: datetime


@frozen
class Candidate:
    """A click that might be the one. `same_address`: the full address agrees, not only its /64."""

    click: Click
    method: Method
    inheritance: Inheritance | None = None
    same_address: bool = True


@frozen
class Considered:
    click: Click
    method: Method
    taken: bool
    why: str


@frozen
class Decision:
    """`clicks`: at most one per platform; empty when nothing matched. `refused`: matched, but without consent."""

    method: Method | None = None
    confidence: Confidence | None = None
    clicks: Mapping[str, Click] = field(default_factory=dict)
    refused: Mapping[str, Click] = field(default_factory=dict)
    considered: Sequence[Considered] = ()

    @property
    def matched(self) -> bool:
        return bool(self.clicks or self.refused)


def decide(
    occurred_at: datetime,
    event_consent: Consent,
    candidates: Sequence[Candidate],
    rules: Rules,
    platform_of: Mapping[str, str],
    preference: Mapping[str, int],
) -> Decision:
    """Matches one event.

    `platform_of`: click ID type → platform. `preference`: click ID type → rank, lower first, for click IDs of one
    platform seen at the same moment (gclid before gbraid).
    """
    considered: list[Considered] = []
    # Nearly every event has just one.
    tiers = ((candidates[0].method, candidates),) if len(candidates) == 1 else _tiers(candidates)
    for method, tier in tiers:
        usable: list[Candidate] = []
        for candidate in tier:
            why_not = _why_not(candidate, occurred_at, rules)
            if why_not:
                considered.append(Considered(candidate.click, method, False, why_not))
            else:
                usable.append(candidate)
        confidence = Confidence.HIGH
        if method is Method.IP:
            usable, confidence = _one_visitor(usable, rules, considered)
        if usable:
            return _take(method, confidence, usable, rules, platform_of, preference, event_consent, considered)
    return Decision(considered=tuple(considered[:CONSIDERED_LIMIT]))


def _tiers(candidates: Sequence[Candidate]) -> Sequence[tuple[Method, Sequence[Candidate]]]:
    """The candidates by method, best first."""
    return [(method, [one for one in candidates if one.method is method]) for method in Method]


def _why_not(candidate: Candidate, occurred_at: datetime, rules: Rules) -> str | None:
    click = candidate.click
    clicked_at = click.clicked_at
    if occurred_at.microsecond == 0:
        # A time in whole seconds was cut off; a click of the same second may well have come before it.
        clicked_at = clicked_at.replace(microsecond=0)
    if clicked_at > occurred_at:
        return "the click is later than the event"
    if not may_match(click.consent):
        return "attribution was refused on the landing page"
    inheritance = candidate.inheritance
    if inheritance is not None and inheritance.since <= occurred_at <= inheritance.until:
        return None
    window = rules.ip_window if candidate.method is Method.IP else rules.click_window
    if occurred_at - click.clicked_at > window:
        return f"the click is older than the window of {_words(window)}"
    return None


def _one_visitor(
    usable: list[Candidate], rules: Rules, considered: list[Considered]
) -> tuple[list[Candidate], Confidence]:
    """Of the clicks on an address, those of the last visitor; none where the address is shared by many."""
    exact = [candidate for candidate in usable if candidate.same_address]
    if exact and len(exact) < len(usable):
        considered.extend(
            Considered(candidate.click, Method.IP, False, "another click agrees in the full address")
            for candidate in usable
            if not candidate.same_address
        )
        usable = exact
    if not usable:
        return [], Confidence.MEDIUM
    visitors = {_visitor(candidate.click) for candidate in usable}
    if len(visitors) >= rules.ip_shared_threshold:
        why = f"{len(visitors)} visitors share the address, at {rules.ip_shared_threshold} or more none is taken"
        considered.extend(Considered(candidate.click, Method.IP, False, why) for candidate in usable)
        return [], Confidence.MEDIUM
    if len(visitors) == 1:
        return usable, Confidence.MEDIUM
    last = _visitor(max(usable, key=lambda candidate: candidate.click.clicked_at).click)
    considered.extend(
        Considered(candidate.click, Method.IP, False, "a later visitor was on the same address")
        for candidate in usable
        if _visitor(candidate.click) != last
    )
    return [candidate for candidate in usable if _visitor(candidate.click) == last], Confidence.AMBIGUOUS


def _visitor(click: Click) -> str | UUID:
    return click.visitor_id or click.id


def _take(
    method: Method,
    confidence: Confidence,
    usable: list[Candidate],
    rules: Rules,
    platform_of: Mapping[str, str],
    preference: Mapping[str, int],
    event_consent: Consent,
    considered: list[Considered],
) -> Decision:
    newest_first = usable
    if len(usable) > 1:
        newest_first = sorted(
            usable,
            key=lambda c: (-c.click.clicked_at.timestamp(), preference.get(c.click.type, 99)),
        )
    event_refused = not may_send(event_consent, require_consent=rules.require_consent)
    clicks: dict[str, Click] = {}
    refused: dict[str, Click] = {}
    for candidate in newest_first:
        click = candidate.click
        platform = platform_of.get(click.type, click.type)
        decides = clicks.get(platform) or refused.get(platform)
        if decides is not None:
            considered.append(Considered(click, method, False, _why_another(click, decides, platform)))
        elif rules.send_to is SendTo.LAST_CLICK and (clicks or refused):
            considered.append(Considered(click, method, False, "only the last click is sent (send_to)"))
        else:
            inheritance = candidate.inheritance
            if inheritance is not None and inheritance.confidence is not confidence:
                confidence = max(confidence, inheritance.confidence, key=_SURE.index)
            if not may_send(click.consent, require_consent=rules.require_consent):
                refused[platform] = click
                considered.append(Considered(click, method, False, "consent to postbacks is missing for this click"))
            elif event_refused:
                refused[platform] = click
                considered.append(Considered(click, method, False, "consent to postbacks is missing for this event"))
            else:
                clicks[platform] = click
                considered.append(Considered(click, method, True, _why(candidate)))
    if len(considered) > 1:
        considered.sort(key=lambda one: not one.taken)
        considered = considered[:CONSIDERED_LIMIT]
    return Decision(method, confidence, clicks, refused, considered)


def _why_another(click: Click, decides: Click, platform: str) -> str:
    if click.clicked_at < decides.clicked_at:
        return f"a later click of {platform} decides"
    return f"the {decides.type} of the same moment decides"


def _why(candidate: Candidate) -> str:
    if candidate.inheritance is not None:
        return "inherited: another event of the player was matched to it"
    return _TAKEN[candidate.method]


_TAKEN = {
    Method.CLICK_ID: "the event carried this click ID",
    Method.VISITOR_ID: "the click of the same visitor",
    Method.USER_ID: "a click or an earlier event tied the player to it",
    Method.IP: "the click came from the same address",
}


def _words(window: timedelta) -> str:
    hours = window.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
