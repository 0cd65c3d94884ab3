"""Reddit Conversions API v3: `POST /api/v3/pixels/{pixel_id}/conversion_events` (sheet reddit)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from postbacks import __version__
from postbacks.domain.model import Conversion, Kind, Verdict
from postbacks.domain.money import json_number
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
from postbacks.platforms.reddit_answers import read_answer, read_check
from postbacks.platforms.sharing import REFUSED_BY_PLAYER, refused
from postbacks.platforms.times import EPOCH, milliseconds

STANDARD_TYPES: Final = (
    "PAGE_VISIT",
    "VIEW_CONTENT",
    "SEARCH",
    "ADD_TO_CART",
    "ADD_TO_WISHLIST",
    "PURCHASE",
    "LEAD",
    "SIGN_UP",
)
"""Every tracking type but CUSTOM (sheet reddit, 2a)."""

WITHOUT_VALUE: Final = frozenset({"PAGE_VISIT", "VIEW_CONTENT", "SEARCH"})
"""Types for which Reddit warns about `value` and `currency` (sheet reddit, 2a)."""

LONGEST_CUSTOM_NAME: Final = 64
MAX_AGE: Final = timedelta(hours=168)
"""Events must be younger than this (sheet reddit, 5)."""
AGE_MARGIN: Final = timedelta(minutes=2)
"""One event that is too old sinks its whole request, so we stop before a slow request or a clock could make it so."""
MAX_BODY: Final = 1_000_000
"""Bytes of one request; Reddit publishes no limit, the sheet advises to stay under 1 MB (sheet reddit, 7)."""

_LIBRARY_AGENTS = re.compile(r"(python(-\w+)?|aiohttp|httpx|curl|java|go-http-client|okhttp|wget)/", re.IGNORECASE)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


_BY_FOLDED_NAME: Final = {_folded(name): name for name in (*STANDARD_TYPES, "CUSTOM")}


class RedditCredentials(ConfigModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    pixel_id: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    access_token: str = Field(pattern=r"^[\x21-\x7e]+$", repr=False)


class RedditOptions(ConfigModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    action_source: Annotated[
        Literal["APP", "WEBSITE", "OTHER"], BeforeValidator(lambda raw: raw.upper() if isinstance(raw, str) else raw)
    ] = "APP"
    """Where the conversion happened. APP is what Reddit says of a game client, and never needs a page's URL.
    PHYSICAL_STORE is left out: such events must not carry a click ID (sheet reddit, 2a)."""
    test_id: str | None = None
    """From Events Manager, Event Testing. Reddit shows test events only when they are alone in their request."""
    user_agent: str | None = Field(default=None, pattern=r"^[\x20-\x7e]+$")
    """Instead of ours; shape `platform:app-id:version (by /u/account)` (sheet reddit, 1)."""

    @field_validator("user_agent")
    @classmethod
    def _is_no_library_default(cls, agent: str | None) -> str | None:
        if agent is not None and _LIBRARY_AGENTS.match(agent):
            raise ValueError(
                "Reddit answers 429 to the User-Agent of a library; "
                "use the shape platform:app-id:version (by /u/account)"
            )
        return agent


class Reddit(Adapter[RedditCredentials, RedditOptions]):
    """Sends conversions to one Reddit pixel.

    A mapping's `name` is one of Reddit's standard types (`PURCHASE`; also `Purchase` or `purchase`, since a custom
    name should not equal a standard one), else the event goes as CUSTOM under that name. `CUSTOM` itself sends the
    event as CUSTOM under the game's own name.
    """

    name = "reddit"
    click_id_types = ("rdt_cid",)
    api_bases: ClassVar[Mapping[str, str]] = {"REDDIT_API_BASE": "https://ads-api.reddit.com"}
    max_batch = 1_000
    credentials_model = RedditCredentials
    options_model = RedditOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "install": {"name": "Install"},
        "registration": {"name": "SIGN_UP"},
        "login": {"name": "Login"},
        "tutorial_complete": {"name": "TutorialComplete"},
        "level_up": {"name": "LevelUp"},
        "achievement": {"name": "Achievement"},
        "purchase": {"name": "PURCHASE"},
        "subscribe": {"name": "Subscribe"},
        "start_trial": {"name": "StartTrial"},
        "ad_view": {"name": "AdView"},
        "spend_credits": {"name": "SpendCredits"},
    }
    """Only registration and purchase have a standard type: Reddit's app goals cannot be posted (sheet reddit, 4)."""

    def timing(self, target: Target[RedditCredentials, RedditOptions]) -> Timing:
        return Timing(age=MAX_AGE - AGE_MARGIN)

    def build(
        self,
        target: Target[RedditCredentials, RedditOptions],
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
        most = 1 if target.options.test_id else self.max_batch
        return Built(tuple(_prepared(target, group) for group in _groups(parts, most)), tuple(unsendable))

    def read(
        self,
        target: Target[RedditCredentials, RedditOptions],
        prepared: Prepared,
        answer: Answer,
        now: datetime,
    ) -> Sequence[Verdict]:
        return read_answer(answer, len(prepared.positions), now)

    def check_request(
        self, target: Target[RedditCredentials, RedditOptions], now: datetime, token: str | None
    ) -> Request:
        """A request without events, which Reddit cannot store: it needs at least one (sheet reddit, 2a)."""
        return _request(target, ())

    def read_check(self, target: Target[RedditCredentials, RedditOptions], answer: Answer) -> CheckResult:
        # `doctor` shows no waits, so the time at which its answer is read does not matter.
        return read_check(answer, EPOCH)


def _tracking(conversion: Conversion) -> tuple[str, str | None]:
    """Tracking type and custom name of an event (sheet reddit, 2a)."""
    name = str(conversion.mapping.get("name") or conversion.event_name)
    standard = _standard(name)
    if standard is None:
        return "CUSTOM", name
    return (standard, None) if standard != "CUSTOM" else ("CUSTOM", conversion.event_name)


@lru_cache(maxsize=1_024)
def _standard(name: str) -> str | None:
    return _BY_FOLDED_NAME.get(_folded(name))


def _refusal(conversion: Conversion, oldest: datetime) -> Verdict | None:
    if refused(conversion):
        return REFUSED_BY_PLAYER
    if conversion.occurred_at <= oldest:
        return Verdict(Kind.EXPIRED, code="too_old", message="Reddit takes events of the last 168 hours only.")
    if not conversion.click.value.strip():
        return Verdict(Kind.SKIPPED, code="no_click_id", message="The click ID is empty.")
    _, custom_name = _tracking(conversion)
    if custom_name is not None and not 1 <= len(custom_name) <= LONGEST_CUSTOM_NAME:
        return Verdict(
            Kind.SKIPPED,
            code="custom_event_name_length",
            message=f"The custom event name has {len(custom_name)} characters; Reddit takes 1 to 64.",
            remedy="Give the event a shorter name in the destination's events.",
        )
    return None


def _event(options: RedditOptions, conversion: Conversion, now: datetime) -> dict[str, Any]:
    """One event. Reddit refuses unknown keys, so nothing is here that the sheet's table does not list."""
    tracking_type, custom_name = _tracking(conversion)
    kind: dict[str, Any] = {"tracking_type": tracking_type}
    if custom_name is not None:
        kind["custom_event_name"] = custom_name
    metadata: dict[str, Any] = {"conversion_id": conversion.key}
    if conversion.value is not None and conversion.currency is not None and tracking_type not in WITHOUT_VALUE:
        metadata["currency"] = conversion.currency
        metadata["value"] = json_number(conversion.value, conversion.currency)
    event: dict[str, Any] = {
        # Ingest takes times of up to ten minutes ahead; Reddit's tolerance is unknown (sheet reddit, 5).
        "event_at": milliseconds(min(conversion.occurred_at, now)),
        "action_source": options.action_source,
        "click_id": conversion.click.value,
        "type": kind,
        "metadata": metadata,
    }
    if conversion.consent.ad_personalization is False:
        # "Limited data use" is the only mode that Reddit has (sheet reddit, 10).
        event["user"] = {"data_processing_options": {"modes": ["LDU"]}}
    return event


def _groups(parts: Sequence[tuple[int, bytes]], most: int) -> Iterator[list[tuple[int, bytes]]]:
    """Consecutive events, at most `most` and about `MAX_BODY` bytes in each group."""
    group: list[tuple[int, bytes]] = []
    size = 0
    for part in parts:
        if group and (len(group) == most or size + len(part[1]) > MAX_BODY - 1_000):
            yield group
            group, size = [], 0
        group.append(part)
        size += len(part[1]) + 1
    if group:
        yield group


def _prepared(target: Target[RedditCredentials, RedditOptions], group: Sequence[tuple[int, bytes]]) -> Prepared:
    return Prepared(
        request=_request(target, [part for _, part in group]),
        positions=tuple(position for position, _ in group),
        parts=tuple(part.decode() for _, part in group),
    )


def _request(target: Target[RedditCredentials, RedditOptions], parts: Sequence[bytes]) -> Request:
    credentials, options = target.credentials, target.options
    test = b'"test_id":' + orjson.dumps(options.test_id) + b"," if options.test_id else b""
    return Request(
        method="POST",
        url=f"{target.bases['REDDIT_API_BASE']}/api/v3/pixels/{credentials.pixel_id}/conversion_events",
        headers={
            "Authorization": f"Bearer {credentials.access_token}",
            "Content-Type": "application/json",
            "User-Agent": options.user_agent or _user_agent(credentials.pixel_id),
        },
        body=b'{"data":{' + test + b'"events":[' + b",".join(parts) + b"]}}",
    )


def _user_agent(pixel_id: str) -> str:
    """Ours, distinct for each pixel, so that one installation's limit is not another's (sheet reddit, 1)."""
    return f"server:postbacks.{pixel_id}:{__version__} (by /u/postbacks)"
