"""`flask meters`: assign, count and stock meters."""

from __future__ import annotations

from datetime import UTC, date, datetime

import click

from portal.accounts import queries as accounts
from portal.accounts.models import User
from portal.audit import CLI
from portal.billing import supply
from portal.cli import _bulk
from portal.cli._common import DatabaseGroup, now, pool
from portal.db import session
from portal.meters import actions, bulk
from portal.meters import stats as meter_stats
from portal.periods import local_midnight

group = DatabaseGroup("meters", help="Meters and who holds them.")


@group.command("assign-all", help="Give a meter to every customer who has none.")
@click.option("--region", help="Only customers of this region.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
def assign_all(region: str | None, dry_run: bool) -> None:
    _bulk.assign_all(region, dry_run=dry_run)


@group.command("assign", help="Give one customer a meter, or move the start of the one they hold.")
@click.argument("email")
@click.option("--meter", "meter_id", help="This meter; the next free one of their region without it.")
@click.option(
    "--from",
    "start",
    metavar="DATE",
    help="Since when it is theirs: 2026-01-31 (the local day begins) or 2026-01-31T18:30:00+05:30. Only backwards.",
)
def assign(email: str, meter_id: str | None, start: str | None) -> None:
    user = accounts.get_user_by_email(email)
    begins = _instant(start, user) if start else None
    moves_only = begins is not None and user.meter_id is not None and meter_id in (None, user.meter_id)
    if not moves_only:
        held = actions.assign(user.user_id, pool(), meter_id, how="admin", actor=CLI, now=now())
    if begins is not None:
        held = supply.move_start(user.user_id, begins, actor=CLI, now=now())
    session.commit()
    since = held.since.astimezone(accounts.zone_of(held.region))
    print(f"{held.email} → {held.meter_id} ({held.region or 'no region'}) since {since:%Y-%m-%d %H:%M %Z}")


def _instant(text: str, user: User) -> datetime:
    zone = accounts.zone_of(user.region)
    try:
        return local_midnight(date.fromisoformat(text), zone)
    except (ValueError, OverflowError):
        pass
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no date; write 2026-01-31.", param_hint="--from") from None


@group.command("unassign", help="Take a customer's meter back; it can be given again at once.")
@click.argument("email")
def unassign(email: str) -> None:
    freed = actions.unassign(accounts.get_user_by_email(email).user_id, pool(), actor=CLI, now=now())
    session.commit()
    print(f"{freed.meter_id} is free again.")


@group.command("stats", help="Assignment in numbers.")
def stats() -> None:
    counts = meter_stats.stats(pool())
    print(f"customers            {counts.total_users}")
    print(f"with a meter         {counts.users_with_meters} ({counts.assignment_percentage} %)")
    print(f"without a meter      {counts.users_without_meters}")
    print(f"meters available     {counts.available_meters} of {counts.first} to {counts.last}")
    for region, count in counts.meters_by_region:
        print(f"  {region or 'no region':<18} {count}")


@group.command("provision", help="Stock the meters FIRST to LAST, or the next COUNT unknown ones.")
@click.argument("first", required=False)
@click.argument("last", required=False)
@click.option("--count", type=click.IntRange(1, 1_000_000), help="This many, after the highest number known so far.")
@click.option("--region", help="Only customers of this region will get them; unallocated stock without it.")
@click.option("--phase", type=click.Choice(["1", "3"]), default="1", show_default=True)
def provision(first: str | None, last: str | None, count: int | None, region: str | None, phase: str) -> None:
    options = {"phase": int(phase), "actor": CLI, "now": now()}
    if count is not None and first is None:
        first, last, done = bulk.provision_next(count, region, pool(), **options)  # type: ignore[arg-type]
    elif first is not None and count is None:
        last = last or first
        done = bulk.provision(first, last, region, pool(), **options)  # type: ignore[arg-type]
    else:
        raise click.UsageError("Give FIRST and LAST, or --count.")
    session.commit()
    print(f"{first} to {last}: {done.stocked} stocked for {region or 'any region'}, {done.left_alone} left alone.")
