"""What of a click may leave besides its click ID, and in which form."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator

from postbacks.domain.model import Conversion, Kind, Verdict

Share = Literal["user_agent", "ip"]
"""What an operator may add to the click ID (contract, 5)."""

_EXACT_IN_JSON: Final = 2**53
_E_MAIL: Final = re.compile(r"[^/@]+(?:@|%40)[^/]+\.[^/]+", re.IGNORECASE)
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"
"""What stands unescaped in the path of a URL (RFC 3986); the percent sign begins what already is escaped."""

REFUSED_BY_PLAYER: Final = Verdict(
    Kind.SKIPPED,
    code="consent",
    message="The player refused postbacks.",
    remedy="Nothing to do: a refusal of `postbacks` is final for this click.",
)


def refused(conversion: Conversion) -> bool:
    """Whether click or event carries a refusal. Planning already stops these; a later refusal is caught here."""
    return conversion.consent.postbacks is False or conversion.click.consent.postbacks is False


def shared_user_agent(conversion: Conversion, share: Collection[Share]) -> str | None:
    """The click's user agent where the destination shares it and nobody refused; unknown consent suffices."""
    if "user_agent" not in share or refused(conversion):
        return None
    return (conversion.click.user_agent or "").strip() or None


def shared_ip(conversion: Conversion, share: Collection[Share]) -> str | None:
    """The click's address where the destination shares it and consent is an explicit yes."""
    if "ip" not in share or refused(conversion) or conversion.consent.postbacks is not True:
        return None
    return conversion.click.ip or None


def shared_names(conversion: Conversion, share: Collection[Share]) -> str | None:
    """What leaves beside the click ID, comma-separated, for the privacy ledger; `None` for nothing."""
    names = []
    if shared_user_agent(conversion, share) is not None:
        names.append("user_agent")
    if shared_ip(conversion, share) is not None:
        names.append("ip")
    return ",".join(names) or None


def reached_level(conversion: Conversion) -> int | None:
    """The property `level` of a `level_up`; the only property that leaves, because others may be personal."""
    if conversion.event_name != "level_up":
        return None
    level = conversion.properties.get("level")
    if not isinstance(level, int) or isinstance(level, bool):
        return None
    return level if abs(level) < _EXACT_IN_JSON else None


@lru_cache(maxsize=4096)
def landing_page(url: str | None) -> str | None:
    """The URL without user name, query and fragment, or `None` where it is no http(s) URL with a host.

    Query and fragment go because they may carry personal data (sheet meta, 10; sheet tiktok, 10), and so does what
    looks like an e-mail address in the path. What is left is ASCII, as a browser would send it.
    """
    if not url or any(character.isspace() or not character.isprintable() for character in url):
        return None
    try:
        parts = urlsplit(url)
        host = _ascii_host(parts.hostname or "")
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # UnicodeError, of a host that is no name, is one of these
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    path = _E_MAIL.split(parts.path, maxsplit=1)[0]
    return urlunsplit((parts.scheme, f"{host}{port}", quote(path, safe=_PATH_CHARACTERS), "", ""))


def _ascii_host(host: str) -> str:
    if ":" in host:
        return f"[{host}]"
    return host if host.isascii() else host.encode("idna").decode()


def _checked_page(url: str) -> str:
    page = landing_page(url)
    if page is None:
        raise ValueError("must be a complete URL such as https://game.example/lp")
    return page


PageUrl = Annotated[str, AfterValidator(_checked_page)]
"""An option that holds a page's address; raises `ValueError` unless it is an http(s) URL with a host."""
