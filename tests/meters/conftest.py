"""Many acts at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from portal.db import session
from portal.errors import PortalError


@pytest.fixture
def at_once(app):
    """Run the calls at the same moment, each in a context and transaction of its own; gives results and refusals."""

    def run(calls):
        gate = threading.Barrier(len(calls))

        def one(call):
            with app.app_context():
                gate.wait()
                try:
                    result = call()
                    session.commit()
                except PortalError as refusal:
                    session.rollback()
                    return refusal.code
                return result

        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(one, calls))

    return run
