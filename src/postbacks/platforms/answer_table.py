"""Tables of answers: rows that read like the tables in a platform's documentation, and how one is found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from postbacks.domain.model import Kind, Verdict
from postbacks.platforms.base import CheckResult, Response
from postbacks.platforms.reading import LONGEST_WAIT

LONGEST_MESSAGE = 300
"""Characters of a platform's words that are kept."""

_EPOCH_AFTER = 1_000_000_000
"""A reset header above this is Unix time, below it is seconds to wait."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a platform's table. The first row that fits counts, so the exact ones stand above the general."""

    statuses: tuple[int, ...]
    kind: Kind
    """SPLIT stands for "something in the data": the batch is split, and an event that is alone is REFUSED."""
    meaning: str
    """Shown where the platform gave no words of its own."""
    remedy: str = ""
    code: str = ""
    """The platform's code; empty fits any."""
    text: str = ""
    """Must stand in the platform's message, without regard to case; empty fits any."""
    throttled: bool = False

    def fits(self, status: int, code: str, message: str) -> bool:
        return (
            status in self.statuses
            and (not self.code or self.code == code)
            and self.text.casefold() in message.casefold()
        )


def pick(rows: Sequence[Row], status: int, message: str, code: str = "") -> Row | None:
    """The first row that fits, or `None` for an answer that the table does not know."""
    return next((row for row in rows if row.fits(status, code, message)), None)


def settled(row: Row, *, code: str, message: str, batch: int, retry_after: float | None = None) -> Verdict:
    """The row's verdict for a request of `batch` events; of a single event there is nothing left to split."""
    return Verdict(
        Kind.REFUSED if row.kind is Kind.SPLIT and batch == 1 else row.kind,
        code=code,
        message=message or row.meaning,
        remedy=row.remedy,
        retry_after=retry_after,
        throttled=row.throttled,
    )


def unknown_answer(response: Response, message: str = "") -> Verdict:
    """An answer that no row knows: tried again within bounds, and visible by its code."""
    return Verdict(
        Kind.RETRY,
        code=f"http_{response.status}",
        message=message or f"The platform answered {response.status} in a way that is not in its documentation.",
        remedy="Read the answer's body in the attempt log; if it goes on, ask the platform or report it to Postbacks.",
    )


def words(text: object) -> str:
    """A platform's words on one line, without control characters, shortened; empty for anything but text."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def reset_wait(headers: Mapping[str, str], names: Sequence[str], now: datetime) -> float | None:
    """Seconds to wait by the first of `names` that holds a number (Unix time or seconds); 0 to `LONGEST_WAIT`."""
    for name in names:
        raw = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", raw) is None:
            continue
        number = float(raw)
        wait = number - now.timestamp() if number > _EPOCH_AFTER else number
        return min(LONGEST_WAIT, max(0.0, wait))
    return None


def failed_check(verdict: Verdict) -> CheckResult:
    """What `doctor` shows for an answer that proves nothing or the contrary."""
    remedy = verdict.remedy or "Nothing was learned about the credentials: try again in a minute."
    return CheckResult(ok=False, code=verdict.code, message=verdict.message, remedy=remedy)
