"""Passwords that everybody knows are refused; long and odd ones are not."""

from __future__ import annotations

import pytest

from portal.accounts.rules import check_email, check_password
from portal.errors import Invalid

EVERYBODYS = (
    "123456789012", "passwordpassword", "Password12345", "qwertyuiopas", "abcdefghijkl", "1q2w3e4r5t6y",
    "!!Sunshine2024!!",
    "PRINCESS 12345678", "aaaaaaaaaaab", "lkjhgfdsapoiuytrewq", "12121212121212", "football!!!!",
)  # fmt: skip


@pytest.mark.parametrize("password", EVERYBODYS)
def test_a_password_that_everybody_tries_is_refused(password: str) -> None:
    with pytest.raises(Invalid, match="easy to guess"):
        check_password(password)


@pytest.mark.parametrize(
    "password",
    ["four unrelated words", "monsoon mango bus", "पानी पत्थर पेड़ बादल", "x9#kPq2!vLm0",
     "  blanks  at  the  ends ", "w" + "örd" * 40],
)  # fmt: skip
def test_length_is_enough_and_any_script_or_sign_is_fine(password: str) -> None:
    assert check_password(password) == password


@pytest.mark.parametrize("password", ["elevenchars", "x9#k" * 33])
def test_too_short_and_beyond_reason_are_told_with_the_bounds(password: str) -> None:
    with pytest.raises(Invalid, match="12 to 128"):
        check_password(password)


@pytest.mark.parametrize("email", ["аsha@example.com", "asha@ехample.com", "asha.kulkаrni@example.com"])
def test_an_address_that_looks_like_another_is_refused(email: str) -> None:
    with pytest.raises(Invalid):
        check_email(email)


@pytest.mark.parametrize("email", ["आशा@example.com", "asha@उदाहरण.भारत", "jürgen@example.com", "asha+1@example.com"])
def test_an_address_in_ones_own_script_is_taken(email: str) -> None:
    assert check_email(email)
