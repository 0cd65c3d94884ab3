"""Macro templates of webhooks: `{click_id}` in a URL, a header or a body, escaped for the place where it stands.

Braces around one word are a macro; every other brace is literal, so that a JSON body needs no doubled braces. A word
that is no macro (`{klick_id}`, `{Click_ID}`, `{sub1}`, `{ click_id }`, `{{click_id}}`) is refused when the destination
is saved: no valid JSON has a bare word between braces.

| place  | what a macro becomes                                                                            |
|--------|-------------------------------------------------------------------------------------------------|
| URL    | percent-encoded, all but letters, digits and `-._~`; the same in path and query                   |
| header | visible ASCII as it is; anything else, and `%`, percent-encoded: never a line break               |
| JSON   | between quotes: the inside of a JSON string; outside quotes: a whole JSON value (`null` if absent)|
| form   | as `application/x-www-form-urlencoded` wants it                                                   |
| text   | as it is, control characters as spaces                                                            |

A macro without a value (`{value}` of an install) is empty, and `null` outside the quotes of a JSON body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote, quote_plus

import orjson

from postbacks.domain.model import Conversion
from postbacks.domain.money import decimal_text

MACROS: Final[Mapping[str, str]] = {
    "click_id": "the click ID of the last matched click, byte for byte",
    "click_id_type": "the click ID's parameter: fbclid, gclid, gbraid, wbraid, ttclid, rdt_cid, twclid",
    "ad_platform": "the platform of the click: meta, google, tiktok, reddit, x",
    "event_name": "the mapping's name, else the game's name of the event",
    "game_event_name": "the game's name of the event",
    "event_id": "the event's ID as the game gave it",
    "idempotency_key": "the same on every try of this delivery; also in the header webhook-id",
    "value": "amount in currency units, with the currency's own decimals: 4.99, 499 (JPY)",
    "currency": "ISO 4217",
    "occurred_at": "when the event happened, RFC 3339 in UTC",
    "occurred_at_unix": "the same in whole Unix seconds",
    "clicked_at": "when the click was first seen, RFC 3339 in UTC",
    "clicked_at_unix": "the same in whole Unix seconds",
}
"""Every macro and what it becomes."""

PLATFORM_OF: Final[Mapping[str, str]] = {
    "fbclid": "meta",
    "gclid": "google",
    "gbraid": "google",
    "wbraid": "google",
    "ttclid": "tiktok",
    "rdt_cid": "reddit",
    "twclid": "x",
}
"""Click ID parameter → the platform that gave it."""

NUMBERS: Final = frozenset({"value", "occurred_at_unix", "clicked_at_unix"})
"""Macros that stand as numbers where they stand outside quotes in JSON."""

_WORD: Final = r"[ \t]*[A-Za-z_][\w.:-]*[ \t]*"
_MACRO: Final = re.compile(rf"\{{(?P<name>\{{{_WORD}\}}|{_WORD})\}}", re.ASCII)
"""Wider than the macros there are, so that a misspelt one is seen."""


class Place(StrEnum):
    """Where a template stands; it decides the escaping."""

    URL = "url"
    HEADER = "header"
    JSON = "json"
    FORM = "form"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Macro:
    name: str
    quoted: bool
    """JSON: stands inside a string."""


@dataclass(frozen=True, slots=True)
class Template:
    place: Place
    pieces: tuple[str | Macro, ...]
    """Literal text and macros, in order."""

    def render(self, values: Mapping[str, str | None]) -> str:
        """The text with every macro replaced; `values` are those of `macro_values`."""
        return "".join(
            piece if isinstance(piece, str) else _escaped(self.place, piece, values[piece.name])
            for piece in self.pieces
        )


def parse(text: str, place: Place) -> Template:
    """Reads a template. Raises `ValueError` that names an unknown macro and lists the known ones."""
    pieces: list[str | Macro] = []
    end = 0
    quoted = False
    for found in _MACRO.finditer(text):
        name = found["name"]
        if name not in MACROS:
            raise ValueError(f"{{{name}}} is no macro; known are {', '.join(f'{{{known}}}' for known in MACROS)}")
        literal = text[end : found.start()]
        quoted = _ends_inside_string(literal, quoted)
        pieces += [literal, Macro(name, quoted)]
        end = found.end()
    pieces.append(text[end:])
    return Template(place, tuple(piece for piece in pieces if piece != ""))


def macro_values(conversion: Conversion) -> Mapping[str, str | None]:
    """What each macro becomes for a conversion, unescaped; `None` where there is nothing."""
    value, currency, click = conversion.value, conversion.currency, conversion.click
    return {
        "click_id": click.value,
        "click_id_type": click.type,
        "ad_platform": PLATFORM_OF.get(click.type),
        "event_name": str(conversion.mapping.get("name") or conversion.event_name),
        "game_event_name": conversion.event_name,
        "event_id": conversion.event_id,
        "idempotency_key": conversion.key,
        "value": None if value is None or currency is None else decimal_text(value, currency),
        "currency": currency,
        "occurred_at": rfc3339(conversion.occurred_at),
        "occurred_at_unix": unix_seconds(conversion.occurred_at),
        "clicked_at": rfc3339(click.clicked_at),
        "clicked_at_unix": unix_seconds(click.clicked_at),
    }


def rfc3339(when: datetime) -> str:
    """`2026-11-23T10:00:00Z`, with a fraction only where there is one."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def unix_seconds(when: datetime) -> str:
    return str(int(when.timestamp() // 1))


def _ends_inside_string(literal: str, inside: bool) -> bool:
    """Whether a JSON string is open after `literal`. What replaces a macro is escaped and cannot change it."""
    escaped = False
    for char in literal:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = inside
        elif char == '"':
            inside = not inside
    return inside


def _escaped(place: Place, macro: Macro, value: str | None) -> str:
    if place is Place.JSON:
        return _json(macro, value)
    if value is None:
        return ""
    if place is Place.URL:
        return quote(value, safe="")
    if place is Place.FORM:
        return quote_plus(value)
    if place is Place.HEADER:
        return "".join(_header_char(char) for char in value)
    return "".join(char if char.isprintable() else " " for char in value)


def _json(macro: Macro, value: str | None) -> str:
    if macro.quoted:
        return orjson.dumps(value or "").decode()[1:-1]
    if value is not None and macro.name in NUMBERS:
        return value
    return orjson.dumps(value).decode()


def _header_char(char: str) -> str:
    # The percent sign is encoded too, so that decoding always gives the original back.
    return char if "!" <= char <= "~" and char != "%" else "".join(f"%{byte:02X}" for byte in char.encode())
