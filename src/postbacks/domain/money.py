"""Currencies (ISO 4217) and how an amount is written."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD
HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED
VES WST XCD XCG YER ZAR ZMW ZWG ZWL
"""
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"

MINOR_UNITS: dict[str, int] = {
    code: digits for digits, codes in ((2, _TWO), (0, _ZERO), (3, _THREE), (4, _FOUR)) for code in codes.split()
}
"""Every active ISO 4217 currency → digits after the decimal point."""


def is_currency(code: str) -> bool:
    """Whether `code` is an ISO 4217 code, in upper case."""
    return code in MINOR_UNITS


def rounded(value: Decimal, currency: str) -> Decimal:
    """The amount in the currency's own precision: 499 JPY, 4.99 EUR, 4.990 KWD."""
    digits = MINOR_UNITS.get(currency, 2)
    return value.quantize(_UNITS[digits], rounding=ROUND_HALF_EVEN)


_UNITS = [Decimal(1).scaleb(-digits) for digits in range(5)]


# Prices repeat.
@lru_cache(maxsize=4_096)
def json_number(value: Decimal, currency: str) -> float | int:
    """The amount as a JSON number, rounded to the currency's precision; whole where the currency has no decimals."""
    amount = rounded(value, currency)
    return int(amount) if MINOR_UNITS.get(currency, 2) == 0 else float(amount)


@lru_cache(maxsize=4_096)
def decimal_text(value: Decimal, currency: str, *, least_digits: int = 0) -> str:
    """The amount as plain text (never `1E+3`), with at least `least_digits` after the point."""
    digits = max(MINOR_UNITS.get(currency, 2), least_digits)
    return f"{rounded(value, currency):.{digits}f}"
