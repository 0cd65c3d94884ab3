"""What an operator writes for a webhook, and the rules that it has to keep."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from postbacks.platforms.base import ConfigModel
from postbacks.platforms.webhook_template import NUMBERS, Place, Template, parse

DEFAULT_BODY: Final = (
    '{"event_id":"{event_id}","event_name":"{event_name}","occurred_at":"{occurred_at}","value":{value},'
    '"currency":{currency},"click_id":"{click_id}","click_id_type":"{click_id_type}","ad_platform":{ad_platform},'
    '"clicked_at":"{clicked_at}","idempotency_key":"{idempotency_key}"}'
)
"""The body of a POST whose destination gives none; a missing value is `null`."""

SIGNING_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")

_OF_THE_CONNECTION: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AUTHORITY: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
"""Host and port. No percent sign, no backslash: what reads them differently could be led elsewhere."""
_FORM_LIKE: Final = re.compile(r"[^\s=&]+=[^\s&]*(&[^\s=&]+=[^\s&]*)*")
_CONTENT_TYPES: Final[Mapping[Place, str]] = {
    Place.JSON: "application/json",
    Place.FORM: "application/x-www-form-urlencoded",
    Place.TEXT: "text/plain; charset=utf-8",
}
_SAMPLE: Final = 'a"b\\c\n{}'


def signing_key(secret: str) -> bytes:
    """The key behind a signing secret: `whsec_` and base64 as Standard Webhooks defines it, base64 alone, or any other
    text, which is then the key itself. Raises `ValueError` where `whsec_` is followed by no base64."""
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if key or not secret.startswith("whsec_"):
        return key or secret.encode()
    raise ValueError("must be base64 behind whsec_, as Standard Webhooks defines it (24 to 64 random bytes)")


def _checked_secret(secret: str) -> str:
    if not signing_key(secret):
        raise ValueError("must not be empty")
    return secret


class WebhookCredentials(ConfigModel):
    signing_secret: Annotated[str, AfterValidator(_checked_secret)] | None = Field(default=None, repr=False)
    """`whsec_…`: requests are then signed after Standard Webhooks."""


class WebhookEvent(ConfigModel):
    name: str | None = Field(default=None, min_length=1)
    """What `{event_name}` becomes; without it the game's name."""


def _as_text(body: Any) -> Any:
    """A body that is written as YAML or JSON structure stands for its JSON text."""
    return orjson.dumps(body).decode() if isinstance(body, dict | list) else body


class WebhookOptions(ConfigModel):
    url: str = Field(repr=False)
    method: Annotated[
        Literal["GET", "POST"], BeforeValidator(lambda raw: raw.upper() if isinstance(raw, str) else raw)
    ] = "POST"
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    # Validated also where it is absent: the default body has to suit a content type that is given.
    body: Annotated[str | None, BeforeValidator(_as_text)] = Field(default=None, repr=False, validate_default=True)
    """Of a POST; without it `DEFAULT_BODY`. Empty text sends an empty body."""

    @field_validator("url")
    @classmethod
    def _url_is_usable(cls, url: str) -> str:
        check_url(url)
        return url

    @field_validator("headers")
    @classmethod
    def _headers_are_usable(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            _check_header(name, value)
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("the same header stands there twice")
        return headers

    @field_validator("body")
    @classmethod
    def _body_is_usable(cls, body: str | None, others: ValidationInfo) -> str | None:
        """Stands at the field, so that a refusal names it; method and headers were read before it."""
        if others.data.get("method") == "GET":
            if body:
                raise ValueError("a GET has no body: remove body, or set method to POST")
            return body
        template = _body_template(body, others.data.get("headers") or {})
        if template.place is Place.JSON and template.pieces:
            _check_json(template)
        return body

    def content_type(self) -> str:
        """The given one, else what the body looks like."""
        return _content_type(self.body, self.headers)

    def body_template(self) -> Template:
        """The body of a POST, escaped as its content type wants it."""
        return _body_template(self.body, self.headers)


def _content_type(body: str | None, headers: Mapping[str, str]) -> str:
    given = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    return given or _CONTENT_TYPES[_looks_like(_body_text(body))]


def _body_template(body: str | None, headers: Mapping[str, str]) -> Template:
    return parse(_body_text(body), _place_of(_content_type(body, headers)))


def _body_text(body: str | None) -> str:
    return DEFAULT_BODY if body is None else body


@dataclass(frozen=True, slots=True)
class Compiled:
    """The templates of a destination, read once for a batch."""

    url: Template
    headers: Mapping[str, Template]
    body: Template | None


def compiled(options: WebhookOptions) -> Compiled:
    """`body` is `None` for a GET. The content type of a POST is always among the headers."""
    headers = {name: parse(value, Place.HEADER) for name, value in options.headers.items()}
    if options.method == "GET":
        return Compiled(parse(options.url, Place.URL), headers, None)
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = parse(options.content_type(), Place.HEADER)
    return Compiled(parse(options.url, Place.URL), headers, options.body_template())


def check_url(url: str) -> None:
    """Raises `ValueError` unless `url` is an absolute http(s) URL with macros in path and query only."""
    template = parse(url, Place.URL)
    if re.fullmatch(r"[!-~]+", url) is None:
        raise ValueError("url: spaces and characters beyond ASCII have to be percent-encoded (the host in punycode)")
    literal = re.match(r"(https?)://([^/?#]+)", url, re.IGNORECASE)
    if literal is None:
        raise ValueError("url: must start with https:// (or http://) and a host")
    if "{" in literal[2] or "}" in literal[2]:
        raise ValueError("url: macros may stand in path and query, not in the host")
    if "@" in literal[2]:
        raise ValueError("url: user name and password belong into an Authorization header")
    if _AUTHORITY.fullmatch(literal[2]) is None:
        raise ValueError("url: host or port is not valid")
    if any(brace in piece for piece in template.pieces if isinstance(piece, str) for brace in "{}"):
        raise ValueError("url: a brace is left that belongs to no macro; macros are written {click_id}")
    if "#" in url:
        raise ValueError("url: a fragment (#…) is never sent")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("url: host or port is not valid")
    if _is_odd_address(parts.hostname or ""):
        raise ValueError("url: an address is written as four decimal numbers (or as IPv6 between brackets)")
    if has_dot_segment(url):
        raise ValueError("url: the path must not contain . or .. as a segment")


def _is_odd_address(host: str) -> bool:
    """Whether a resolver might read the host as an IPv4 address although it does not look like one (`0x7f.1`)."""
    if ":" in host:
        return False
    last = host.rstrip(".").rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", last) is None:
        return False
    try:
        IPv4Address(host)
    except ValueError:
        return True
    return False


def has_dot_segment(url: str) -> bool:
    """Whether the path has a segment that an HTTP client or server would resolve, plain or percent-encoded."""
    path = re.sub(r"%2e", ".", urlsplit(url).path, flags=re.IGNORECASE)
    return any(segment in (".", "..") for segment in path.split("/"))


def _check_header(name: str, value: str) -> None:
    if _HEADER_NAME.fullmatch(name) is None:
        raise ValueError("headers: a name has characters that HTTP does not allow; names take no macros")
    if name.lower() in _OF_THE_CONNECTION:
        raise ValueError(f"headers: {name} is set by the connection itself")
    if name.lower() in SIGNING_HEADERS:
        raise ValueError(f"headers: {name} is ours; give credentials.signing_secret to have requests signed")
    if re.fullmatch(r"[ -~]*", value) is None:
        raise ValueError(f"headers: the value of {name} must be visible ASCII on one line")
    try:
        template = parse(value, Place.HEADER)
    except ValueError as error:
        raise ValueError(f"headers: {name}: {error}") from None
    if name.lower() == "content-type" and any(not isinstance(piece, str) for piece in template.pieces):
        raise ValueError("headers: Content-Type decides the escaping and takes no macros")


def _looks_like(body: str) -> Place:
    if body.lstrip().startswith(("{", "[")):
        return Place.JSON
    return Place.FORM if _FORM_LIKE.fullmatch(body) else Place.TEXT


def _place_of(content_type: str) -> Place:
    """The escaping of a content type. Raises `ValueError` for one that has none."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence in ("application/json", "text/json") or essence.endswith("+json"):
        return Place.JSON
    if essence == "application/x-www-form-urlencoded":
        return Place.FORM
    if essence == "text/plain":
        return Place.TEXT
    raise ValueError(
        "body: no escaping is known for this Content-Type; use application/json, application/x-www-form-urlencoded "
        "or text/plain"
    )


def _check_json(template: Template) -> None:
    names = {piece.name for piece in template.pieces if not isinstance(piece, str)}
    full = {name: "1.5" if name in NUMBERS else _SAMPLE for name in names}
    for values in (full, dict.fromkeys(names)):
        try:
            orjson.loads(template.render(values))
        except orjson.JSONDecodeError:
            raise ValueError(
                "body: not valid JSON once its macros are filled in; a macro stands between quotes, or alone as a value"
            ) from None
