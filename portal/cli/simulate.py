"""`flask simulate`: meters of invented households, which post their readings over HTTP like any gateway.

Every reading follows from the seed, the meter and the time, so what is posted twice is a duplicate. A portal that is
away is waited for; like a real meter the simulator keeps what it could not send.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import click
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from portal.accounts import tokens
from portal.accounts.models import Region
from portal.accounts.queries import DEFAULT_ZONE
from portal.audit import CLI
from portal.cli._common import DatabaseCommand, config, now
from portal.db import session
from portal.errors import Invalid, Unavailable
from portal.meters.models import Assignment, Meter
from portal.meters.rules import meter_id
from portal.periods import Period
from portal.readings import incoming, queries
from portal.readings.household import energy_kwh
from portal.readings.incoming import Row
from portal.readings.rules import MAX_INTERVAL

BATCH = 5_000
KEY_FILE = "simulator_key"
LOOK_EVERY = 2.0
LONGEST_PAUSE = 10.0
GIVE_UP = 120.0
# A simulator that was away this long goes on where it was.
CATCH_UP = timedelta(minutes=10)
_MINUTE = timedelta(minutes=1)
_TEN_SECONDS = timedelta(seconds=10)
_HALF_HOUR = timedelta(minutes=30)
_DAY = timedelta(days=1)


@click.command("simulate", cls=DatabaseCommand)
@click.option("--meters", type=click.IntRange(1), default=10, show_default=True, help="How many meters of the range.")
@click.option("--interval", type=click.IntRange(1, MAX_INTERVAL), default=900, show_default=True, help="Seconds.")
@click.option(
    "--iterations", type=click.IntRange(1), default=1, show_default=True, help="How many intervals; the last ends now."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Other seeds are other households.")
@click.option("--live", is_flag=True, help="Serve every assigned meter by the minute, until stopped.")
@click.option(
    "--backfill",
    type=click.IntRange(0, 800),
    default=0,
    show_default=True,
    help="With --live: how many days back the first readings of a meter may lie; minutes without it.",
)
@click.option("--url", help="The portal; else the one on HOST and PORT.")
@click.option("--key", envvar="PORTAL_INGEST_KEY", help="An ingestion key; else one of the simulator's own.")
def group(
    meters: int, interval: int, iterations: int, seed: int, live: bool, backfill: int, url: str | None, key: str | None
) -> None:
    """Post plausible readings of invented households over HTTP."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    gateway = Gateway(url or _own_address(), key)
    if live:
        Live(gateway, seed, timedelta(days=backfill)).run()
    else:
        _once(gateway, meters, interval, iterations, seed)


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Whatever was not acknowledged is posted again by the next run.
    sys.exit(0)


def _own_address() -> str:
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(config().host, config().host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{config().port}"


class Gateway:
    """Posts rows to a portal, and waits for it when it is away."""

    def __init__(self, url: str, key: str | None) -> None:
        where = urlsplit(url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise Invalid(f"{url!r} is not an address such as http://localhost:3000.")
        self._where = where
        self._given_key = key
        self._key = key or own_key(config().data_dir)
        self.accepted = self.duplicates = self.rejected = 0

    def post(self, rows: Sequence[Row], patience: float | None) -> None:
        """Post the rows; when the portal is away, again for `patience` seconds (None: for ever).

        Raises Unavailable then, Invalid when it refuses the batch as a whole.
        """
        body = incoming.as_list(rows)
        until = None if patience is None else time.monotonic() + patience
        pause, said = 0.5, False
        while True:
            fault = self._try(body)
            if fault is None:
                if said:
                    print("The portal is back.", file=sys.stderr)
                return
            if until is not None and time.monotonic() > until:
                raise Unavailable(f"The portal on {self._where.netloc} does not take readings: {fault}.")
            if not said:
                print(f"Waiting for the portal on {self._where.netloc}: {fault}.", file=sys.stderr, flush=True)
                said = True
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _try(self, body: bytes) -> str | None:
        """One post; gives why it is worth another try, None when it was taken."""
        try:
            status, answer = self._send(body)
        except (OSError, http.client.HTTPException) as fault:
            return str(fault) or type(fault).__name__
        if status == 202:
            taken = json.loads(answer)["data"]
            self.accepted += taken["accepted"]
            self.duplicates += taken["duplicates"]
            self._tell_rejected(taken["rejected"])
            return None
        if status in (401, 403) and self._given_key is None:
            self._key = own_key(config().data_dir, anew=True)
            return "the key was not known"
        if status not in (400, 413, 415, 422):
            return f"it answers {status}"
        raise Invalid(f"The portal refuses the readings with {status}: {answer[:300].decode(errors='replace')}")

    def _send(self, body: bytes) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._where.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._where.hostname or "", self._where.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                "POST",
                f"{self._where.path.rstrip('/')}/api/v1/telemetry/batch",
                body,
                {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
            )
            response = connection.getresponse()
            return response.status, response.read()

    def _tell_rejected(self, rejected: Sequence[dict[str, str]]) -> None:
        self.rejected += len(rejected)
        for each in rejected[:3]:
            print(f"rejected: {each['code']}: {each['message']}", file=sys.stderr)


def own_key(data_dir: Path, *, anew: bool = False) -> str:
    """The simulator's own key, kept in PORTAL_DATA for its owner alone; made when there is none that is in force."""
    path = data_dir / KEY_FILE
    if not anew:
        with contextlib.suppress(OSError):
            kept = path.read_text().strip()
            if kept and tokens.find_key(kept) is not None:
                session.rollback()
                return kept
    plain = tokens.create_key("simulator", "ingest", actor=CLI, now=now())
    session.commit()
    draft = path.with_name(f"{KEY_FILE}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{plain}\n")
        draft.replace(path)
    except OSError as fault:
        raise Invalid(f"The simulator cannot keep its key in {path}: {fault.strerror}. Give one with --key.") from None
    return plain


def _once(gateway: Gateway, meters: int, interval: int, iterations: int, seed: int) -> None:
    """The last `iterations` intervals of the first `meters` numbers of the range."""
    count = config().meter_last - config().meter_first + 1
    if meters > count:
        raise Invalid(f"The range holds {count} meters; ask for no more.")
    step = timedelta(seconds=interval)
    end = datetime.fromtimestamp(now().timestamp() // interval * interval, now().tzinfo)
    rows = (
        _row(seed, key, end - step * (iterations - number), step, DEFAULT_ZONE)
        for number in range(iterations)
        for key in range(config().meter_first, config().meter_first + meters)
    )
    began = time.monotonic()
    for batch in _batches(rows):
        gateway.post(batch, GIVE_UP)
    seconds = time.monotonic() - began
    print(
        f"{meters * iterations:,} readings of {meters:,} meters in {seconds:.1f} s: {gateway.accepted:,} accepted, "
        f"{gateway.duplicates:,} known already, {gateway.rejected:,} rejected."
    )


def _row(seed: int, key: int, start: datetime, length: timedelta, zone: ZoneInfo) -> Row:
    seconds = int(length.total_seconds())
    return Row(
        meter_id=meter_id(key),
        timestamp=start,
        interval_seconds=seconds,
        energy_kwh=energy_kwh(seed, key, start, seconds, zone),
    )


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


@dataclass(slots=True)
class Served:
    """A meter that is served: told up to `until`."""

    zone: ZoneInfo
    until: datetime


class Live:
    """Serves every assigned meter, those that are assigned meanwhile within seconds."""

    def __init__(self, gateway: Gateway, seed: int, backfill: timedelta) -> None:
        self._gateway, self._seed, self._backfill = gateway, seed, backfill
        self._served: dict[tuple[int, datetime], Served] = {}

    def run(self) -> None:
        """Until a signal."""
        print("Simulating every assigned meter by the minute; Ctrl-C stops it.", flush=True)
        while True:
            try:
                self._look()
            except SQLAlchemyError:
                # The database is restarting: the meters that are known are served on.
                session.remove()
            for batch in _batches(self._due(now())):
                self._gateway.post(batch, None)
            time.sleep(LOOK_EVERY)

    def _look(self) -> None:
        """Note who holds a meter now."""
        held = session.execute(
            select(Assignment.meter_key, Assignment.assigned_at, Region.timezone)
            .join(Meter, Meter.meter_key == Assignment.meter_key)
            .outerjoin(Region, Region.name == Meter.region)
            .where(Assignment.unassigned_at.is_(None))
            .order_by(Assignment.meter_key)
        ).all()
        served = {}
        for meter_key, assigned_at, timezone in held:
            known = self._served.get((meter_key, assigned_at))
            zone = ZoneInfo(timezone) if timezone else DEFAULT_ZONE
            served[(meter_key, assigned_at)] = known or Served(zone, self._begin(meter_key, assigned_at))
        session.rollback()
        self._served = served

    def _begin(self, meter_key: int, assigned_at: datetime) -> datetime:
        """Where a meter's last reading ended or it was assigned, but no further back than asked for.

        Time that is gone belongs to whoever has readings of it: files may still come for it.
        """
        begins = [assigned_at, now() - max(self._backfill, CATCH_UP)]
        latest = queries.find_latest(meter_key, Period(assigned_at))
        if latest.read_at is not None and latest.interval_seconds is not None:
            begins.append(latest.read_at + timedelta(seconds=latest.interval_seconds))
        return _ceil(max(begins), timedelta(seconds=1))

    def _due(self, instant: datetime) -> Iterator[Row]:
        """The intervals that have ended since the last look."""
        for (key, _), served in self._served.items():
            while (length := next_interval(served.until, instant)) is not None:
                yield _row(self._seed, key, served.until, length, served.zone)
                served.until += length


def _ceil(instant: datetime, step: timedelta) -> datetime:
    past = (instant - datetime(1970, 1, 1, tzinfo=instant.tzinfo)) % step
    return instant if not past else instant + step - past


def next_interval(start: datetime, instant: datetime) -> timedelta | None:
    """The length of the interval from `start`, if it has ended at `instant`.

    Up to the minute mark in tens of seconds, so that a new meter shows use at once; then by the minute; what lies
    further back in half hours.
    """
    if _ceil(start, _MINUTE) != start:
        end = min(_ceil(start, _MINUTE), _ceil(start + _TEN_SECONDS / 2, _TEN_SECONDS))
    else:
        end = start + _MINUTE
    half = _ceil(start + _MINUTE / 60, _HALF_HOUR)
    if half <= instant - _MINUTE:
        end = half
    return end - start if end <= instant else None
