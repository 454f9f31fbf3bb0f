"""Stock from a file: what is wrong stands beside its row, and nothing is written until nothing is."""

from __future__ import annotations

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import FileField

from portal.db import session
from portal.errors import PortalError
from portal.gates import ADMIN, gate
from portal.meters import rules, stock_rows, stocking
from portal.meters.stock_rows import Checked
from portal.web import formats
from portal.web.admin import admin
from portal.web.forms import put_errors
from portal.web.session import actor, now, pool


class StockFileForm(FlaskForm):
    """A CSV file of stock."""

    file = FileField(_l("File"))


@admin.get("/meters/file")
@gate(ADMIN)
def stock_file() -> AnyResponse:
    """The form, and what such a file looks like."""
    return _page(StockFileForm())


@admin.post("/meters/file")
@gate(ADMIN)
def stock_file_post() -> AnyResponse:
    """Stock every row, or none."""
    form = StockFileForm()
    upload = request.files.get("file")
    content = upload.read() if upload else b""
    if not content:
        form.file.errors = [_("Choose a file that is not empty.")]
        return _page(form, status=422)
    try:
        done = stocking.stock_file(content, pool(), actor=actor(), now=now())
        session.commit()
    except stocking.RowsRefused as refused:
        session.rollback()
        return _page(form, checked=refused.checked, name=upload.filename if upload else None, status=422)
    except PortalError as error:
        session.rollback()
        return _page(form, put_errors(form, error), status=422)
    flash(
        _("The file is stocked: %(new)s new meters, %(changed)s changed, %(unchanged)s as they were.",
          new=formats.number(done.new), changed=formats.number(done.changed), unchanged=formats.number(done.unchanged)),
        "good",
    )  # fmt: skip
    return redirect(url_for("admin.stock_file"), 303)


def _page(
    form: StockFileForm,
    refusal: str | None = None,
    *,
    checked: Checked | None = None,
    name: str | None = None,
    status: int = 200,
) -> Response:
    free = pool()
    page = render_template(
        "admin/stock_file.html",
        form=form,
        refusal=refusal,
        checked=checked,
        name=(name or "")[:80],
        columns=stock_rows.COLUMNS,
        most_rows=stock_rows.MOST_ROWS,
        first=rules.meter_id(free.first),
        last=rules.meter_id(free.last),
    )
    return make_response(page, status)
