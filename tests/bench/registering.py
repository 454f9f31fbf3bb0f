"""People who register one after the other until the input ends; prints how many, and the median and worst seconds."""

from __future__ import annotations

import select
import statistics
import sys
import time
import uuid
from datetime import UTC, datetime

from portal import create_app
from portal.audit import SYSTEM
from portal.db import session
from portal.registration import register
from tests.factories import make_config, make_pool


def main(url: str, last: int) -> None:
    app, taken = create_app(make_config(url)), []
    with app.app_context():
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            began = time.perf_counter()
            details = ("Asha Kulkarni", f"{uuid.uuid4()}@example.com", None, "Pune-West", None)
            register(*details, make_pool(last=last), actor=SYSTEM, now=datetime.now(UTC))
            session.commit()
            taken.append(time.perf_counter() - began)
    # The first one opens the connection and compiles the statements.
    print(len(taken), statistics.median(taken), max(taken[1:]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
