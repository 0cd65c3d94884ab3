"""X Conversion API: `POST /12/measurement/conversions/{pixel_id}` (sheet x)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, ClassVar, Final, Self

import orjson
from pydantic import ConfigDict, Field, field_validator, model_validator

from postbacks.domain.model import Conversion, Kind, Verdict
from postbacks.domain.money import decimal_text
from postbacks.domain.planning import Timing
from postbacks.platforms.base import (
    Adapter,
    Answer,
    Built,
    CheckResult,
    ConfigModel,
    Prepared,
    Request,
    Target,
    Unsendable,
)
from postbacks.platforms.sharing import REFUSED_BY_PLAYER, Share, refused, shared_ip, shared_user_agent
from postbacks.platforms.times import EPOCH, zulu
from postbacks.platforms.x_answers import read_answer, read_check
from postbacks.platforms.x_oauth import OAuthKeys, authorization

_VISIBLE: Final = r"^[\x21-\x7e]*$"
_TWCLID: Final = re.compile(r"[A-Za-z0-9_-]{10,100}")
_HASHED: Final = re.compile(r"[0-9A-Fa-f]{64}")
_OAUTH_FIELDS: Final = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")


class XCredentials(ConfigModel):
    """Either `pixel_token` or the four OAuth 1.0a values; empty text counts as absent."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    pixel_id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    pixel_token: str | None = Field(default=None, pattern=_VISIBLE, repr=False)
    consumer_key: str | None = Field(default=None, pattern=_VISIBLE, repr=False)
    consumer_secret: str | None = Field(default=None, pattern=_VISIBLE, repr=False)
    access_token: str | None = Field(default=None, pattern=_VISIBLE, repr=False)
    access_token_secret: str | None = Field(default=None, pattern=_VISIBLE, repr=False)

    @field_validator("pixel_id")
    @classmethod
    def _is_no_event_id(cls, pixel_id: str) -> str:
        if pixel_id.lower().startswith("tw-"):
            raise ValueError("this is an event ID; the pixel ID is its middle part (tw-PIXEL-EVENT)")
        return pixel_id

    @model_validator(mode="after")
    def _has_one_way_to_authenticate(self) -> Self:
        given = [name for name in _OAUTH_FIELDS if getattr(self, name)]
        if self.pixel_token and given:
            raise ValueError(f"give either pixel_token or the OAuth 1.0a values, not both (found {', '.join(given)})")
        missing = [name for name in _OAUTH_FIELDS if name not in given]
        if given and missing:
            raise ValueError(f"OAuth 1.0a also needs {', '.join(missing)}; or give pixel_token alone")
        if not given and not self.pixel_token:
            raise ValueError(f"give pixel_token, or all of {', '.join(_OAUTH_FIELDS)}")
        return self

    def oauth(self) -> OAuthKeys | None:
        """The OAuth 1.0a values, or `None` where a pixel token is used."""
        if self.pixel_token:
            return None
        return OAuthKeys(
            consumer_key=self.consumer_key or "",
            consumer_secret=self.consumer_secret or "",
            access_token=self.access_token or "",
            access_token_secret=self.access_token_secret or "",
        )


class XOptions(ConfigModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    api_version: str = Field(default="12", pattern=r"^\d{1,3}$")
    share: tuple[Share, ...] = ()
    """X takes an address only together with a user agent, so both have to be shared for either to be sent."""
    max_age_days: int = Field(default=30, ge=1, le=90)
    """Days after which an event is not sent any more. X publishes no limit; past the event's attribution window it
    is of no use there, so set it to that window where it is shorter (sheet x, 5)."""


class XEvent(ConfigModel):
    """An event of X is known by the ID of its single event tag, not by a name (sheet x, 4)."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    event_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")


class X(Adapter[XCredentials, XOptions]):
    """Sends conversions to one X pixel, with a pixel token or signed by OAuth 1.0a."""

    name = "x"
    counts_repeats = True
    click_id_types = ("twclid",)
    api_bases: ClassVar[Mapping[str, str]] = {"X_API_BASE": "https://ads-api.x.com"}
    max_batch = 500
    """X's maximum (sheet x, 7). Its errors name no conversion: what is bad is found by halving."""
    max_claim = max_batch
    """What a crash makes a dispatcher send again may count twice."""
    credentials_model = XCredentials
    options_model = XOptions
    mapping_model = XEvent
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """None: each ad account has event IDs of its own."""

    def validate(self, credentials: XCredentials, options: XOptions, events: Mapping[str, Mapping[str, Any]]) -> None:
        if "*" in events:
            raise ValueError("X has no custom events, so '*' cannot be mapped: give each event its event_id")
        for event_name, mapping in events.items():
            pixel = credentials.pixel_id
            if mapping.get("event_id") in (pixel, f"tw-{pixel}-{pixel}"):
                raise ValueError(f"events.{event_name}.event_id is the pixel's ID; copy the event's own (tw-…)")

    def wildcard(self, event_name: str) -> Mapping[str, Any] | None:
        return None

    def timing(self, target: Target[XCredentials, XOptions]) -> Timing:
        return Timing(age=timedelta(days=target.options.max_age_days))

    def build(
        self,
        target: Target[XCredentials, XOptions],
        conversions: Sequence[Conversion],
        now: datetime,
        token: str | None,
    ) -> Built:
        parts: list[tuple[int, bytes]] = []
        unsendable: list[Unsendable] = []
        oldest = now - self.timing(target).age
        for position, conversion in enumerate(conversions):
            refusal = _refusal(conversion, oldest)
            if refusal is not None:
                unsendable.append(Unsendable(position, refusal))
                continue
            parts.append((position, orjson.dumps(_event(target.options, conversion, now))))
        groups = [parts[start : start + self.max_batch] for start in range(0, len(parts), self.max_batch)]
        return Built(
            tuple(
                Prepared(
                    request=_request(target, [part for _, part in group], now),
                    positions=tuple(position for position, _ in group),
                    parts=tuple(part.decode() for _, part in group),
                )
                for group in groups
            ),
            tuple(unsendable),
        )

    def read(
        self, target: Target[XCredentials, XOptions], prepared: Prepared, answer: Answer, now: datetime
    ) -> Sequence[Verdict]:
        return read_answer(answer, prepared.parts, now, oauth=target.credentials.oauth() is not None)

    def check_request(self, target: Target[XCredentials, XOptions], now: datetime, token: str | None) -> Request:
        """A request without conversions. X has no test mode (sheet x, 9); this one it can only refuse."""
        return _request(target, (), now)

    def read_check(self, target: Target[XCredentials, XOptions], answer: Answer) -> CheckResult:
        # `doctor` shows no waits, so the time at which its answer is read does not matter.
        return read_check(answer, EPOCH, oauth=target.credentials.oauth() is not None)


def _refusal(conversion: Conversion, oldest: datetime) -> Verdict | None:
    if refused(conversion):
        return REFUSED_BY_PLAYER
    if conversion.occurred_at <= oldest:
        return Verdict(
            Kind.EXPIRED,
            code="too_old",
            message="Older than the destination's max_age_days.",
            remedy="X could not attribute it any more; options.max_age_days (up to 90) moves the limit.",
        )
    twclid = conversion.click.value
    if _TWCLID.fullmatch(twclid) is None:
        return Verdict(
            Kind.SKIPPED,
            code="implausible_click_id",
            message="This is no twclid: 10 to 100 letters, digits, hyphens and underscores are plausible.",
            remedy="Look at how the landing page hands the twclid on: it must arrive unchanged and uncut.",
        )
    if _HASHED.fullmatch(twclid) is not None:
        return Verdict(
            Kind.SKIPPED,
            code="hashed_click_id",
            message="The twclid looks like a SHA-256 hash; X needs it as it came.",
            remedy="Register the click ID unhashed.",
        )
    return None


def _event(options: XOptions, conversion: Conversion, now: datetime) -> dict[str, Any]:
    """One conversion (sheet x, 2)."""
    event: dict[str, Any] = {
        "conversion_time": _time(min(conversion.occurred_at, now)),
        "event_id": str(conversion.mapping["event_id"]),
        "identifiers": _identifiers(options, conversion),
        "conversion_id": conversion.key,
    }
    if conversion.value is not None and conversion.currency is not None:
        # Text with a point, also for JPY: X was seen to refuse whole numbers (sheet x, 12 no. 6).
        event["value"] = decimal_text(conversion.value, conversion.currency, least_digits=2)
        event["price_currency"] = conversion.currency
    return event


def _time(when: datetime) -> str:
    """`2026-11-23T10:00:00.000Z`: always three decimals and `Z`, never an offset (sheet x, 5)."""
    return zulu(when, "milliseconds")


def _identifiers(options: XOptions, conversion: Conversion) -> list[dict[str, str]]:
    """The click ID, and address and user agent together in one object of their own (sheet x, 2)."""
    identifiers = [{"twclid": conversion.click.value}]
    if not options.share:
        return identifiers
    ip = shared_ip(conversion, options.share)
    user_agent = shared_user_agent(conversion, options.share)
    if ip and user_agent and _is_ipv4(ip):
        identifiers.append({"ip_address": ip, "user_agent": user_agent})
    return identifiers


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _request(target: Target[XCredentials, XOptions], parts: Sequence[bytes], now: datetime) -> Request:
    credentials = target.credentials
    base = target.bases["X_API_BASE"]
    url = f"{base}/{target.options.api_version}/measurement/conversions/{credentials.pixel_id}"
    keys = credentials.oauth()
    headers = {"Content-Type": "application/json"}
    if keys is None:
        headers["X-Pixel-Token"] = credentials.pixel_token or ""
    else:
        headers["Authorization"] = authorization(keys, url, now)
    return Request(method="POST", url=url, headers=headers, body=b'{"conversions":[' + b",".join(parts) + b"]}")
