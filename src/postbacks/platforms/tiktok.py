"""TikTok Events API 2.0 (path version v1.3), web events: click IDs as `user.ttclid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import Field

from postbacks.domain.model import Conversion, Kind, Verdict
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
from postbacks.platforms.tiktok_answers import read_answer

_CURRENCIES: Final = """
AED ARS AUD BDT BHD BIF BOB BRL CAD CHF CLP CNY COP CRC CZK DKK DZD EGP EUR GBP GTQ HKD HNL HUF IDR ILS INR ISK JPY
KES KHR KRW KWD KZT MAD MOP MXN MYR NGN NIO NOK NZD OMR PEN PHP PKR PLN PYG QAR RON RUB SAR SEK SGD THB TRY TWD UAH
USD VES VND ZAR
"""
CURRENCIES: Final = frozenset(_CURRENCIES.split())
"""The closed list of 62 (sheet tiktok, 2.4)."""

STANDARD_EVENTS: Final = frozenset(
    {
        *("AddPaymentInfo", "AddToCart", "AddToWishlist", "ApplicationApproval", "CompleteRegistration", "Contact"),
        *("CustomizeProduct", "Download", "FindLocation", "InitiateCheckout", "Lead", "Purchase", "Schedule"),
        *("Search", "StartTrial", "SubmitApplication", "Subscribe", "ViewContent"),
    }
)
"""TikTok's web events (sheet tiktok, 4); every other name is a custom event, good for reports and audiences only."""

PAID_EVENTS: Final = frozenset({"Purchase", "CompletePayment", "PlaceAnOrder"})
"""Events about money, old names included (sheet tiktok, 4): not sent where their amount would have to be dropped."""

IN_FLIGHT: Final = timedelta(minutes=2)
"""Kept from the age limit, so that an event is not refused for its age on arrival."""

TOO_OLD: Final = Verdict(
    Kind.EXPIRED,
    code="too_old",
    message="The event is older than the option max_age_days allows.",
    remedy="Nothing can be done for this one; look why it was sent late.",
)
UNSUPPORTED_CURRENCY: Final = Verdict(
    Kind.SKIPPED,
    code="unsupported_currency",
    message="TikTok takes 62 currencies, and this one is not among them.",
    remedy="Report purchases in one of TikTok's currencies, for example converted to USD.",
)
NO_PAGE_URL: Final = Verdict(
    Kind.SKIPPED,
    code="no_page_url",
    message="TikTok documents page.url as required, and the click was registered without a landing page.",
    remedy="Set the option event_source_url to the address of your landing page, then replay; or set "
    "require_page_url to false to send without.",
)
NO_IP_FOR_LDU: Final = Verdict(
    Kind.SKIPPED,
    code="no_ip_for_limited_data_use",
    message="Limited data use needs the player's address to find the state, and there is none to share.",
    remedy="Addresses are shared only with `ip` in the option share and an explicit consent to postbacks.",
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TikTokCredentials(ConfigModel):
    pixel_code: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    """Of a web data source; 20 capital letters and digits in practice."""
    access_token: Annotated[str, Field(pattern=r"^[!-~]+$")]


class TikTokOptions(ConfigModel):
    event_source_url: PageUrl | None = None
    """Landing page for clicks that were registered without a URL."""
    test_event_code: Annotated[str, Field(pattern=r"^[!-~]+$")] | None = None
    share: list[Share] = Field(default_factory=list)
    require_page_url: bool = True
    """Events without any page are skipped; whether TikTok's server enforces its own rule is not known."""
    limited_data_use: bool | None = None
    """Left out: the field is not sent."""
    max_age_days: Annotated[int, Field(ge=1, le=28)] = 7
    """TikTok publishes no limit; 28 days is the longest window in which a click counts (sheet tiktok, 5)."""


class TikTokEvent(ConfigModel):
    name: Annotated[str, Field(min_length=1)]


TikTokTarget = Target[TikTokCredentials, TikTokOptions]


class TikTok(Adapter[TikTokCredentials, TikTokOptions]):
    """TikTok ads, as web events: `ttclid` is honoured for these alone (sheet tiktok, 0)."""

    name = "tiktok"
    click_id_types = ("ttclid",)
    api_bases: ClassVar[Mapping[str, str]] = {"TIKTOK_API_BASE": "https://business-api.tiktok.com"}
    max_batch = 1_000
    credentials_model = TikTokCredentials
    options_model = TikTokOptions
    mapping_model = TikTokEvent
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "install": {"name": "Download"},
        "registration": {"name": "CompleteRegistration"},
        "login": {"name": "Login"},
        "tutorial_complete": {"name": "CompleteTutorial"},
        "level_up": {"name": "AchieveLevel"},
        "achievement": {"name": "UnlockAchievement"},
        "purchase": {"name": "Purchase"},
        "subscribe": {"name": "Subscribe"},
        "start_trial": {"name": "StartTrial"},
        "ad_view": {"name": "InAppADImpr"},
        "spend_credits": {"name": "SpendCredits"},
    }

    def validate(
        self, credentials: TikTokCredentials, options: TikTokOptions, events: Mapping[str, Mapping[str, Any]]
    ) -> None:
        refuse_miscased(events, STANDARD_EVENTS, "TikTok")
        if options.limited_data_use and "ip" not in options.share:
            raise ValueError(
                "options.limited_data_use: TikTok finds the player's state by the address; add 'ip' to `share`"
            )

    def timing(self, target: TikTokTarget) -> Timing:
        """Up to `max_age_days` after the event, less the time in flight (sheet tiktok, 5).

        At once: a time in the future is sent as now.
        """
        return Timing(age=timedelta(days=target.options.max_age_days) - IN_FLIGHT, wait_from_click=True)

    def build(self, target: TikTokTarget, conversions: Sequence[Conversion], now: datetime, token: str | None) -> Built:
        parts: list[Part] = []
        unsendable: list[Unsendable] = []
        oldest = now - self.timing(target).age
        for position, conversion in enumerate(conversions):
            event = _event(target.options, conversion, now, oldest)
            if isinstance(event, Verdict):
                unsendable.append(Unsendable(position, event))
            else:
                parts.append((position, orjson.dumps(event)))
        test_event_code = target.options.test_event_code
        envelope = {"event_source": "web", "event_source_id": target.credentials.pixel_code}
        if test_event_code is not None:
            envelope["test_event_code"] = test_event_code
        prepared = prepare(
            parts,
            # Test events go alone (sheet tiktok, 9).
            max_parts=self.max_batch if test_event_code is None else 1,
            envelope=envelope,
            request=lambda body: _request(target, body),
        )
        return Built(prepared, unsendable)

    def read(self, target: TikTokTarget, prepared: Prepared, answer: Answer, now: datetime) -> Sequence[Verdict]:
        count = len(prepared.positions)
        return same_for_all(read_answer(answer, now, count, (target.credentials.access_token,)), count)

    def check_request(self, target: TikTokTarget, now: datetime, token: str | None) -> Request:
        """A batch of no events: there is nothing in it to count, and its `code` still tells a bad token or pixel.

        An event with a test code would show up in reports (sheet tiktok, 9), and an event without content would
        fail on its fields before TikTok looks at the pixel.
        """
        envelope = {"event_source": "web", "event_source_id": target.credentials.pixel_code, "data": []}
        return _request(target, orjson.dumps(envelope))

    def read_check(self, target: TikTokTarget, answer: Answer) -> CheckResult:
        """Only a refusal that complains of the missing events says that token and pixel were accepted before."""
        verdict = read_answer(answer, _EPOCH, 1, (target.credentials.access_token,))
        if verdict.kind is Kind.DELIVERED:
            return CheckResult(ok=True, message="TikTok accepts the token for this pixel.")
        if verdict.kind is Kind.REFUSED and verdict.code in ("40000", "40002", "40061"):
            said = f"TikTok accepts the token; it only misses events in the empty batch: {verdict.message}"
            return CheckResult(ok=True, message=said)
        return failed_check(verdict)


def _event(options: TikTokOptions, conversion: Conversion, now: datetime, oldest: datetime) -> dict[str, Any] | Verdict:
    """One entry of `data`, or why there is none. No key stands there empty."""
    click = conversion.click
    if refused(conversion):
        return REFUSED_BY_PLAYER
    if conversion.occurred_at < oldest:
        return TOO_OLD
    name = str(conversion.mapping["name"])
    if name in PAID_EVENTS and conversion.currency is not None and conversion.currency not in CURRENCIES:
        return UNSUPPORTED_CURRENCY
    page = landing_page(click.url) or options.event_source_url
    if page is None and options.require_page_url:
        return NO_PAGE_URL
    user = {"ttclid": click.value}
    if ip := shared_ip(conversion, options.share):
        user["ip"] = ip
    elif options.limited_data_use:
        return NO_IP_FOR_LDU
    if user_agent := shared_user_agent(conversion, options.share):
        user["user_agent"] = user_agent
    event: dict[str, Any] = {
        "event": name,
        "event_time": int(min(conversion.occurred_at, now).timestamp()),
        "event_id": conversion.key,
        "user": user,
    }
    if page is not None:
        event["page"] = {"url": page}
    if properties := _properties(conversion):
        event["properties"] = properties
    if options.limited_data_use is not None:
        event["limited_data_use"] = options.limited_data_use
    return event


def _properties(conversion: Conversion) -> dict[str, Any]:
    """Amounts in other currencies are left out: the event counts without them (sheet tiktok, 2.4)."""
    properties: dict[str, Any] = {}
    if conversion.value is not None and conversion.currency in CURRENCIES:
        properties["value"] = json_number(conversion.value, conversion.currency)
        properties["currency"] = conversion.currency
    level = reached_level(conversion)
    if level is not None:
        properties["description"] = f"level {level}"
    return properties


def _request(target: TikTokTarget, body: bytes) -> Request:
    headers = {"Access-Token": target.credentials.access_token, "Content-Type": "application/json"}
    return Request("POST", f"{target.bases['TIKTOK_API_BASE']}/open_api/v1.3/event/track/", headers, body)
