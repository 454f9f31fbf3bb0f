"""The audit trail as people read it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from flask_babel import gettext as _

from portal.accounts import queries as accounts
from portal.audit import AuditEntry, AuditFilter
from portal.web import formats
from portal.web.forms import AuditForm
from portal.web.session import zone


@dataclass(frozen=True, slots=True)
class Row:
    """One act: when, who and from where, what, to whom, and what it changed."""

    when: str
    who: str
    where: str
    what: str
    subject: str
    user_id: str | None
    facts: list[tuple[str, str]]


def search_form(args: Mapping[str, str]) -> AuditForm:
    """The search of this address."""
    return AuditForm(data={"q": args.get("q", "").strip()[:100], "start": args.get("start"), "end": args.get("end")})


def chosen(form: AuditForm) -> AuditFilter:
    """What the form asks for; a day that cannot be read is passed over. Days are those of the reader's region."""
    end = _day(form.end.data)
    return AuditFilter(
        words=form.q.data or "",
        start=_start(_day(form.start.data)),
        end=_start(end + timedelta(days=1) if end else None),
    )


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def _start(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), zone()) if day else None


def rows(entries: list[AuditEntry]) -> list[Row]:
    """The acts as the page shows them; people are named by their addresses, read at once."""
    emails = {str(key): email for key, email in accounts.emails_of(_people(entries)).items()}
    return [
        Row(
            when=f"{formats.day(each.at.astimezone(zone()).date())}, {formats.clock(each.at, zone())}",
            who=each.actor_label,
            where=each.address or "",
            what=each.action,
            subject=emails.get(each.subject_id) or f"{each.subject_type} {each.subject_id}",
            user_id=each.subject_id if each.subject_id in emails else None,
            facts=facts(each.details),
        )
        for each in entries
    ]


def _people(entries: list[AuditEntry]) -> set[uuid.UUID]:
    return {uuid.UUID(each.subject_id) for each in entries if each.subject_type == "user"}


def facts(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The details in lines; `before` and `after` of the same thing in one."""
    before, after = details.get("before"), details.get("after")
    found = [(name, _text(value)) for name, value in details.items() if name not in ("before", "after")]
    if isinstance(before, dict) or isinstance(after, dict):
        first, last = before or {}, after or {}
        found += [(name, f"{_text(first.get(name))} → {_text(last.get(name))}") for name in {**first, **last}]
    elif "before" in details or "after" in details:
        found.append((_("changed"), f"{_text(before)} → {_text(after)}"))
    return found


def _text(value: Any) -> str:
    return _("nothing") if value in (None, "") else str(value)[:300]
