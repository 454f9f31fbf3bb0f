"""What a name, an address, a number and a password must look like."""

from __future__ import annotations

import re
import unicodedata

from email_validator import EmailNotValidError, validate_email

from portal.accounts.common import is_common
from portal.errors import FieldError, Invalid

NAME_LENGTH = (2, 100)
PASSWORD_LENGTH = (12, 128)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_name(name: str) -> str:
    """The name without outer blanks, 2 to 100 characters. Raises Invalid."""
    clean = name.strip()
    if not NAME_LENGTH[0] <= len(clean) <= NAME_LENGTH[1] or _CONTROL.search(clean):
        raise Invalid.field("name", "Give a name of 2 to 100 characters.")
    return clean


def check_email(email: str) -> str:
    """The address as it should be kept. Raises Invalid. It is not asked whether its server exists."""
    try:
        address = validate_email(email.strip(), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise Invalid.field("email", "Give a complete e-mail address, such as name@example.com.") from None
    for part in re.split(r"[@.]", address):
        if len({_script(character) for character in part if character.isalpha()}) > 1:
            # A Cyrillic а in a Latin word looks like somebody else's address (Unicode TR 39, 5.1).
            raise Invalid.field("email", "The address mixes letters of several scripts; write it in one.")
    return address


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]


def check_phone(phone: str | None) -> str | None:
    """The number in E.164 (+919876543210), or None for none. Raises Invalid."""
    clean = re.sub(r"[ ()-]", "", phone or "")
    if not clean:
        return None
    if not _E164.fullmatch(clean):
        raise Invalid.field("phone", "Give the number with its country code, such as +919876543210.")
    return clean


def check_password(password: str, field: str = "password") -> str:
    """A password of 12 to 128 characters that is not on everybody's list. Raises Invalid.

    Length over rules, as NIST SP 800-63B 3.1.1 asks; blanks and any script are fine.
    """
    if not PASSWORD_LENGTH[0] <= len(password) <= PASSWORD_LENGTH[1]:
        raise Invalid.field(
            field, f"{len(password)} characters; 12 to 128 are needed. Four unrelated words are a good password."
        )
    if is_common(password):
        raise Invalid.field(field, "This password is too easy to guess. Four unrelated words are a good password.")
    return password


def check_suspension_reason(reason: str) -> str:
    """A sentence of 5 to 300 characters; the person reads it. Raises Invalid."""
    clean = " ".join(reason.split())
    if not 5 <= len(clean) <= 300:
        raise Invalid.field("reason", "Give the reason in 5 to 300 characters; the person reads it.")
    return clean


def merge(checks: list[Invalid]) -> Invalid:
    """Several refusals as one, so that a form is corrected in one go."""
    fields: list[FieldError] = [field for check in checks for field in check.fields]
    return Invalid("; ".join(field.message for field in fields), fields=fields)
