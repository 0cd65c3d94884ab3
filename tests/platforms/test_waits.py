"""How long an answer may make us wait, whatever it writes into its headers."""

from __future__ import annotations

import pytest

from postbacks.platforms.answer_table import reset_wait
from postbacks.platforms.base import Response
from postbacks.platforms.reading import LONGEST_WAIT, retry_after
from tests.platforms.conversions import NOW


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 1.5 ", 1.5),
        ("0", 0),
        ("Mon, 23 Nov 2026 09:30:40 GMT", 40),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        ("999999999999", LONGEST_WAIT),
        ("9" * 5_000, LONGEST_WAIT),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_never_more_than_a_day(header: str, seconds: float | None) -> None:
    assert retry_after(Response(503, {"retry-after": header}), NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (str(int(NOW.timestamp()) + 30), 30),
        (str(int(NOW.timestamp()) - 30), 0),
        ("12.5", 12.5),
        ("999999999999", LONGEST_WAIT),
        ("999999999", LONGEST_WAIT),
        ("9" * 13, None),
        ("inf", None),
    ],
)
def test_a_reset_is_never_more_than_a_day_away(value: str, seconds: float | None) -> None:
    assert reset_wait({"x-reset": value}, ("x-other", "x-reset"), NOW) == seconds
