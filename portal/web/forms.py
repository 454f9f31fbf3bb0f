"""The forms. They carry what was typed; the areas decide what is right; refusals are put beside the fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    EmailField,
    FileField,
    Form,
    HiddenField,
    PasswordField,
    SearchField,
    SelectField,
    StringField,
    TelField,
    TextAreaField,
)

from portal.errors import Invalid, PortalError
from portal.money import read_decimal

MOST = 100_000_000


def e164(typed: str | None) -> str | None:
    """A number in E.164: ten digits, with or without a leading 0, are an Indian mobile number."""
    digits = re.sub(r"[\s().-]", "", typed or "")
    if re.fullmatch(r"0?[6-9][0-9]{9}", digits):
        return "+91" + digits[-10:]
    return digits or None


class RegisterForm(FlaskForm):
    """A new account."""

    name = StringField(_l("Full name"))
    email = EmailField(_l("E-mail"))
    phone = TelField(_l("Mobile number"))
    region = SelectField(_l("Region"), validate_choice=False)
    password = PasswordField(_l("Password"))

    def phone_number(self) -> str | None:
        """The number as `e164` makes it of what was typed."""
        return e164(self.phone.data)


class LoginForm(FlaskForm):
    """Who is it."""

    next = HiddenField()
    email = EmailField(_l("E-mail"))
    password = PasswordField(_l("Password"))


class AddressForm(FlaskForm):
    """Where a code goes."""

    email = EmailField(_l("E-mail"))


class CodeForm(FlaskForm):
    """A code of a mail."""

    email = EmailField(_l("E-mail"))
    otp = StringField(_l("Code"))

    def digits(self) -> str:
        """The code without the blanks that people and programs put between its figures."""
        return re.sub(r"[\s-]", "", self.otp.data or "")


class ResetForm(CodeForm):
    """A code of a mail, and a new password."""

    newPassword = PasswordField(_l("New password"))


class FirstPasswordForm(FlaskForm):
    """The first password of an account."""

    password = PasswordField(_l("Password"))


class ChangePasswordForm(FlaskForm):
    """The present password and a new one."""

    currentPassword = PasswordField(_l("Present password"))
    newPassword = PasswordField(_l("New password"))


class ProfileForm(FlaskForm):
    """What a person may change of their account."""

    name = StringField(_l("Full name"))
    phone = TelField(_l("Mobile number"))

    def phone_number(self) -> str:
        """The number as `e164` makes it of what was typed; empty for none."""
        return e164(self.phone.data) or ""


class PasswordForm(FlaskForm):
    """The password, to be sure who it is."""

    next = HiddenField()
    password = PasswordField(_l("Password"))


class RoleForm(FlaskForm):
    """What somebody is to be."""

    role = SelectField(_l("Role"), validate_choice=False)


class SuspendForm(FlaskForm):
    """Why somebody is kept out; they read it."""

    reason = StringField(_l("Reason"))


class HeldForm(FlaskForm):
    """Why a held reading is taken in or discarded."""

    reason = StringField(_l("Reason"))


class AuditForm(Form):
    """Which acts. It changes nothing, so it carries no token and works as a link."""

    q = SearchField(_l("Who, what, whom or address"))
    start = StringField(_l("From"))
    end = StringField(_l("To"))


class AssignForm(FlaskForm):
    """A meter for one customer: a number, or none for the next free one."""

    email = EmailField(_l("Customer's e-mail"))
    meter_id = StringField(_l("Meter"))
    region = SelectField(_l("Region"), validate_choice=False)
    since = DateTimeLocalField(_l("Since when"))
    reason = StringField(_l("Reason"))


class SupplyForm(FlaskForm):
    """What becomes of a customer's supply: the new meter, what the registers show, since when, and why."""

    region = SelectField(_l("New region"), validate_choice=False)
    meter_id = StringField(_l("New meter"))
    closing_register = StringField(_l("Closing register"))
    rolled_over = BooleanField(_l("The register has rolled over since the meter was given"))
    opening_register = StringField(_l("Opening register of the new meter"))
    to = SelectField(_l("What becomes of the old meter"), validate_choice=False)
    at = DateTimeLocalField(_l("Since when"))
    reason = StringField(_l("Reason"))

    def instant(self, zone: ZoneInfo) -> datetime | None:
        """The moment that was typed, in the zone of the customer's region; None for now. Raises Invalid."""
        return typed_instant("at", self.at.raw_data, zone)

    def kwh(self, name: str) -> Decimal | None:
        """What a register shows; None where nothing was typed. Raises Invalid."""
        text = (self[name].data or "").strip().replace(",", "")
        if not text:
            return None
        try:
            return read_decimal(text)
        except ValueError:
            raise Invalid.field(name, gettext("Give the kWh that the register shows, such as 12345.6.")) from None


def typed_instant(name: str, raw: Sequence[Any] | None, zone: ZoneInfo) -> datetime | None:
    """A local moment as a browser sends it (2026-11-14T10:30), in UTC; None for none. Raises Invalid on `name`."""
    text = str(raw[0]).strip() if raw else ""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid.field(name, gettext("Give the day and time, such as 2026-11-14 10:30.")) from None


class MeterForm(FlaskForm):
    """What becomes of a meter that nobody holds."""

    status = SelectField(_l("What to do"), validate_choice=False)
    reason = StringField(_l("Reason"))


class BulkForm(FlaskForm):
    """Meters for all who wait, of one region or of all."""

    region = SelectField(_l("Region"), validate_choice=False)
    limit = StringField(_l("At most"))
    step = HiddenField()

    def chosen_limit(self) -> int | None:
        """How many at most; None for all. Raises Invalid."""
        text = (self.limit.data or "").strip()
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MOST:
            raise Invalid.field("limit", gettext("Give a whole number above 0, or leave it empty for all."))
        return int(text)


class BulkFileForm(FlaskForm):
    """Assignments from a CSV file."""

    file = FileField(_l("CSV file"))


class DisputeForm(FlaskForm):
    """What is wrong with a bill; the chosen lines are read beside it."""

    dispute_reason = TextAreaField(_l("What is wrong?"))


class ConfirmForm(FlaskForm):
    """A button with a token, nothing else."""


class SearchForm(Form):
    """Words to look for, and a region. It changes nothing, so it carries no token and works as a link."""

    q = SearchField(_l("E-mail, name or meter"))
    region = SelectField(_l("Region"), validate_choice=False)


def put_errors(form: FlaskForm, error: PortalError) -> str | None:
    """Put each refused field's message beside it; give the whole message if it belongs to no field of this form."""
    placed = False
    for wrong in error.fields:
        field = form._fields.get(wrong.field)
        if field is not None:
            field.errors = [*field.errors, wrong.message]
            placed = True
    return None if placed else error.message
