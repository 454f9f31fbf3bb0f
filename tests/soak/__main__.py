"""Kill the portal's processes under load; nothing that it answered may be missing afterwards (promises 1, 2, 4, 10).

Clients register people and post readings over HTTP against the whole portal, as `make run` starts it. Now and then a
web server, the worker or the database itself gets a kill -9. At the end every acknowledged person holds the meter that
was told, or waits on the list; every acknowledged reading is there once; and usage adds up to the readings.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from portal import embedded

KILLS = int(os.environ.get("SOAK_KILLS", "30"))
CLIENTS = int(os.environ.get("SOAK_CLIENTS", "8"))
ROOT = Path(__file__).parent.parent.parent


@dataclass
class Told:
    """What the portal acknowledged."""

    people: dict[str, str | None] = field(default_factory=dict)
    readings: set[tuple[str, str]] = field(default_factory=set)
    faults: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="portal-soak-") as folder, socket.socket() as probe:
        os.chmod(folder, 0o755)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data = Path(folder) / "data"
        environ = {
            **os.environ,
            "PORT": str(port),
            "PORTAL_DATA": str(data),
            "SIMULATE": "false",
            "RATELIMIT_ENABLED": "false",
        }
        environ.pop("DATABASE_URL", None)
        portal = subprocess.Popen([sys.executable, "-m", "portal.serve"], cwd=ROOT, env=environ, stdout=subprocess.PIPE)
        try:
            wait_until_ready(port)
            made = subprocess.run(
                [sys.executable, "-m", "flask", "keys", "create", "--name", "soak", "--scope", "ingest"],
                cwd=ROOT, env=environ, capture_output=True, text=True, check=True,
            )  # fmt: skip
            told = put_under_load(port, portal.pid, made.stdout.split()[-1])
            wait_until_ready(port)
            time.sleep(10)  # the worker adds up what came last
            return check(embedded.locate(data).url.replace("postgresql+psycopg", "postgresql"), told)
        finally:
            portal.send_signal(signal.SIGTERM)
            portal.wait(60)
            embedded.locate(data).remove()


def put_under_load(port: int, supervisor: int, key: str) -> Told:
    """Run the clients while KILLS processes are killed one after the other."""
    told, stop = Told(), threading.Event()
    clients = [
        threading.Thread(target=client, args=(port, key, number, told, stop), daemon=True) for number in range(CLIENTS)
    ]
    for each in clients:
        each.start()
    for number in range(KILLS):
        time.sleep(random.uniform(1, 4))
        victim, name = choose_victim(supervisor)
        print(
            f"kill {number + 1} of {KILLS}: {name}, {len(told.people)} people, {len(told.readings)} readings",
            flush=True,
        )
        os.kill(victim, signal.SIGKILL)
    time.sleep(5)
    stop.set()
    for each in clients:
        each.join()
    return told


def choose_victim(supervisor: int) -> tuple[int, str]:
    """A process of the web server (not its first, whose end is the portal's), the worker or the database's first."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [(int(pid), int(parent), command) for pid, parent, command in (line.split(None, 2) for line in lines)]
    children = {pid: command for pid, parent, command in rows if parent == supervisor}
    found = [(pid, "worker") for pid, command in children.items() if "flask worker" in command]
    web = [pid for pid, command in children.items() if "webserver" in command]
    found += [(pid, "web server process") for pid, parent, _ in rows if parent in web]
    found += [(pid, "database") for pid, _, command in rows if "bin/postgres" in command and "portal-soak-" in command]
    return random.choice(found)


def client(port: int, key: str, number: int, told: Told, stop: threading.Event) -> None:
    """Register a person, post a batch, and again; only what was acknowledged is noted."""
    turn = 0
    while not stop.is_set():
        turn += 1
        email = f"soak{number}-{turn}@example.com"
        status, answer = post(
            port, "/api/v1/auth/register", {"name": "Soak Test", "email": email, "region": "Pune-West"}
        )
        with told.lock:
            if status == 201:
                told.people[email] = answer["data"]["user"]["meter_id"]
            else:
                told.faults += 1
        meter = f"MTR-{5_000_000 + number * 1000 + turn % 50:08d}"
        rows = [
            {
                "meterId": meter,
                "timestamp": f"2026-10-{1 + turn // 50 % 28:02d}T{hour:02d}:00:00+05:30",
                "energyKwh": "0.25",
            }
            for hour in range(24)
        ]
        status, answer = post(port, "/api/v1/telemetry/batch", rows, key)
        with told.lock:
            if status == 202:
                told.readings |= {(meter, row["timestamp"]) for row in rows}
            else:
                told.faults += 1


def post(port: int, path: str, body: object, key: str | None = None) -> tuple[int, dict]:
    """(status, answer); status 0 when nothing came back."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    except (OSError, http.client.HTTPException, ValueError):
        time.sleep(0.2)
        return 0, {}


def wait_until_ready(port: int) -> None:
    """Wait until /readyz says so. Raises TimeoutError after two minutes."""
    for _ in range(240):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.5)
    raise TimeoutError("the portal is not ready after two minutes")


def check(url: str, told: Told) -> int:
    """Compare what was told with what is there; gives the exit code."""
    with psycopg.connect(url) as database:
        there = dict(database.execute("SELECT email, meter_id FROM users WHERE email LIKE 'soak%'").fetchall())
        wrong_people = [email for email, meter in told.people.items() if there.get(email, "missing") != meter]
        twice = database.execute(
            "SELECT count(*) - count(DISTINCT meter_id) FROM users WHERE meter_id IS NOT NULL"
        ).fetchone()[0]  # fmt: skip
        half = database.execute("""
            SELECT count(*) FROM users u FULL JOIN
                (SELECT user_id, 'MTR-' || lpad(meter_key::text, 8, '0') AS held
                 FROM meter_assignments WHERE unassigned_at IS NULL) a USING (user_id)
            WHERE u.meter_id IS DISTINCT FROM a.held""").fetchone()[0]
        stored = {
            (f"MTR-{key:08d}", at)
            for key, at in database.execute("""
                SELECT meter_key, to_char(read_at AT TIME ZONE 'Asia/Kolkata', 'YYYY-MM-DD"T"HH24:MI:SS') || '+05:30'
                FROM readings WHERE meter_key >= 5000000""")
        }
        lost = told.readings - stored
        off = database.execute("""
            SELECT count(*) FROM
                (SELECT meter_key, sum(value) AS kwh FROM readings WHERE meter_key >= 5000000 GROUP BY 1) r
                FULL JOIN
                (SELECT meter_key, sum(import_kwh) AS kwh FROM usage_daily WHERE meter_key >= 5000000 GROUP BY 1) u
                USING (meter_key)
            WHERE r.kwh IS DISTINCT FROM u.kwh""").fetchone()[0]
    print(
        f"{len(told.people)} people and {len(told.readings)} readings acknowledged, "
        f"{told.faults} calls without an answer.\n"
        f"people lost or changed: {len(wrong_people)}, meters held twice: {twice}, half assigned: {half}, "
        f"readings lost: {len(lost)}, meters whose usage is not the sum of their readings: {off}"
    )
    return 1 if wrong_people or twice or half or lost or off else 0


if __name__ == "__main__":
    sys.exit(main())
