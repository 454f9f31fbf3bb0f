"""Promise 7: half up, in one module, decimals all the way."""

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal import money


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("value", "rounded"),
    [("0.005", "0.01"), ("0.0049999", "0.00"), ("-0.005", "-0.01"), ("2.675", "2.68"), ("1E+3", "1000.00")],
)
def test_a_half_paisa_goes_up(value, rounded):
    assert str(money.round_paisa(D(value))) == rounded


@pytest.mark.parametrize(
    ("amount", "payable"), [("164.99", "160.00"), ("165.00", "170.00"), ("162.40", "160.00"), ("0.00", "0.00")]
)
def test_payable_goes_to_the_nearest_step(amount, payable):
    assert money.round_to(D(amount), D(10)) == D(payable)


@pytest.mark.parametrize(
    ("kwh", "text"),
    [("0.25", "0.250"), ("0.012345", "0.012345"), ("1E+2", "100.000"), ("0.1234565", "0.123457"), ("0", "0.000")],
)
def test_energy_in_json_has_three_to_six_decimals(kwh, text):
    assert money.kwh_str(D(kwh)) == text


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=6))
def test_json_loses_nothing_that_is_stored(value):
    assert D(money.kwh_str(value)) == value


@pytest.mark.parametrize("text", ["1", "-0.5", "+2.", ".25", "1e3", "1E-6"])
def test_numbers_that_programs_write(text):
    assert money.read_decimal(text) == D(text)


@pytest.mark.parametrize("text", ["", "1_5", " 1", "١٢", "1,5", "NaN", "Infinity", "0x1", "1e", "1e9999999", "--1"])
def test_what_is_no_number_is_not_read_as_one(text):
    with pytest.raises(ValueError, match="decimal"):
        money.read_decimal(text)
