"""Tables of numeric answer codes (Meta, TikTok), written like the tables of the platform's sheet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from postbacks.domain.model import Kind, Verdict

_MAX_WORDS: Final = 500
_IPV4: Final = re.compile(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b")
_IPV6_LIKE: Final = re.compile(r"[0-9A-Fa-f:]{3,}")


@dataclass(frozen=True, slots=True)
class CodeRow:
    """What one or several codes mean for a delivery that was alone in its request."""

    codes: str
    """As in the sheet: `190`, `200-299`, `100/2804003` (code and subcode), several of them after commas."""
    kind: Kind
    meaning: str
    """A sentence for the operator."""
    remedy: str = ""
    throttled: bool = False
    retry_after: float | None = None
    """Seconds; only where the platform's guidance asks for more than the retry schedule."""
    one_by_one: bool = False
    """In a batch the answer may concern one event and does not say which, although it is no refusal for good."""

    def verdict(self, code: str, words: str, count: int, retry_after: float | None = None) -> Verdict:
        """The verdict for each of `count` deliveries of a request; `retry_after` is what the answer asked for."""
        about_one = self.one_by_one or self.kind in (Kind.REFUSED, Kind.EXPIRED)
        waits = [seconds for seconds in (retry_after, self.retry_after) if seconds is not None]
        return Verdict(
            Kind.SPLIT if about_one and count > 1 else self.kind,
            code=code,
            message=words or self.meaning,
            remedy=f"{self.meaning} {self.remedy}".strip(),
            # 0 would stand for "again at once"; what cannot be taken now is worth at least the schedule's pause.
            retry_after=(max(waits, default=0.0) or None) if self.kind is Kind.RETRY else None,
            throttled=self.throttled,
        )


class CodeTable:
    """Rows by code and subcode. Raises `ValueError` where two rows claim the same code."""

    def __init__(self, rows: Iterable[CodeRow]) -> None:
        self.rows: Final = tuple(rows)
        self._by_code: dict[tuple[int, int | None], CodeRow] = {}
        for row in self.rows:
            for key in named_codes(row):
                if key in self._by_code:
                    raise ValueError(f"two rows for {key}")
                self._by_code[key] = row

    def find(self, code: int, subcode: int | None = None) -> CodeRow | None:
        """The row of the pair, else the row of the code alone."""
        return self._by_code.get((code, subcode)) or self._by_code.get((code, None))


def named_codes(row: CodeRow) -> list[tuple[int, int | None]]:
    """Every (code, subcode) that a row names."""
    found: list[tuple[int, int | None]] = []
    for entry in row.codes.split(","):
        code, _, subcode = entry.strip().partition("/")
        first, _, last = code.partition("-")
        found += [(number, int(subcode) if subcode else None) for number in range(int(first), int(last or first) + 1)]
    return found


def number(body: Mapping[str, Any], key: str) -> int | None:
    """An integer of an answer, also where it was written as text; `None` where there is none."""
    raw = body.get(key)
    if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,15}", raw):
        return int(raw)
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def platform_words(texts: Iterable[Any], secrets: Iterable[str | None]) -> str:
    """The platform's own words as one line of at most 500 characters, without secrets and addresses.

    Platforms do quote a malformed token in their messages, so that a message is no safer than a header.
    """
    distinct = dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip())
    line = " ".join(" · ".join(distinct).replace("\x00", " ").split())
    for secret in secrets:
        if secret:
            line = line.replace(secret, "***")
    return _IPV6_LIKE.sub(_masked_ipv6, _IPV4.sub("(address)", line))[:_MAX_WORDS]


def _masked_ipv6(match: re.Match[str]) -> str:
    for text in (match.group(), match.group().strip(":")):
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            continue
        return match.group().replace(text, "(address)")
    return match.group()
