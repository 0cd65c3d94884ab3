"""Meta Conversions API: click IDs as `fbc`, batches that are taken or refused as a whole."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
from pydantic import Field

from postbacks.domain.model import Click, Conversion, Kind, Verdict
from postbacks.domain.money import json_number
from postbacks.domain.planning import Timing
from postbacks.platforms.answer_table import failed_check
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
from postbacks.platforms.event_names import refuse_miscased
from postbacks.platforms.meta_answers import read_answer, version_warning
from postbacks.platforms.packing import Part, prepare
from postbacks.platforms.reading import same_for_all
from postbacks.platforms.sharing import (
    REFUSED_BY_PLAYER,
    PageUrl,
    Share,
    landing_page,
    reached_level,
    refused,
    shared_ip,
    shared_user_agent,
)
from postbacks.platforms.times import EPOCH, milliseconds

STANDARD_EVENTS: Final = frozenset(
    {
        *("AddPaymentInfo", "AddToCart", "AddToWishlist", "CompleteRegistration", "Contact", "CustomizeProduct"),
        *("Donate", "FindLocation", "InitiateCheckout", "Lead", "PageView", "Purchase", "Schedule", "Search"),
        *("StartTrial", "SubmitApplication", "Subscribe", "ViewContent"),
    }
)
"""Meta's web events (sheet meta, 4); every other name is a custom event."""

MAX_NAME: Final = 50
"""Characters of an event name; the pixel's limit, none is known for the API (sheet meta, 4)."""

IN_FLIGHT: Final = timedelta(minutes=2)
"""Kept from the age limit, because Meta measures an event's age on arrival and refuses the whole batch."""

LDU_STATES: Final = frozenset({0, *range(1000, 1014)})
"""0 lets Meta locate the player; the others are the US states of sheet meta, 10."""

_FBC: Final = re.compile(r"fb\.[0-9]+\.[0-9]{10,13}\.[A-Za-z0-9_-]+(?:\.(?:[A-Za-z0-9_-]{2}|[A-Za-z0-9_-]{8}))?")
"""Four parts, or five with the mark that Meta's own library appends: 2 characters or 8 (sheet meta, 3 and rule 14).

Which marks exist is the library's business: it adds one for each language that it is written in.
"""

_FBCLID: Final = re.compile(r"[A-Za-z0-9_-]+")

_DEFAULT_SHARE: Final[list[Share]] = ["user_agent"]
"""Documented as required for website events (sheet meta, 2.4; contract, 5)."""

TOO_OLD: Final = Verdict(
    Kind.EXPIRED,
    code="too_old",
    message="The event is older than Meta takes (7 days, 62 for physical_store).",
    remedy="Nothing can be done for this one; look why it was sent late.",
)
INVALID_CLICK_ID: Final = Verdict(
    Kind.SKIPPED,
    code="invalid_click_id",
    message="The click ID is neither an fbclid of letters, digits, - and _ nor an fbc of 4 or 5 parts.",
    remedy="Pass the value of the URL parameter `fbclid` on as it is: not decoded twice, not cut, nothing added.",
)
VALUE_MISSING: Final = Verdict(
    Kind.SKIPPED,
    code="value_missing",
    message="Meta refuses a Purchase without value and currency.",
    remedy="Send `value` and `currency` with the event, or map it to another name than Purchase.",
)
NO_IP_FOR_LDU: Final = Verdict(
    Kind.SKIPPED,
    code="no_ip_for_limited_data_use",
    message="Limited Data Use by Meta's own location needs the player's address, and there is none to share.",
    remedy="Set data_processing_options_country to 1 and data_processing_options_state to the state to apply.",
)
PROBE_REFUSED: Final = (
    "Meta refused the probe for another reason than its missing fields, so that nothing was learned about the token: "
    "compare `dataset_id` and `access_token` with Events Manager, then send a test event."
)


class MetaCredentials(ConfigModel):
    dataset_id: Annotated[str, Field(pattern=r"^[0-9]{1,32}$", coerce_numbers_to_str=True)]
    """Also called pixel ID."""
    access_token: Annotated[str, Field(pattern=r"^[!-~]+$")]
    app_secret: Annotated[str, Field(pattern=r"^[!-~]+$")] | None = None
    """Of the app that owns the token; needed where that app requires `appsecret_proof`."""


class MetaOptions(ConfigModel):
    api_version: Annotated[str, Field(pattern=r"^v[0-9]{1,3}\.[0-9]$")] = "v26.0"
    action_source: Literal["website", "system_generated", "other", "email", "phone_call", "chat", "physical_store"] = (
        "website"
    )
    """`website` applies to events whose landing page and user agent are known; the rest go as `system_generated`.

    `app` and `business_messaging` are not offered: they need device data or message IDs that a click never has.
    """
    event_source_url: PageUrl | None = None
    """Landing page for clicks that were registered without a URL."""
    test_event_code: Annotated[str, Field(pattern=r"^[!-~]+$")] | None = None
    share: list[Share] = Field(default_factory=_DEFAULT_SHARE.copy)
    partner_agent: Annotated[str, Field(max_length=22, pattern=r"^[!-~]*[A-Za-z][!-~]*[A-Za-z][!-~]*$")] | None = None
    """Tag of an integrating platform: fewer than 23 characters, at least two letters (sheet meta, 2.1)."""
    data_processing_options: Annotated[list[Literal["LDU"]], Field(max_length=1)] | None = None
    """`[]` turns Limited Data Use off explicitly, `["LDU"]` on; left out, nothing is sent."""
    data_processing_options_country: Literal[0, 1] = 0
    data_processing_options_state: int = 0


class MetaEvent(ConfigModel):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


MetaTarget = Target[MetaCredentials, MetaOptions]


class Meta(Adapter[MetaCredentials, MetaOptions]):
    """Facebook and Instagram ads."""

    name = "meta"
    click_id_types = ("fbclid",)
    api_bases: ClassVar[Mapping[str, str]] = {"META_API_BASE": "https://graph.facebook.com"}
    max_batch = 1_000
    credentials_model = MetaCredentials
    options_model = MetaOptions
    mapping_model = MetaEvent
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "install": {"name": "AppInstall"},
        "registration": {"name": "CompleteRegistration"},
        "login": {"name": "Login"},
        "tutorial_complete": {"name": "TutorialComplete"},
        "level_up": {"name": "LevelAchieved"},
        "achievement": {"name": "UnlockAchievement"},
        "purchase": {"name": "Purchase"},
        "subscribe": {"name": "Subscribe"},
        "start_trial": {"name": "StartTrial"},
        "ad_view": {"name": "AdImpression"},
        "spend_credits": {"name": "SpendCredits"},
    }

    def validate(
        self, credentials: MetaCredentials, options: MetaOptions, events: Mapping[str, Mapping[str, Any]]
    ) -> None:
        refuse_miscased(events, STANDARD_EVENTS, "Meta")
        _validate_limited_data_use(options)

    def wildcard(self, event_name: str) -> Mapping[str, Any] | None:
        """The game's own name; `None` where Meta would find it too long."""
        return {"name": event_name} if len(event_name) <= MAX_NAME else None

    def timing(self, target: MetaTarget) -> Timing:
        """Up to 7 days after the event, 62 for `physical_store` (sheet meta, 5), less the time in flight.

        At once: a time in the future is sent as now, but never before the click that `fbc` dates.
        """
        days = 62 if target.options.action_source == "physical_store" else 7
        return Timing(age=timedelta(days=days) - IN_FLIGHT, wait_from_click=True)

    def build(self, target: MetaTarget, conversions: Sequence[Conversion], now: datetime, token: str | None) -> Built:
        parts: list[Part] = []
        unsendable: list[Unsendable] = []
        oldest = now - self.timing(target).age
        for position, conversion in enumerate(conversions):
            event = _event(target.options, conversion, now, oldest)
            if isinstance(event, Verdict):
                unsendable.append(Unsendable(position, event))
            else:
                parts.append((position, orjson.dumps(event)))
        options = target.options
        envelope = _present({"test_event_code": options.test_event_code, "partner_agent": options.partner_agent})
        prepared = prepare(
            parts, max_parts=self.max_batch, envelope=envelope, request=lambda body: _request(target, body)
        )
        return Built(prepared, unsendable)

    def read(self, target: MetaTarget, prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
        count = len(prepared.positions)
        return same_for_all(read_answer(answer, now, count, _secrets(target)), count)

    def check_request(self, target: MetaTarget, now: datetime, token: str | None) -> Request:
        """An event without content: a good token is told what is missing, and nothing is stored (sheet meta, 9).

        Reading the dataset instead would raise false alarms, because tokens of the Events Manager may only write.
        """
        return _request(target, b'{"data":[{}]}')

    def read_check(self, target: MetaTarget, answer: Answer) -> CheckResult:
        secrets = _secrets(target)
        verdict = read_answer(answer, EPOCH, 1, secrets)
        if verdict.code.startswith("100/2804") or verdict.kind is Kind.DELIVERED:
            warning = version_warning(answer, secrets)
            return CheckResult(ok=True, message=" ".join(filter(None, ("Meta accepts the token.", warning))))
        if verdict.kind is Kind.REFUSED:
            return CheckResult(ok=False, code=verdict.code, message=verdict.message, remedy=PROBE_REFUSED)
        return failed_check(verdict)


def _event(options: MetaOptions, conversion: Conversion, now: datetime, oldest: datetime) -> dict[str, Any] | Verdict:
    """One entry of `data`, or why there is none.

    No entry is empty: Meta counts a null as absent and then misses an identifier (sheet meta, 12.4).
    """
    click = conversion.click
    if refused(conversion):
        return REFUSED_BY_PLAYER
    if conversion.occurred_at < oldest:
        return TOO_OLD
    fbc = click_fbc(click, now)
    if fbc is None:
        return INVALID_CLICK_ID
    name = str(conversion.mapping["name"])
    if name == "Purchase" and (conversion.value is None or conversion.currency is None):
        return VALUE_MISSING
    user_data = {"fbc": fbc}
    if user_agent := shared_user_agent(conversion, options.share):
        user_data["client_user_agent"] = user_agent
    if ip := shared_ip(conversion, options.share):
        user_data["client_ip_address"] = ip
    elif _located_by_meta(options):
        return NO_IP_FOR_LDU
    event: dict[str, Any] = {
        "event_name": name,
        "event_time": int(min(conversion.occurred_at, now).timestamp()),
        "event_id": conversion.key,
        **_source(options, click, user_agent),
        "user_data": user_data,
    }
    if custom_data := _custom_data(conversion):
        event["custom_data"] = custom_data
    if conversion.consent.ad_personalization is False:
        # For attribution only, not for optimising delivery (sheet meta, 10).
        event["opt_out"] = True
    if options.data_processing_options is not None:
        event |= _limited_data_use(options)
    return event


def _source(options: MetaOptions, click: Click, user_agent: str | None) -> dict[str, str]:
    if options.action_source != "website":
        return {"action_source": options.action_source}
    page = landing_page(click.url) or options.event_source_url
    if page is None or user_agent is None:
        # Meta documents both as required for website events (sheet meta, 2.4); its other sources need neither.
        return {"action_source": "system_generated"}
    return {"action_source": "website", "event_source_url": page}


def click_fbc(click: Click, now: datetime) -> str | None:
    """The `fbc` of a click, or `None` where none can be made that Meta would take (sheet meta, 3 and rule 14).

    Dated with the moment in which the click was first seen, so that all events of a player carry the same one. A
    value that already is an `fbc` stays as it is: wrapping it again makes Meta refuse the whole request. `now` counts
    only where the click lies in its future, which `not_before` leaves to previews.
    """
    if click.value.startswith("fb."):
        return click.value if _FBC.fullmatch(click.value) else None
    seen_at = milliseconds(min(click.clicked_at, now))
    # A dot would turn the rest of the click ID into a fifth part.
    possible = _FBCLID.fullmatch(click.value) and 10 <= len(str(seen_at)) <= 13
    return f"fb.1.{seen_at}.{click.value}" if possible else None


def _request(target: MetaTarget, body: bytes) -> Request:
    credentials = target.credentials
    url = f"{target.bases['META_API_BASE']}/{target.options.api_version}/{credentials.dataset_id}/events"
    if credentials.app_secret:
        proof = hmac.new(credentials.app_secret.encode(), credentials.access_token.encode(), hashlib.sha256)
        url += f"?appsecret_proof={proof.hexdigest()}"
    # Meta takes the token as a query parameter too; a header stays out of access logs and proxies (sheet meta, 1).
    headers = {"Authorization": f"Bearer {credentials.access_token}", "Content-Type": "application/json"}
    return Request("POST", url, headers, body)


def _secrets(target: MetaTarget) -> tuple[str | None, ...]:
    return target.credentials.access_token, target.credentials.app_secret


def _custom_data(conversion: Conversion) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if conversion.value is not None and conversion.currency is not None:
        data = {"value": json_number(conversion.value, conversion.currency), "currency": conversion.currency}
    level = reached_level(conversion)
    return data if level is None else data | {"level": level}


def _validate_limited_data_use(options: MetaOptions) -> None:
    country, state = options.data_processing_options_country, options.data_processing_options_state
    if state not in LDU_STATES:
        raise ValueError("options.data_processing_options_state: must be 0 or a state code from 1000 to 1013")
    if bool(country) != bool(state):
        raise ValueError(
            "options.data_processing_options_country: 0 needs state 0 (Meta locates the player), 1 a state code"
        )
    if _located_by_meta(options) and "ip" not in options.share:
        raise ValueError(
            "options.data_processing_options: with country and state 0 Meta locates the player by the address; "
            "add 'ip' to `share`, or set country 1 and a state"
        )


def _located_by_meta(options: MetaOptions) -> bool:
    return bool(options.data_processing_options) and options.data_processing_options_country == 0


def _limited_data_use(options: MetaOptions) -> dict[str, Any]:
    if not options.data_processing_options:
        return {"data_processing_options": []}
    return {
        "data_processing_options": ["LDU"],
        "data_processing_options_country": options.data_processing_options_country,
        "data_processing_options_state": options.data_processing_options_state,
    }


def _present(fields: Mapping[str, str | None]) -> dict[str, str]:
    """Without empty entries."""
    return {key: value for key, value in fields.items() if value}
