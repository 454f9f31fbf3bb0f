"""`flask meters`: a meter for all who wait, numbers, stock; what happens to one meter is in `_supply`."""

from __future__ import annotations

from pathlib import Path

import click

from portal.audit import CLI
from portal.cli import _bulk, _supply
from portal.cli._common import DatabaseGroup, now, pool
from portal.db import session
from portal.meters import bulk
from portal.meters import stats as meter_stats

group = DatabaseGroup("meters", help="Meters and who holds them.")
_supply.add_to(group)


@group.command("assign-all", help="Give a meter to every customer who has none.")
@click.option("--region", help="Only customers of this region.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
def assign_all(region: str | None, dry_run: bool) -> None:
    _bulk.assign_all(region, dry_run=dry_run)


@group.command("assign-csv", help="Give meters by a CSV file: user (e-mail or id), perhaps meter, region, date.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Look at every row, and change nothing.")
def assign_csv(file: Path, dry_run: bool) -> None:
    _bulk.assign_csv(file, dry_run=dry_run)


@group.command("stats", help="Assignment in numbers.")
@click.option("--recount", is_flag=True, help="Count anew first, where rows were written past the triggers.")
def stats(recount: bool) -> None:
    if recount:
        meter_stats.recount()
        session.commit()
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
