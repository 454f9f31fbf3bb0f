"""What a long job has done so far, kept chunk by chunk: it can go on after a kill, and its whole list is a file."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ForeignKey, delete, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, session
from portal.jobs import Job

SHOWN = 1_000
"""How many of each list stand in a job's result; all are in the file."""


class JobPart(Base):
    """One chunk: how many went well, how many did not, and a row for each in the columns of the job's kind.

    The last column of a row is the error, empty for those that went well.
    """

    __tablename__ = "job_parts"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Job.job_id, ondelete="CASCADE"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    success: Mapped[int]
    failed: Mapped[int]
    rows: Mapped[list[list[str | None]]] = mapped_column(JSONB)


@dataclass(slots=True)
class Tally:
    """How far a job is: kept in its `place`, in the transaction of each chunk, and never larger than the regions are.

    `act` is its row of the audit log, `after` whom it took up last, `waited` how many there were when it began; `turn`
    is the kind's own.
    """

    parts: int = 0
    success: int = 0
    failed: int = 0
    act: int | None = None
    after: tuple[str, str] | None = None
    waited: int | None = None
    turn: int = 0
    regions: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job) -> Tally:
        """What the job has kept."""
        return cls(**job.place)

    def to_json(self) -> dict[str, Any]:
        """For the job to keep."""
        return asdict(self)

    def count(self, region: str | None, *, went_well: bool) -> None:
        """One more user of a region."""
        counts = self.regions.setdefault(region or "", [0, 0])
        counts[0 if went_well else 1] += 1
        self.success += went_well
        self.failed += not went_well

    @property
    def done(self) -> int:
        """All that were taken up."""
        return self.success + self.failed

    @property
    def summary(self) -> dict[str, int]:
        """As the contract writes it."""
        return {"success": self.success, "failed": self.failed, "total": self.done}

    @property
    def by_region(self) -> list[dict[str, Any]]:
        """The same for each region, those with the most people first; null for people without one."""
        rows = [
            {"region": name or None, "success": success, "failed": failed}
            for name, (success, failed) in self.regions.items()
        ]
        return sorted(rows, key=lambda row: (-(row["success"] + row["failed"]), row["region"] or ""))


def add(job_id: uuid.UUID, part: int, rows: list[list[str | None]]) -> None:
    """Keep one chunk, in the transaction that did it."""
    failed = sum(1 for row in rows if row[-1])
    session.execute(
        insert(JobPart).values(job_id=job_id, part=part, success=len(rows) - failed, failed=failed, rows=rows)
    )


def clear(job_id: uuid.UUID) -> None:
    """Forget all chunks of a job that begins anew."""
    session.execute(delete(JobPart).where(JobPart.job_id == job_id))


def count_parts(job_id: uuid.UUID) -> int:
    """How many chunks there are."""
    return session.scalar(select(func.count()).where(JobPart.job_id == job_id)) or 0


def page(job_id: uuid.UUID, *, failed: bool, limit: int, offset: int) -> list[list[str | None]]:
    """Some of the rows that went well, or of those that did not, in the order of the run."""
    of_kind = JobPart.failed if failed else JobPart.success
    until = func.sum(of_kind).over(order_by=JobPart.part)
    counted = (
        select(JobPart.part, until.label("until"), (until - of_kind).label("before"))
        .where(JobPart.job_id == job_id)
        .subquery()
    )
    wanted = session.execute(
        select(counted.c.part, counted.c.before)
        .where(counted.c.until > offset, counted.c.before < offset + limit)
        .order_by(counted.c.part)
    ).all()
    found: list[list[str | None]] = []
    for part, _before in wanted:
        found += [row for row in rows_of_part(job_id, part) if bool(row[-1]) is failed]
    start = offset - int(wanted[0].before) if wanted else 0
    return found[start : start + limit]


def first(
    job_id: uuid.UUID, columns: tuple[str, ...], shown: tuple[str, ...], *, failed: bool
) -> list[dict[str, str | None]]:
    """The first SHOWN of those that went well, or of those that did not: the columns `shown` of each."""
    return [
        {name: value for name, value in zip(columns, row, strict=True) if name in shown}
        for row in page(job_id, failed=failed, limit=SHOWN, offset=0)
    ]


def csv_lines(job_id: uuid.UUID, columns: tuple[str, ...]) -> Iterator[str]:
    """All rows of the job as CSV, a chunk at a time."""
    yield _csv([list(columns)])
    for number in range(count_parts(job_id)):
        yield _csv(rows_of_part(job_id, number))


def rows_of_part(job_id: uuid.UUID, number: int) -> list[list[str | None]]:
    """One chunk."""
    rows: Any = session.scalar(select(JobPart.rows).where(JobPart.job_id == job_id, JobPart.part == number))
    return rows or []


def _csv(rows: list[list[str | None]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: str | None) -> str:
    """A spreadsheet runs a cell that begins like a formula; an address may begin with `=` or `+`."""
    return f"'{value}" if value and value[0] in "=+-@\t\r" else value or ""
