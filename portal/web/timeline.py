"""The history of a meter or a customer as a timeline: what, then when, reading, by whom and why."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from flask_babel import gettext as _

from portal.meters.history import Event
from portal.web import formats, words


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline. `who` leads to a user's page."""

    what: str
    when: str
    why: str = ""
    who: str = ""
    user_id: uuid.UUID | None = None


def timeline(events: Sequence[Event], zone: ZoneInfo, *, for_staff: bool = True, of_meter: bool = False) -> list[Entry]:
    """The entries of these events. Customers read neither names nor reasons; of a meter, holders are named."""
    return [
        Entry(
            what=str(words.EVENT[each.what]) % {"meter": each.meter_id},
            when=_when(each, zone, for_staff=for_staff),
            why=each.why if for_staff else "",
            who=(each.email or "") if of_meter else "",
            user_id=each.user_id if of_meter else None,
        )
        for each in events
    ]


def _when(event: Event, zone: ZoneInfo, *, for_staff: bool) -> str:
    parts = [formats.full_moment(event.at, zone)]
    if event.register is not None:
        parts.append(_("reading %(kwh)s", kwh=formats.kwh(event.register)))
    if event.how is not None and event.how in words.HOW_ASSIGNED and event.what in ("assigned", "swapped_in"):
        parts.append(str(words.HOW_ASSIGNED[event.how]))
    if for_staff and event.who:
        parts.append(event.who)
    if for_staff and event.told_at is not None and (event.told_at - event.at).total_seconds() >= 3600:
        parts.append(_("entered %(when)s", when=formats.full_moment(event.told_at, zone)))
    return ", ".join(parts)
