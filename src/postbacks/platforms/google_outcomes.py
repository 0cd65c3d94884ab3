"""What became of an accepted Data Manager request (sheet google, 2.4 and 4.4).

Google counts failures by reason and, since API v1.9, lists the records of each. Where it does not, a verdict must not
guess: sending again is always safe, because a `transactionId` counts once per conversion action (sheet google, 2.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import Answer, Response, TransportFailure
from postbacks.platforms.google_answers import (
    decisive,
    objects,
    read_error,
    refusal,
    text,
    unreadable,
    whole,
    words,
)
from postbacks.platforms.google_config import GoogleTarget
from postbacks.platforms.google_data_manager_answers import REQUEST_REASONS, outcome_code, outcome_row
from postbacks.platforms.reading import json_object, same_for_all, transport_verdict

_FINAL = {"SUCCESS": False, "PARTIAL_SUCCESS": False, "FAILED": True, "FAILURE": True}
"""Terminal status → whether no event survived. The enum says FAILED, the guide FAILURE (sheet google, 2.4)."""

QUESTIONS = 30
"""The first wait is this many times the second, from where on each is twice as long as the one before: after half an
hour Google is asked again in a minute, after no wait at all in a second."""

_FORGOTTEN = frozenset({"INVALID_REQUEST_ID", "REQUEST_TOO_OLD"})


@dataclass(frozen=True, slots=True)
class _Failures:
    """The failures of one destination of an accepted request."""

    named: Mapping[int, Sequence[str]]
    """Place in the request → codes."""
    loose: Mapping[str, int]
    """Code → records that it befell without saying which."""


def read_confirmation(target: GoogleTarget, answer: Answer, indexes: Sequence[int], now: datetime) -> Sequence[Verdict]:
    """One verdict per index; ACCEPTED means "not decided yet": ask again after `retry_after` seconds.

    An ACCEPTED with a code says that the question failed, or that its answer was not understood. The conversions
    themselves are untouched by that.
    """
    verdicts = _read(target, answer, indexes, now)
    patience = min(max(target.options.confirm_after_minutes * 60 / QUESTIONS, 1.0), 60.0)
    return [
        replace(verdict, retry_after=max(verdict.retry_after or 0.0, patience))
        if verdict.kind is Kind.ACCEPTED
        else verdict
        for verdict in verdicts
    ]


def _read(target: GoogleTarget, answer: Answer, indexes: Sequence[int], now: datetime) -> Sequence[Verdict]:
    count = len(indexes)
    if isinstance(answer, TransportFailure):
        return same_for_all(_later(transport_verdict(answer)), count)
    if answer.status == 200:
        return _decided(answer, indexes)
    error = read_error(answer)
    refused = refusal(answer, error, now)
    if refused:
        # On the other route the token lacks Data Manager's scope; that must not hold what goes out by that route.
        holds = refused.kind is Kind.HOLD and target.options.route == "data_manager"
        return same_for_all(refused if holds else _later(refused), count)
    reasons = [error.reason, *(violation.reason for violation in error.violations)] if error else []
    forgotten = next((reason for reason in reasons if reason in _FORGOTTEN), None)
    if forgotten:
        return same_for_all(REQUEST_REASONS[forgotten].verdict(forgotten), count)
    return same_for_all(_later(unreadable(answer)), count)


def _later(verdict: Verdict) -> Verdict:
    """The question failed, not the conversions: it is asked again."""
    return replace(verdict, kind=Kind.ACCEPTED, ambiguous=False)


def _decided(answer: Response, indexes: Sequence[int]) -> Sequence[Verdict]:
    destinations = objects((json_object(answer) or {}).get("requestStatusPerDestination"))
    if not destinations:
        return same_for_all(_later(unreadable(answer)), len(indexes))
    # `build` gives every request a single destination.
    status = destinations[0]
    state = text(status.get("requestStatus")) or "REQUEST_STATUS_UNKNOWN"
    if state not in _FINAL:
        code = "" if state == "PROCESSING" else words(state)
        waiting = Verdict(Kind.ACCEPTED, code=code, message="Google has not decided about these events yet.")
        return same_for_all(waiting, len(indexes))
    failures = _failures(status)
    named = {index: _named(state, failures.named[index]) for index in indexes if index in failures.named}
    unnamed = [index for index in indexes if index not in named]
    if not unnamed:
        return [named[index] for index in indexes]
    total = _total(status, indexes) - len(failures.named)
    others = replace(_unnamed(state, failures, total), excerpt=_excerpt(state, sorted(failures.loose)))
    return [named.get(index, others) for index in indexes]


def _failures(status: Mapping[str, Any]) -> _Failures:
    info = status.get("errorInfo")
    named: dict[int, list[str]] = {}
    loose: dict[str, int] = {}
    for entry in objects(info.get("errorCounts") if isinstance(info, dict) else None):
        code = outcome_code(text(entry.get("reason"))) or "UNSPECIFIED"
        listed = entry.get("recordIndices")
        places = {
            place
            for place in (whole(item) for item in (listed if isinstance(listed, list) else []))
            if place is not None and place >= 0
        }
        for place in places:
            named.setdefault(place, []).append(code)
        count = whole(entry.get("recordCount"))
        # A count that is missing says at least one record, unless the list has said it already.
        missing = (count if count is not None else max(1, len(places))) - len(places)
        if missing > 0:
            loose[code] = loose.get(code, 0) + missing
    return _Failures(named, loose)


def _total(status: Mapping[str, Any], indexes: Sequence[int]) -> int:
    """Events in the request: as Google counts them, or at least as many as the places that are asked for."""
    ingestion = status.get("eventsIngestionStatus")
    counted = whole(ingestion.get("recordCount")) if isinstance(ingestion, dict) else None
    return max(counted or 0, max(indexes) + 1)


def _named(state: str, codes: Sequence[str]) -> Verdict:
    code, row = decisive([(code, outcome_row(code)) for code in codes])
    return row.verdict(code, excerpt=_excerpt(state, codes))


def _unnamed(state: str, failures: _Failures, total: int) -> Verdict:
    """The verdict for the `total` events of the request that no list names.

    - Nothing failed without a name: they arrived.
    - One reason befell all of them, or there is just one: that reason is theirs.
    - All reasons pass with time: all are sent again later, and those that had arrived count once.
    - Otherwise the request is split until each stands alone and its reason is plain.
    """
    none_survived = _FINAL[state]
    rows = [(code, outcome_row(code)) for code in failures.loose]
    if not rows:
        return _unexplained(state, failures, total)
    failing = [row for _, row in rows if row.kind is not Kind.DELIVERED]
    if not failing or total == 1:
        code, row = decisive(rows)
        return row.verdict(code)
    if len(rows) == 1 and (none_survived or sum(failures.loose.values()) >= total):
        return rows[0][1].verdict(rows[0][0])
    if all(row.kind is Kind.RETRY and not row.may_last for row in failing):
        code, row = max(rows, key=lambda item: item[1].retry_after or 0)
        return row.verdict(code, "Google does not say which events failed; all of them are sent again, counted once.")
    reasons = ", ".join(sorted(failures.loose))
    return Verdict(Kind.SPLIT, code=state, message=f"Google does not say which events failed: {reasons}")


def _unexplained(state: str, failures: _Failures, total: int) -> Verdict:
    if _FINAL[state]:
        return Verdict(Kind.RETRY, code=state, message="Google failed the events and gave no reason.")
    if state != "PARTIAL_SUCCESS" or failures.named:
        return Verdict(Kind.DELIVERED, code="SUCCESS")
    message = "Google took a part of the events and gave no reason for the others."
    return Verdict(Kind.SPLIT if total > 1 else Kind.RETRY, code=state, message=message)


def _excerpt(state: str, codes: Sequence[str]) -> str:
    return orjson.dumps({"requestStatus": state, "reasons": list(codes)}).decode()
