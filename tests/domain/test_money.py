from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postbacks.domain.money import MINOR_UNITS, decimal_text, is_currency, json_number, rounded

amounts = st.decimals(0, 10**12, allow_nan=False, allow_infinity=False)
currencies = st.sampled_from(sorted(MINOR_UNITS))


@pytest.mark.parametrize(
    ("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("HUF", 2), ("TND", 3)]
)
def test_a_currency_has_the_decimals_of_iso_4217(currency: str, digits: int) -> None:
    assert MINOR_UNITS[currency] == digits


def test_every_code_has_three_capital_letters() -> None:
    assert all(re.fullmatch("[A-Z]{3}", code) for code in MINOR_UNITS)
    assert len(MINOR_UNITS) > 150


@pytest.mark.parametrize("code", ["", "eur", "EU", "EURO", "XXX", "BTC", " EUR", "EUR\n"])
def test_what_is_no_currency_is_told(code: str) -> None:
    assert not is_currency(code)


@pytest.mark.parametrize(
    ("value", "currency", "number", "text"),
    [
        ("4.99", "EUR", 4.99, "4.99"),
        ("0", "EUR", 0.0, "0.00"),
        ("0", "JPY", 0, "0"),
        ("499", "JPY", 499, "499"),
        ("499.5", "JPY", 500, "500"),
        ("1.2345", "KWD", 1.234, "1.234"),
        ("0.30000000000000004", "USD", 0.3, "0.30"),
        ("1E+12", "USD", 1e12, "1000000000000.00"),
        ("1E+12", "KRW", 10**12, "1000000000000"),
        ("0E-20", "KRW", 0, "0"),
        ("0E+20", "EUR", 0.0, "0.00"),
    ],
)
def test_an_amount_is_written_in_its_currency_s_precision(value: str, currency: str, number: float, text: str) -> None:
    assert json_number(Decimal(value), currency) == number
    assert decimal_text(Decimal(value), currency) == text


def test_a_currency_without_decimals_is_a_whole_json_number() -> None:
    assert isinstance(json_number(Decimal("499"), "JPY"), int)
    assert isinstance(json_number(Decimal("499"), "EUR"), float)


@pytest.mark.parametrize(("half", "even"), [("0.125", "0.12"), ("0.135", "0.14"), ("0.145", "0.14")])
def test_halves_go_to_the_even_neighbour(half: str, even: str) -> None:
    """Otherwise the sum over many purchases would drift upwards."""
    assert decimal_text(Decimal(half), "EUR") == even


@pytest.mark.parametrize(("currency", "text"), [("JPY", "499.00"), ("EUR", "499.00"), ("KWD", "499.000")])
def test_a_platform_may_want_decimals_at_least(currency: str, text: str) -> None:
    assert decimal_text(Decimal(499), currency, least_digits=2) == text


@given(amounts, currencies)
def test_rounding_stays_within_half_a_unit_and_the_precision(value: Decimal, currency: str) -> None:
    digits = MINOR_UNITS[currency]
    amount = rounded(value, currency)

    assert amount.as_tuple().exponent == -digits
    assert abs(amount - value) * 2 <= Decimal(1).scaleb(-digits)
    assert rounded(amount, currency) == amount


@given(amounts, currencies, st.integers(0, 4))
def test_an_amount_is_never_written_with_an_exponent(value: Decimal, currency: str, least: int) -> None:
    text = decimal_text(value, currency, least_digits=least)
    digits = max(MINOR_UNITS[currency], least)

    assert re.fullmatch(r"\d+" + (rf"\.\d{{{digits}}}" if digits else ""), text)
    assert Decimal(text) == rounded(value, currency)


@given(amounts, currencies)
def test_text_and_json_number_say_the_same(value: Decimal, currency: str) -> None:
    assert float(decimal_text(value, currency)) == json_number(value, currency)
