"""The only rounding of money and energy. Half up, as Indian electricity bills print it.

Everything here takes and gives `Decimal`; amounts are INR, energy is kWh.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

_PAISA = Decimal("0.01")
_WATT_HOUR = Decimal("0.001")
_MILLIWATT_HOUR = Decimal("0.000001")
_ONE = Decimal(1)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")


def round_places(value: Decimal, places: int) -> Decimal:
    """`value` with `places` decimals, half away from zero (ROUND_HALF_UP): 0.125 → 0.13, −0.125 → −0.13."""
    return value.quantize(_ONE.scaleb(-places), rounding=ROUND_HALF_UP)


def round_paisa(amount: Decimal) -> Decimal:
    """An amount in INR with two decimals."""
    return amount.quantize(_PAISA, rounding=ROUND_HALF_UP)


def round_whole(value: Decimal) -> Decimal:
    """The nearest whole number, half up."""
    return value.quantize(_ONE, rounding=ROUND_HALF_UP)


def round_to(amount: Decimal, step: Decimal) -> Decimal:
    """The nearest multiple of `step` (MSEDCL pays in steps of 10 rupees), with two decimals."""
    return round_paisa(round_whole(amount / step) * step)


def round_wh(kwh: Decimal) -> Decimal:
    """Energy in kWh to the Wh: three decimals."""
    return kwh.quantize(_WATT_HOUR, rounding=ROUND_HALF_UP)


def round_energy(kwh: Decimal) -> Decimal:
    """Energy in kWh as a reading stores it: six decimals."""
    return kwh.quantize(_MILLIWATT_HOUR, rounding=ROUND_HALF_UP)


def read_decimal(text: str) -> Decimal:
    """The number that a program or file wrote: ASCII digits, sign, point, exponent. Raises ValueError for all else.

    `Decimal` alone also takes "1_5", blanks and the digits of other scripts: none of them is meant as a quantity.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal number")
    return Decimal(text)


def money_str(amount: Decimal) -> str:
    """An amount for JSON: always two decimals, never an exponent ("1234.50")."""
    return format(round_paisa(amount), "f")


def kwh_str(kwh: Decimal) -> str:
    """Energy for JSON: three decimals at least, up to six where they say something ("0.250", "0.012345")."""
    whole, _, fraction = format(round_energy(kwh), "f").partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(3, '0')}"
