"""A process that acts on meters until it is told to end, or killed. Each line it prints was committed before.

Run by test_processes: `python -m tests.meters.hammer URL SEED SECONDS LAST`.
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from datetime import UTC, datetime

from portal import create_app
from portal.audit import CLI, SYSTEM
from portal.db import session
from portal.errors import PortalError
from portal.meters import actions, bulk, life, swap
from portal.registration import register
from tests.factories import make_config, make_pool

PEOPLE = 12
"""How many of its own each has; more than there are meters, all together."""
REGIONS = ("Pune-West", "Delhi-North", None)


class Hammer:
    """Registers people, and moves them and their meters about. Its people are its own, but for the bulk runs."""

    def __init__(self, seed: int, last: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.last = last
        self.pool = make_pool(last=last)
        self.people: list[uuid.UUID] = []

    def act(self) -> dict[str, object]:
        """One act, committed; gives what is told of it."""
        now = datetime.now(UTC)
        who = {"actor": CLI, "now": now}
        what = self.random.choices(
            ["register", "assign", "unassign", "swap", "relocate", "status", "bulk"], [4, 4, 4, 3, 1, 2, 1]
        )[0]
        if not self.people or (what == "register" and len(self.people) < PEOPLE):
            email = f"p{self.seed}-{len(self.people)}-{now.timestamp()}@example.com"
            done = register("Hammer", email, None, self.random.choice(REGIONS), None, self.pool, actor=SYSTEM, now=now)
            session.commit()
            self.people.append(done.user.user_id)
            code = done.refusal.code if done.refusal else None
            return {"did": "registered", "user": str(done.user.user_id), "meter": done.user.meter_id, "code": code}
        what = "assign" if what == "register" else what
        person = self.random.choice(self.people)
        name = self.random.choice([None, f"MTR-{self.random.randint(1, self.last):08d}"])
        if what == "assign":
            given = actions.assign(person, self.pool, name, how="admin", **who)
            session.commit()
            return {"did": "given", "user": str(person), "meter": given.meter_id, "at": given.since.isoformat()}
        if what == "unassign":
            freed = actions.unassign(person, self.pool, to=self.random.choice([None, None, None, "faulty"]), **who)
            session.commit()
            return {"did": "taken", "user": str(person), "meter": freed.meter_id, "at": freed.since.isoformat()}
        if what == "swap":
            changed = swap.swap(person, self.pool, name, **who)
            session.commit()
            return {"did": "given", "user": str(person), "meter": changed.meter_id, "at": changed.at.isoformat()}
        if what == "relocate":
            moved = swap.relocate(person, self.random.choice(REGIONS[:2]), self.pool, name, **who)
            session.commit()
            return {"did": "given", "user": str(person), "meter": moved.meter_id, "at": moved.since.isoformat()}
        if what == "status":
            to = self.random.choice(["in_stock", "in_stock", "faulty", "quarantine"])
            life.move_meter(f"MTR-{self.random.randint(1, self.last):08d}", to, self.pool, **who)
            session.commit()
            return {"did": "moved"}
        run = bulk.assign_all(self.pool, **who)
        session.commit()
        return {
            "did": "run",
            "given": [[str(row.user_id), row.meter_id, row.since.isoformat()] for row in run.assigned],
        }


def main() -> None:
    """Act until the time is up; refusals and faults are told too."""
    url, seed, seconds, last = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    app = create_app(make_config(url))
    with app.app_context():
        hammer, end = Hammer(seed, last), time.monotonic() + seconds
        print(json.dumps({"did": "began"}), flush=True)
        while time.monotonic() < end:
            try:
                told = hammer.act()
            except PortalError as refusal:
                session.rollback()
                told = {"did": "refused", "code": refusal.code}
            except Exception as fault:
                session.rollback()
                told = {"did": "fault", "what": f"{type(fault).__name__}: {fault}"}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
