"""The form that begins a billing run."""

from __future__ import annotations

import re

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import SelectField

from portal.errors import Invalid


class RunForm(FlaskForm):
    """A month that is over, and one region or all."""

    month = SelectField(_l("Month"), validate_choice=False)
    region = SelectField(_l("Region"), validate_choice=False)

    def chosen_month(self) -> tuple[int, int]:
        """(year, month). Raises Invalid for anything but a month."""
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", self.month.data or ""):
            raise Invalid.field("month", "Choose a month.")
        year, month = (self.month.data or "").split("-")
        return int(year), int(month)
