"""schemathesis against the document that the portal gives of itself: all checks, no operation left out.

It runs as its own program against a real server, as anybody outside would run it. `SCHEMATHESIS_EXAMPLES` sets how many
examples an operation gets; the soak run sets more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from portal.accounts import tokens

# The short run covers every constraint of the document as a customer and as an admin, and fuzzes as all others.
SHORT = "3"
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", SHORT)
THOROUGH = ("newcomer", "as_admin")
ALL_PHASES = "examples,coverage,fuzzing,stateful"
# That `start` comes before `end` is the one rule that a schema cannot state; breaking it is 422.
ORDER = """
[[operations]]
include-path-regex = "(/history|/my-meter/daily|/my-meter/stats)$"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "422", "429"]
"""


@pytest.fixture
def address(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose callers stay logged in: one log-out in the middle would turn all later calls into 401."""
    monkeypatch.setattr(tokens, "revoke_family", lambda family_id, now: None)
    monkeypatch.setattr(tokens, "revoke_all", lambda user, now, keep=None: None)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("caller", ["visitor", "newcomer", "as_customer", "as_operator", "as_admin", "as_key"])
def test_the_document_holds(address: str, caller: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    program = request.getfixturevalue("visitor" if caller == "newcomer" else caller)
    # Without a token it would register and log in by itself: that is `newcomer`.
    signs_up = str(caller == "newcomer").lower()
    (tmp_path / "schemathesis.toml").write_text(f"{ORDER}\n[auth]\nauto-signup = {signs_up}\n")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--checks", "all"),
        *("--max-examples", EXAMPLES, "--seed", "7", "--continue-on-failure", "--no-color", "--warnings", "off"),
        *("--phases", ALL_PHASES if caller in THOROUGH or EXAMPLES != SHORT else "fuzzing"),
        *(("--header", f"Authorization: Bearer {program.token}") if program.token else ()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode == 0, done.stdout[-20_000:]
