"""The commands of `flask meters` about one meter and its holder: assign, unassign, swap, relocate, status, history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import click

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import CLI
from portal.billing import supply
from portal.cli._common import now, pool
from portal.db import session
from portal.meters import actions, history, life, queries, rules
from portal.meters.history import Event
from portal.meters.models import Meter
from portal.periods import local_midnight

INTO = click.Choice(["in_stock", "quarantine", "faulty", "retired"])
LATE = timedelta(hours=1)
"""What is entered later than this after it happened, the history says."""


class Kwh(click.ParamType[Decimal]):
    """What a register shows: a decimal number, kWh."""

    name = "KWH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            number = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is no number; write 1234.5.", param, ctx)
        if not number.is_finite() or number != round(number, 6):
            self.fail(f"{value!r} is no reading; write 1234.5, with six decimals at most.", param, ctx)
        return number


meter = click.option("--meter", "meter_id", help="This meter; the next free one of their region without it.")
reason = click.option("--reason", default="", help="Why, for the history.")
opening = click.option("--opening", type=Kwh(), help="What the register of the new meter shows, kWh.")
closing = click.option("--closing", type=Kwh(), help="What the register of the old meter shows, kWh.")
rolled_over = click.option("--rolled-over", is_flag=True, help="It went past its last digit, so it shows less.")
to = click.option("--to", type=INTO, help="What becomes of the old meter; by the utility's rule without it.")


def dated(name: str, words: str) -> Callable[[Any], Any]:
    """An option for an instant in the past."""
    return click.option(
        name,
        "when",
        metavar="DATE",
        help=f"{words}: 2026-01-31 (the local day begins) or 2026-01-31T18:30:00+05:30. Not in the future.",
    )


def add_to(group: click.Group) -> None:
    """Add these commands to `flask meters`."""
    for command in (assign, unassign, swap, relocate, status, show_history):
        group.command(command.__name__.removeprefix("show_"), help=command.__doc__)(command)


@click.argument("email")
@meter
@dated("--from", "Since when it is theirs")
@opening
@reason
def assign(email: str, meter_id: str | None, when: str | None, opening: Decimal | None, reason: str) -> None:
    """Give one customer a meter, or move the start of the one they hold back."""
    user, zone = _whose(email)
    since = _instant(when, zone, "--from")
    if since is not None and user.meter_id is not None and meter_id in (None, user.meter_id):
        held = supply.move_start(user.user_id, since, actor=CLI, now=now())
    else:
        held = actions.assign(
            user.user_id,
            pool(),
            meter_id,
            how="admin",
            since=since,
            opening_register=opening,
            reason=reason,
            actor=CLI,
            now=now(),
        )
    session.commit()
    print(f"{held.email} → {held.meter_id} ({held.region or 'no region'}) since {_told(held.since, zone)}")


@click.argument("email")
@dated("--at", "Until when it was theirs")
@closing
@rolled_over
@to
@reason
def unassign(
    email: str, when: str | None, closing: Decimal | None, rolled_over: bool, to: str | None, reason: str
) -> None:
    """Take a customer's meter back; it can be given again at once, or after its rest in quarantine."""
    user, zone = _whose(email)
    freed = supply.unassign(
        user.user_id,
        pool(),
        at=_instant(when, zone, "--at"),
        closing_register=closing,
        rolled_over=rolled_over,
        to=to,
        reason=reason,
        actor=CLI,
        now=now(),
    )
    session.commit()
    print(f"{freed.meter_id} was {freed.email}'s until {_told(freed.since, zone)}; {_state(freed.meter_id, zone)}.")


@click.argument("email")
@meter
@closing
@opening
@rolled_over
@to
@dated("--at", "When it was swapped")
@reason
def swap(email: str, meter_id: str | None, when: str | None, **options: Any) -> None:
    """Another meter for a customer who holds one: the same supply, the same bill."""
    user, zone = _whose(email)
    done = supply.swap(
        user.user_id, pool(), meter_id, at=_instant(when, zone, "--at"), actor=CLI, now=now(), **_registers(options)
    )
    session.commit()
    print(f"{done.email}: {done.old_meter_id} → {done.meter_id} at {_told(done.at, zone)}")
    print(f"{done.old_meter_id}: {_state(done.old_meter_id, zone)}.")


@click.argument("email")
@click.argument("region")
@meter
@closing
@opening
@rolled_over
@to
@dated("--at", "When they moved")
@reason
def relocate(email: str, region: str, meter_id: str | None, when: str | None, **options: Any) -> None:
    """A customer moves to another region: the old supply ends with its meter, a new one begins there."""
    user, zone = _whose(email)
    old = user.meter_id
    moved = supply.relocate(
        user.user_id,
        region,
        pool(),
        meter_id,
        at=_instant(when, zone, "--at"),
        actor=CLI,
        now=now(),
        **_registers(options),
    )
    session.commit()
    print(f"{moved.email} → {moved.meter_id} ({moved.region}) since {_told(moved.since, accounts.zone_of(region))}")
    if old is not None:
        print(f"{old}: {_state(old, zone)}.")


@click.argument("meter_id", metavar="METER")
@click.argument("status", type=INTO)
@reason
def status(meter_id: str, status: str, reason: str) -> None:
    """Say what becomes of a meter that nobody holds: repaired, released from quarantine, faulty, retired for good."""
    moved = life.move_meter(meter_id, status, pool(), reason=reason, actor=CLI, now=now())
    session.commit()
    print(f"{meter_id}: {_state(meter_id, accounts.zone_of(moved.region))}.")


@click.argument("whose", metavar="METER|EMAIL")
def show_history(whose: str) -> None:
    """All that happened to a meter, or to a customer's meters, newest first."""
    if "@" in whose:
        user, zone = _whose(whose)
        events, of_meter = history.of_user(user.user_id), False
    else:
        found = queries.get_meter(whose, pool())
        zone = accounts.zone_of(found.region if found else None)
        events, of_meter = history.of_meter(rules.meter_key(whose)), True
    for event in events:
        print(_line(event, zone, of_meter=of_meter))
    if not events:
        print(f"Nothing happened to {whose} yet.")


def _line(event: Event, zone: ZoneInfo, *, of_meter: bool) -> str:
    """`2026-11-27 14:30 IST  assigned  asha@example.com  by admin@segs.com (registration)  …`."""
    parts = [_told(event.at, zone), event.what.replace("_", " "), (event.email or "-") if of_meter else event.meter_id]
    parts.append(f"by {event.who}" + (f" ({event.how})" if event.how else ""))
    if event.register is not None:
        parts.append(f"register {event.register.normalize():f} kWh")
    if event.told_at is not None and event.told_at - event.at >= LATE:
        parts.append(f"entered {_told(event.told_at, zone)}")
    return "  ".join([*parts, event.why]).rstrip()


def _whose(email: str) -> tuple[User, ZoneInfo]:
    user = accounts.get_user_by_email(email)
    return user, accounts.zone_of(user.region)


def _registers(options: dict[str, Any]) -> dict[str, Any]:
    given = dict(options)
    return {"closing_register": given.pop("closing"), "opening_register": given.pop("opening"), **given}


def _state(meter_id: str, zone: ZoneInfo) -> str:
    """What the meter is now, in words."""
    found = session.get_one(Meter, rules.meter_key(meter_id), populate_existing=True)
    until = f" until {_told(found.quarantine_until, zone)}" if found.quarantine_until else ""
    return f"it is {rules.STATUS_WORDS[found.status]}{until}"


def _told(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _instant(text: str | None, zone: ZoneInfo, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return local_midnight(date.fromisoformat(text), zone)
    except (ValueError, OverflowError):
        pass
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no date; write 2026-01-31.", param_hint=option) from None
