"""`fbc` as Meta's own library writes and reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from capi_param_builder import ParamBuilder
from hypothesis import given
from hypothesis import strategies as st

from postbacks.platforms.meta import click_fbc
from tests.platforms.conversions import CLICKED_AT, NOW, click

FBCLIDS = st.from_regex(r"[A-Za-z0-9_-]{1,2000}", fullmatch=True)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.integers(min_value=1_600_000_000_000, max_value=2_200_000_000_000).map(
    lambda milliseconds: EPOCH + timedelta(milliseconds=milliseconds)
)


def minted_by_meta(fbclid: str, at: datetime) -> str:
    """What the library's server side writes when a visitor arrives on `game.example` with this click ID."""
    builder = ParamBuilder()
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    # The library rounds a float of seconds down; half a millisecond keeps that from landing on the one before.
    with patch("time.time", return_value=(milliseconds + 0.5) / 1000):
        builder.process_request("game.example", {"fbclid": [fbclid]}, {})
    minted: str | None = builder.get_fbc()
    assert minted is not None
    return minted


def read_by_meta(fbc: str) -> str | None:
    """The cookie as the library hands it on, or `None` where it discards it."""
    builder = ParamBuilder()
    builder.process_request("game.example", {}, {"_fbc": fbc})
    cookie: str | None = builder.get_fbc()
    return cookie


@given(FBCLIDS, TIMES)
def test_mints_what_the_library_mints_but_for_its_version_mark(fbclid: str, at: datetime) -> None:
    ours = click_fbc(click(value=fbclid, clicked_at=at), at)

    assert ours == minted_by_meta(fbclid, at).rpartition(".")[0]


@given(FBCLIDS, TIMES)
def test_passes_the_library_s_value_on_untouched(fbclid: str, at: datetime) -> None:
    theirs = minted_by_meta(fbclid, at)

    assert click_fbc(click(value=theirs), NOW) == theirs


@given(FBCLIDS)
def test_the_library_reads_our_value_as_a_valid_cookie(fbclid: str) -> None:
    ours = click_fbc(click(value=fbclid), NOW)

    assert ours is not None
    assert str(read_by_meta(ours)).startswith(f"{ours}.")


@pytest.mark.parametrize(
    "value",
    [
        "fb.1.1795420000123",
        "fb.1.1795420000123.abc.X",
        "fb.1.1795420000123.abc.toolongmark",
        "fb.1.1795420000123.fb.1.1795420000123.abc",
    ],
)
def test_takes_nothing_that_the_library_discards(value: str) -> None:
    assert read_by_meta(value) is None
    assert click_fbc(click(value=value), NOW) is None


@pytest.mark.parametrize("mark", ["AQ", "Bg", "XX", "a-", "AQIAAQMC", "________"])
def test_passes_a_mark_of_2_or_8_characters_on_whether_or_not_this_library_knows_it(mark: str) -> None:
    """Sheet meta, rule 14: Graph looks at the shape; a newer library has marks that this one discards."""
    theirs = f"fb.1.1795420000123.abc.{mark}"

    assert click_fbc(click(value=theirs), NOW) == theirs


@pytest.mark.parametrize(
    ("clicked_at", "milliseconds"),
    [
        (CLICKED_AT, 1795419000000),
        (CLICKED_AT + timedelta(microseconds=1999), 1795419000001),
        (NOW + timedelta(minutes=1), 1795426200000),
    ],
)
def test_the_click_s_moment_counts_and_lies_never_ahead(clicked_at: datetime, milliseconds: int) -> None:
    assert click_fbc(click(value="abc", clicked_at=clicked_at), NOW) == f"fb.1.{milliseconds}.abc"
