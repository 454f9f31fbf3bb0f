"""Users by a part of their e-mail, name or meter, among ten million, in a few milliseconds.

Three ways, by what was typed (ADR 12):
- three letters or digits of an e-mail or name in a row: the trigrams of `user_words` (ix_user_words_words); of another
  script, whose marks those trigrams do not know, the trigrams of names in such a script (ix_user_words_scripts);
- digits of a meter's number: the numbers that hold them are counted through, or the held ones looked at in order;
- less, which nearly everybody has: the newest users.
More than MOST matches are not counted out: whoever searches adds a letter.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text

from portal.accounts.models import User
from portal.db import session
from portal.meters import stats

MOST = 1_000
LOOKED_THROUGH = 2_000
_METER = re.compile(r"(?=[m0-9])(mtr-?)?([0-9]{0,8})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of users, and how many there are in all; at least so many, where `total_is_exact` is false."""

    users: list[User]
    total: int
    total_is_exact: bool = True


@dataclass(frozen=True, slots=True)
class _List:
    """A list of users: its rows in order (`user_id` alone), the condition that makes them, and the order."""

    rows: str
    condition: str
    order: str
    values: dict[str, Any]


# Plans: ix_user_words_newest (or ix_user_words_staff) backwards; ix_users_waiting forwards. Both stop with the page.
_NEWEST = """
    SELECT user_id FROM user_words w WHERE {condition}
    ORDER BY created_at DESC, user_id DESC LIMIT :limit OFFSET :offset"""
_QUEUE = """
    SELECT user_id FROM users u WHERE {condition}
    ORDER BY created_at, user_id LIMIT :limit OFFSET :offset"""
_WAITS = "u.meter_id IS NULL AND u.role = 'user' AND u.closed_at IS NULL"


def search_users(search: str = "", role: str | None = None, limit: int = 20, offset: int = 0) -> UserPage:
    """Users by part of their e-mail, name or meter, newest first; all of them without words."""
    condition = "w.role = :role" if role else "true"
    rows, order = _NEWEST.format(condition=condition), "w.created_at DESC, w.user_id DESC"
    listed = _List(rows, condition, order, {"role": role} if role else {})
    if search.strip():
        return _search(listed, search, limit, offset)
    return UserPage(_fetch(rows, listed.values, limit, offset), stats.count_users(role))


def list_without_meter(region: str | None = None, search: str = "", limit: int = 20, offset: int = 0) -> UserPage:
    """Customers who wait for a meter, longest wait first."""
    condition = _WAITS + (" AND u.region = :region" if region else "")
    rows = _QUEUE.format(condition=condition)
    listed = _List(rows, condition, "u.created_at, u.user_id", {"region": region} if region else {})
    if search.strip():
        return _search(listed, search, limit, offset)
    return UserPage(_fetch(rows, listed.values, limit, offset), stats.count_waiting(region))


# Plan: bitmap of ix_user_words_words for a rare word; for a common one a scan that stops after MOST.
_BY_WORDS = """
    SELECT w.user_id FROM user_words w JOIN users u USING (user_id)
    WHERE {indexed} AND {condition} LIMIT :most"""
_INDEXED_BY = {
    "letters": "w.words LIKE '%' || lower(:pattern) || '%'",
    "script": "octet_length(w.words) > length(w.words) AND word_trigrams(w.words) @> word_trigrams(lower(:plain)) "
    "AND w.words LIKE '%' || lower(:pattern) || '%'",
}
_LETTERS = re.compile("[a-z0-9]{3}", re.IGNORECASE | re.ASCII)
_PEOPLE = "JOIN user_words w USING (user_id) JOIN users u USING (user_id)"
_AMONG_THE_FIRST = """
    SELECT user_id FROM (SELECT user_id, row_number() OVER () AS place FROM ({rows}) AS listed) AS first
        JOIN user_words w USING (user_id)
    WHERE w.words LIKE '%' || lower(:pattern) || '%' ORDER BY place LIMIT :most"""
_BY_BEGINNING = """
    SELECT a.user_id FROM meter_assignments a {people}
    WHERE a.unassigned_at IS NULL AND a.meter_key BETWEEN :low AND :high AND {condition} LIMIT :most"""
# The digits stand at some place of an eight-digit number: what may stand before and behind them is counted through.
# Plan: nested loop over uq_meter_assignments_meter_open.
_BY_DIGITS = """
    WITH number AS (
        SELECT (rest / unit) * unit * CAST(:ten AS int) + CAST(:digits AS int) * unit + rest % unit AS meter_key
        FROM generate_series(0, 8 - CAST(:length AS int)) AS place,
            LATERAL (SELECT CAST(10 ^ place AS int) AS unit) AS units,
            generate_series(0, 100000000 / CAST(:ten AS int) - 1) AS rest)
    SELECT a.user_id FROM number JOIN meter_assignments a USING (meter_key) {people}
    WHERE a.unassigned_at IS NULL AND {condition} LIMIT :most"""
# So few that one number in a hundred has them: the held meters, until there are enough.
_BY_FEW_DIGITS = """
    SELECT a.user_id FROM meter_assignments a {people}
    WHERE a.unassigned_at IS NULL AND lpad(a.meter_key::text, 8, '0') LIKE '%' || :pattern || '%' AND {condition}
    LIMIT :most"""
_FOUND = """
    SELECT user_id FROM users u JOIN user_words w USING (user_id) WHERE user_id = ANY(CAST(:found AS uuid[]))
    ORDER BY {order} LIMIT :limit OFFSET :offset"""


def _search(listed: _List, search: str, limit: int, offset: int) -> UserPage:
    search = search.strip()
    found: set[uuid.UUID] = set()

    def look(statement: str, indexed: str = "", **values: Any) -> None:
        nonlocal found
        parts = {"condition": listed.condition, "rows": listed.rows, "people": _PEOPLE, "indexed": indexed}
        sought = text(statement.format(**parts))
        found |= set(session.scalars(sought, {**listed.values, **values, "most": MOST + 1}))

    words = {"plain": search, "pattern": re.sub(r"([\\%_])", r"\\\1", search)}
    indexed = _INDEXED_BY.get("letters" if _LETTERS.search(search) else "script" if _is_script(search) else "")
    if indexed is not None:
        look(_BY_WORDS, indexed=indexed, **words)
    if indexed is None or len(found) > MOST:
        # Nearly everybody has it: then those who stand first in the list.
        found.clear()
        look(_AMONG_THE_FIRST, **words, limit=LOOKED_THROUGH, offset=0)
    for statement, values in _ways_to_meters(search):
        look(statement, **values)
    page = _fetch(_FOUND.format(order=listed.order), {"found": list(found)}, limit, offset)
    return UserPage(page, min(len(found), MOST), indexed is not None and len(found) <= MOST)


def _is_script(search: str) -> bool:
    """Three characters or more, of which one at least is not ASCII."""
    return len(search) >= 3 and not search.isascii()


def _ways_to_meters(search: str) -> list[tuple[str, dict[str, Any]]]:
    """The statements that look for a number, or a part of one, with their values; none where it is no number."""
    meter = _METER.fullmatch(search)
    if meter is None:
        return []
    digits = meter[2]
    if meter[1]:
        free = 10 ** (8 - len(digits))
        low = int(digits or 0) * free
        return [(_BY_BEGINNING, {"low": low, "high": low + free - 1})]
    if len(digits) >= 4:
        return [(_BY_DIGITS, {"digits": int(digits), "ten": 10 ** len(digits), "length": len(digits)})]
    return [(_BY_FEW_DIGITS, {"pattern": digits})]


def _fetch(statement: str, values: dict[str, Any], limit: int, offset: int) -> list[User]:
    """The users whose ids a statement gives, in its order."""
    user_ids = session.scalars(text(statement), {**values, "limit": limit, "offset": offset}).all()
    rows = {user.user_id: user for user in session.scalars(select(User).where(User.user_id.in_(user_ids)))}
    return [rows[user_id] for user_id in user_ids]


def flush_words() -> None:
    """Put new words where they are found quickest; the worker does it, so that nobody who registers has to wait.

    Only for the owner of the index; where the portal's role owns nothing, autovacuum does it.
    """
    session.execute(
        text("""
            SELECT gin_clean_pending_list(oid) FROM pg_class
            WHERE oid = to_regclass('ix_user_words_words') AND pg_has_role(relowner, 'USAGE')""")
    )
