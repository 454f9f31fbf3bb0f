"""What a long job has done so far, kept chunk by chunk: it can go on after a kill, and its whole list is a file."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKey, func, select
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


@dataclass(frozen=True, slots=True)
class Totals:
    """What all parts of a job come to."""

    parts: int
    success: int
    failed: int

    @property
    def done(self) -> int:
        """All that were taken up."""
        return self.success + self.failed

    @property
    def summary(self) -> dict[str, int]:
        """As the contract writes it."""
        return {"success": self.success, "failed": self.failed, "total": self.done}


def add(job_id: uuid.UUID, part: int, rows: list[list[str | None]]) -> None:
    """Keep one chunk, in the transaction that did it."""
    failed = sum(1 for row in rows if row[-1])
    session.add(JobPart(job_id=job_id, part=part, success=len(rows) - failed, failed=failed, rows=rows))
    session.flush()


def totals(job_id: uuid.UUID) -> Totals:
    """How far the job is."""
    count, success, failed = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(JobPart.success), 0),
            func.coalesce(func.sum(JobPart.failed), 0),
        ).where(JobPart.job_id == job_id)
    ).one()
    return Totals(count, int(success), int(failed))


def first(
    job_id: uuid.UUID, columns: tuple[str, ...], shown: tuple[str, ...], *, failed: bool
) -> list[dict[str, str | None]]:
    """The first SHOWN of those that went well, or of those that did not: the columns `shown` of each."""
    found: list[dict[str, str | None]] = []
    kind = JobPart.failed if failed else JobPart.success
    numbers = session.scalars(select(JobPart.part).where(JobPart.job_id == job_id, kind > 0).order_by(JobPart.part))
    for number in list(numbers):
        if len(found) >= SHOWN:
            break
        found += [
            {name: value for name, value in zip(columns, row, strict=True) if name in shown}
            for row in _rows(job_id, number)
            if bool(row[-1]) is failed
        ]
    return found[:SHOWN]


def csv_lines(job_id: uuid.UUID, columns: tuple[str, ...]) -> Iterator[str]:
    """All rows of the job as CSV, a chunk at a time."""
    yield _csv([list(columns)])
    for number in range(totals(job_id).parts):
        yield _csv(_rows(job_id, number))


def _rows(job_id: uuid.UUID, number: int) -> list[list[str | None]]:
    rows: Any = session.scalar(select(JobPart.rows).where(JobPart.job_id == job_id, JobPart.part == number))
    return rows or []


def _csv(rows: list[list[str | None]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: str | None) -> str:
    """A spreadsheet runs a cell that begins like a formula; an address may begin with `=` or `+`."""
    return f"'{value}" if value and value[0] in "=+-@\t\r" else value or ""
