"""What the pages say of bulk runs: what kind, how far, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask_babel import gettext as _
from flask_babel import ngettext

from portal.jobs import Job, bulk_assign, bulk_csv, parts
from portal.web import formats
from portal.web.charts import share


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A region of a run, for the chart: how many got a meter, and how many are left."""

    name: str
    number: str
    share: str
    extra: str | None
    extra_bad: bool
    success: str
    failed: str


@dataclass(frozen=True, slots=True)
class Words:
    """A run in words. `time_left` and `still` are empty unless it runs."""

    kind: str
    title: str
    who: str
    time_left: str
    still: str
    regions: list[RegionRow]


@dataclass(frozen=True, slots=True)
class Line:
    """A run in the list of runs."""

    job: Job
    kind: str
    what: str
    by: str
    when: str
    state: str
    tone: str


def kind_of(job: Job) -> str:
    """Preview, Bulk run, Look at a file, Run of a file, Undo."""
    preview = job.args.get("dry_run")
    if job.kind == bulk_assign.KIND:
        return _("Preview") if preview else _("Bulk run")
    if job.kind == bulk_csv.KIND:
        return _("Look at a file") if preview else _("Run of a file")
    return _("Undo of a run")


def line(job: Job, email: str | None, now: datetime, zone: ZoneInfo) -> Line:
    """A run in the list of runs."""
    what = job.args.get("file") or job.args.get("region") or _("All regions")
    state, tone = state_of(job, now)
    by = email or job.args.get("actor") or ""
    return Line(job, kind_of(job), what, by, formats.moment(job.created_at, now, zone), state, tone)


def state_of(job: Job, now: datetime) -> tuple[str, str]:
    """(word, tone) of how a run stands."""
    if job.is_stalled(now):
        return (_("Stalled") if job.status == "running" else _("No worker takes it")), "warn"
    if job.status == "running" and job.stop_asked_at:
        return _("Stopping"), "warn"
    if job.status == "done" and (job.result or {}).get("refused"):
        return _("Nothing undone"), "warn"
    return {
        "queued": (_("In the queue"), "accent"),
        "running": (_("Running"), "accent"),
        "done": (_("Done"), "good"),
        "failed": (_("Failed"), "bad"),
        "cancelled": (_("Stopped"), "quiet"),
    }[job.status]


def words_of(job: Job, tally: parts.Tally, now: datetime) -> Words:
    """What the page of a run says."""
    regions = [
        RegionRow(
            row["region"] or _("No region"),
            formats.number(row["success"]),
            share(row["success"], max(each["success"] + each["failed"] for each in tally.by_region)),
            ngettext("%(num)s left", "%(num)s left", row["failed"]) if row["failed"] else None,
            True,
            formats.number(row["success"]),
            formats.number(row["failed"]),
        )
        for row in tally.by_region
    ]
    who = job.args.get("file") or job.args.get("region") or _("All regions")
    if limit := job.args.get("limit"):
        who = _("%(who)s, at most %(count)s customers", who=who, count=formats.number(limit))
    still = ""
    if job.is_stalled(now):
        still = (
            _("It has not moved since %(ago)s. The next worker goes on where it was.", ago=_moved(job, now))
            if job.status == "running"
            else _("It waits since %(ago)s. Start a worker: flask worker.", ago=_moved(job, now))
        )
    return Words(kind_of(job), kind_of(job), who, _time_left(job, now), still, regions)


def _moved(job: Job, now: datetime) -> str:
    return formats.ago(job.moved_at or job.started_at or job.created_at, now)


def _time_left(job: Job, now: datetime) -> str:
    if job.status != "running" or not job.done or not job.total or job.started_at is None:
        return ""
    gone = (now - job.started_at).total_seconds()
    seconds = int(gone / job.done * (job.total - job.done))
    if seconds < 1 or gone < 1:
        return ""
    if seconds < 90:
        return ngettext("about %(num)s second left", "about %(num)s seconds left", seconds)
    return ngettext("about %(num)s minute left", "about %(num)s minutes left", round(seconds / 60))
