"""What counts as the same reading, and which of several values is in force: pure decisions, no database.

One meter, kind and instant is one key, and has one value in force. What decides when several values are told for it:

1. the value with the highest `seq` of the sender is in force, in whatever order they come;
2. a value that comes without `seq` ranks with the highest `seq` known at its first arrival; of equals, and where nobody
   tells a `seq`, the later arrival is in force;
3. a value (with the same interval and quality) that was told before, with a `seq` at least as high or without one, is a
   duplicate, whoever sends it, however often. So an old batch that is sent again does not undo a correction; a sender
   who means to go back to an earlier value says so with a higher `seq`.

`readingId` decides nothing: many senders make a new one for every attempt. Values that are not in force stay on record.
Since every value keeps its first rank or gets a higher one, telling the same again, in any order, changes nothing
(promise 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from portal.readings.rules import Told


class Version(NamedTuple):
    """A value on record: its number for its key, what was told, by whom and when."""

    number: int
    told: Told
    source: str
    received_at: datetime


class History:
    """All that was told for one key: the version in force and those that are not."""

    def __init__(self, current: Version, past: Iterable[Version]) -> None:
        self.current = current
        self.past = list(past)
        self.added: list[Version] = []
        """Versions that came to the past in this act."""
        self.changed = False
        """True when what is in force, or its `seq`, is not what it was."""
        self._top = max([current.number, *(each.number for each in self.past)])

    def hear(self, told: Told, source: str, now: datetime) -> bool:
        """Take in one more; True if it tells something new. The docstring of the module says what decides."""
        current = self.current.told
        known = [each.told.seq for each in (self.current, *self.past) if told.same_as(each.told)]
        if known and _rank(told.seq) <= max(map(_rank, known)):
            return False
        if told.same_as(current):
            self.current = self.current._replace(told=current._replace(seq=told.seq))
            self.changed = True
            return False
        self._top += 1
        seq = current.seq if told.seq is None else told.seq
        version = Version(self._top, told._replace(seq=seq), source, now)
        if _rank(seq) < _rank(current.seq):
            self._keep(version)
            return not known
        self._keep(self.current)
        self.current, self.changed = version, True
        return True

    def _keep(self, version: Version) -> None:
        self.past.append(version)
        self.added.append(version)


def _rank(seq: int | None) -> float | int:
    """No `seq` ranks below all that there are."""
    return -math.inf if seq is None else seq
