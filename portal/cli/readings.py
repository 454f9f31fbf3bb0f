"""`flask readings`: bring readings from files."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from portal.accounts import queries as accounts
from portal.cli._common import DatabaseGroup, config, now, pool
from portal.db import session
from portal.errors import Invalid
from portal.meters import queries as meters
from portal.meters import rules as meter_rules
from portal.periods import Period
from portal.readings import actions, files
from portal.readings.files import BadLine, Line
from portal.readings.incoming import Row
from portal.readings.rules import MAX_INTERVAL

group = DatabaseGroup("readings", help="Readings of meters.")

CHUNK = 5_000


@group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--meter", "meter_id", required=True, help="The meter that measured it, such as MTR-00000013.")
@click.option("--interval", type=click.IntRange(1, MAX_INTERVAL), help="Seconds; else the most common gap of the file.")
@click.option(
    "--into-last-year", is_flag=True, help="Keep day and month, and put each date into the last twelve full months."
)
def import_file(file: Path, meter_id: str, interval: int | None, into_last_year: bool) -> None:
    """Bring interval energy from a CSV FILE (also .csv.gz).

    First column: start of the interval, in the local time of the meter's region unless it tells an offset. Second
    column: kWh, rounded to the Wh. Rows that are refused are told on stderr with their line. Killed, or run again, it
    goes on where it was: what is stored already counts as known.
    """
    meter = meters.get_meter(meter_id, pool())
    zone = accounts.zone_of(meter.region if meter else None)
    interval = interval or files.find_interval(file, zone)
    if interval > MAX_INTERVAL:
        raise Invalid(f"The rows of {file.name} lie more than a day apart; say the interval with --interval SECONDS.")
    last_year = files.today_of(now(), zone) if into_last_year else None
    done = _Import(meter_id, interval, f"file:{file.name}"[:40])
    with _bar(file, zone) as bar:
        lines = files.read_lines(file, zone, last_year)
        while chunk := list(islice(lines, CHUNK)):
            done.take(chunk)
            if bar is not None:
                bar.update(len(chunk))
    done.add_up()
    print(done.summary())
    if not done.stored + done.known:
        raise Invalid(f"No row of {file.name} could be taken.")


def _bar(file: Path, zone: ZoneInfo) -> AbstractContextManager[Any]:
    """A progress bar where somebody watches, nothing else."""
    if not sys.stderr.isatty():
        return nullcontext()
    rows = sum(1 for _ in files.read_lines(file, zone))
    return click.progressbar(length=rows, label=file.name, file=sys.stderr)


class _Import:
    """Takes the rows of one file, and knows what became of them."""

    def __init__(self, meter_id: str, interval: int, source: str) -> None:
        self._meter_id, self._interval, self._source = meter_id, interval, source
        self._starts: list[datetime] = []
        self.stored = self.known = self.refused = 0

    def take(self, chunk: list[Line | BadLine]) -> None:
        """Store a chunk and commit it; tell the rows that were refused."""
        lines = [line for line in chunk if isinstance(line, Line)]
        refused = [line for line in chunk if isinstance(line, BadLine)]
        rows = [
            Row(meter_id=self._meter_id, timestamp=line.start, interval_seconds=self._interval, energy_kwh=line.kwh)
            for line in lines
        ]
        result = actions.store(rows, source=self._source, now=now(), config=config())
        session.commit()
        refused += [BadLine(lines[each.index].number, each.message) for each in result.rejected]
        for bad in sorted(refused, key=lambda each: each.number):
            print(f"line {bad.number}: {bad.reason}", file=sys.stderr)
        self.stored += result.accepted
        self.known += result.duplicates
        self.refused += len(refused)
        if lines:
            starts = [*self._starts, *(line.start for line in lines)]
            self._starts = [min(starts), max(starts)]

    def add_up(self) -> None:
        """Bring the meter's usage up to date, so that the next page does not have to wait for a worker."""
        if self._starts:
            first, last = self._starts
            key = meter_rules.meter_key(self._meter_id)
            actions.refresh_meter(key, Period(first, last + timedelta(seconds=1)))
            session.commit()

    def summary(self) -> str:
        """One line for the person who asked."""
        rows = self.stored + self.known + self.refused
        return (
            f"{rows:,} rows of {self._interval // 60 if self._interval % 60 == 0 else self._interval} "
            f"{'minutes' if self._interval % 60 == 0 else 'seconds'} for {self._meter_id}: "
            f"{self.stored:,} stored, {self.known:,} known already, {self.refused:,} refused."
        )
