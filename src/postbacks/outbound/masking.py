"""What of a request and an answer may be kept: everything but secrets and addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from pydantic import BaseModel

MASK = "***"
KEPT = 4096
"""Characters kept of each text."""

_SHORTEST = 6
_PUBLIC = re.compile(r"(_id|_code|email|uri|url|type|universe_domain)$")
"""Credentials that are names, not secrets: dataset_id, pixel_code, operating_account_id, client_email, …"""

_PROOF = re.compile(r"(appsecret_proof[\"']?\s*[=:]\s*[\"']?)[0-9a-f]{16,}", re.IGNORECASE)


def is_public(name: str) -> bool:
    """Whether a credential is a name that may be shown (dataset_id, pixel_code), not a secret."""
    return bool(_PUBLIC.search(name))


_SECRET_NAME = re.compile(r"token|secret|key|password|passwd|auth|sig", re.IGNORECASE)
_PAIR = re.compile(r"""([\w.-]+)["']?\s*[=:]\s*["']?(?=([^"'&\s,{}]+))""")
"""A name and its value. The value is only looked at: what follows `https:` or a port holds further pairs."""
PUBLIC_HEADERS = frozenset({"accept", "content-type", "user-agent"})
"""Headers of a webhook that may be shown."""
_NO_SECRET = re.compile(r"\{[a-z_]+\}|\s+")
"""What a header's value is cut at: macros, and the space behind `Bearer`."""


def option_secrets(options: Mapping[str, Any]) -> list[str]:
    """What an operator wrote into a webhook's headers, or into its URL and body under a name such as `token`."""
    found: list[str] = []
    for name, value in (options.get("headers") or {}).items():
        if name.lower() not in PUBLIC_HEADERS:
            found += [value, *_NO_SECRET.split(value)]
    for text in (options.get("url"), options.get("body")):
        if isinstance(text, str):
            found += [value for name, value in _PAIR.findall(text) if _SECRET_NAME.search(name)]
    return [value for value in found if len(value) >= _SHORTEST and value.lower() not in ("bearer", "digest")]


class Mask:
    """Replaces a destination's secrets wherever they turn up."""

    def __init__(self, credentials: BaseModel | None, options: BaseModel | None = None) -> None:
        values = [*_secrets(credentials.model_dump() if credentials is not None else {})]
        if options is not None:
            values += option_secrets(options.model_dump())
        ordered = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._values = ordered
        self._pattern = re.compile("|".join(re.escape(value) for value in ordered))

    def __call__(self, text: str | None, extra: Iterable[str | None] = ()) -> str | None:
        """The text without secrets, `extra` (an address) and NUL, cut to what is kept."""
        if text is None:
            return None
        if self._suspicious(text):
            text = self._pattern.sub(MASK, text) if self._values else text
            text = _PROOF.sub(rf"\g<1>{MASK}", text)
        for value in extra:
            text = hidden(text, value) or ""
        text = text.replace("\x00", "\ufffd")
        return text if len(text) <= KEPT else f"{text[:KEPT]}… ({len(text)} characters)"

    def each(self, texts: Sequence[str]) -> Sequence[str | None]:
        """Each text as `__call__` gives it, looked through together: nearly always there is nothing to hide."""
        together = "\n".join(texts)
        if self._suspicious(together) or "\x00" in together or max(map(len, texts), default=0) > KEPT:
            return [self(text) for text in texts]
        return texts

    def _suspicious(self, text: str) -> bool:
        """Whether a secret is in the text. It takes a tenth of what the patterns take, and nearly no text holds one."""
        return any(value in text for value in self._values) or "appsecret_proof" in text.lower()


def hidden(text: str | None, value: str | None) -> str | None:
    """The text without an address."""
    return text.replace(value, MASK) if text and value else text


def _secrets(values: Any, name: str = "") -> Iterable[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _secrets(value, str(key))
    elif isinstance(values, str) and len(values) >= _SHORTEST and not _PUBLIC.search(name):
        yield values


def _forms(value: str) -> Iterable[str]:
    """A secret as it may be written in a text: plain, inside JSON (some escape the slash), in a form, in a URL."""
    escaped = json.dumps(value)[1:-1]
    return (
        value,
        escaped,
        json.dumps(value, ensure_ascii=False)[1:-1],
        escaped.replace("/", "\\/"),
        quote(value, safe=""),
        quote_plus(value),
        unquote(value),
    )
