"""Conversions and targets for the adapters' tests, and strategies that draw any conversion that ingest accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from postbacks.domain.model import Click, Consent, Conversion
from postbacks.domain.money import MINOR_UNITS
from postbacks.platforms.base import Adapter, Target

NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
"""The `now` that tests hand to adapters."""

CLICKED_AT: Final = NOW - timedelta(hours=2)
OCCURRED_AT: Final = NOW - timedelta(minutes=5)

CLICK: Final = Click(
    id=UUID("0198c9a4-5d00-7000-8000-000000000001"),
    type="fbclid",
    value="IwZXh0bgNhZW0BMABhZGlkAasSYNTH_ETIC-0001",
    clicked_at=CLICKED_AT,
)
"""Nothing but a click ID: no landing page, no user agent, no address, consent unknown."""


def click(**overrides: Any) -> Click:
    """`CLICK` with some fields changed."""
    return replace(CLICK, **overrides)


def conversion(**overrides: Any) -> Conversion:
    """An install with nothing but a click ID, unless overridden.

    Besides the fields of `Conversion`: `click_type`, `click_value`, `clicked_at`, `url`, `user_agent`, `ip` and
    `click_consent` change its click.
    """
    renamed = {"click_type": "type", "click_value": "value", "click_consent": "consent"}
    of_click = ("click_type", "click_value", "clicked_at", "url", "user_agent", "ip", "click_consent")
    changes = {renamed.get(name, name): overrides.pop(name) for name in of_click if name in overrides}
    base = Conversion(
        key="dlv_0198c9a45d0070008000000000000001",
        event_id="install-42",
        event_name="install",
        mapping={"name": "AppInstall"},
        occurred_at=OCCURRED_AT,
        click=replace(overrides.pop("click", CLICK), **changes),
    )
    return replace(base, **overrides)


def target(
    adapter: Adapter[Any, Any], credentials: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> Target[Any, Any]:
    """A destination of the adapter, its settings validated as the service validates them."""
    return Target(
        credentials=adapter.credentials_model.model_validate(credentials),
        options=adapter.options_model.model_validate(options or {}),
        bases=adapter.api_bases,
    )


consents: Final = st.builds(
    Consent,
    attribution=st.none() | st.booleans(),
    postbacks=st.none() | st.booleans(),
    ad_personalization=st.none() | st.booleans(),
)

amounts: Final = st.tuples(
    st.decimals(min_value=0, max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False),
    st.sampled_from(sorted(MINOR_UNITS)),
)


@st.composite
def conversions(draw: st.DrawFn, click_types: tuple[str, ...], mappings: tuple[Mapping[str, Any], ...]) -> Conversion:
    """Any conversion that ingest accepts for a platform with these click IDs and mappings."""
    occurred_at = NOW + timedelta(seconds=draw(st.integers(min_value=-90 * 86_400, max_value=600)))
    value, currency = draw(st.none() | amounts) or (None, None)
    return conversion(
        key=f"dlv_{draw(st.integers(min_value=0, max_value=2**128 - 1)):032x}",
        event_name=draw(st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)),
        mapping=draw(st.sampled_from(mappings)),
        occurred_at=occurred_at,
        value=value,
        currency=currency,
        consent=draw(consents),
        properties=draw(st.dictionaries(st.text(max_size=12), st.none() | st.booleans() | st.text(max_size=12))),
        click_type=draw(st.sampled_from(click_types)),
        click_value=draw(st.from_regex(r"[A-Za-z0-9_-]{1,2000}", fullmatch=True) | st.text(min_size=1, max_size=2_000)),
        clicked_at=occurred_at - timedelta(seconds=draw(st.integers(min_value=0, max_value=30 * 86_400))),
        url=draw(st.none() | st.sampled_from(["https://game.example/lp", "not a url", "https://spiel.example/ä"])),
        user_agent=draw(st.none() | st.text(max_size=40)),
        ip=draw(st.none() | st.sampled_from(["203.0.113.24", "2001:db8::1"])),
        click_consent=draw(consents),
    )
