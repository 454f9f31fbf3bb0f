"""`make soak`: kill the portal's processes under load; nothing that it answered may be missing or half done afterwards.

Clients register people and post readings over HTTP against the whole portal, as `make run` starts it, while admins take
meters back, give others (the same few, wanted by all), run bulk runs and undo them. Now and then a web server process,
the worker or the database itself gets a kill -9 (promises 1, 2, 4, 10).

Sizes: SOAK_REGISTRATIONS (2,000), SOAK_CLIENTS (16), SOAK_KILLS (20): some minutes. The full one:
`SOAK_REGISTRATIONS=10000 SOAK_CLIENTS=64 SOAK_KILLS=100 make soak`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from portal import embedded
from portal.embedded.processes import find_processes
from tests.soak.checks import check
from tests.soak.load import Told, admin, post, reader, registrar, wait_until_ready

REGISTRATIONS = int(os.environ.get("SOAK_REGISTRATIONS", "2000"))
CLIENTS = int(os.environ.get("SOAK_CLIENTS", "16"))
KILLS = int(os.environ.get("SOAK_KILLS", "20"))
ADMINS, READERS = 4, 2
ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """The whole of it; gives the exit code."""
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
        log = Path(folder) / "portal.log"
        with log.open("wb") as out:
            portal = subprocess.Popen(
                [sys.executable, "-m", "portal.serve"], cwd=ROOT, env=environ, stdout=out, stderr=out
            )
        try:
            wait_until_ready(port)
            made = subprocess.run(
                [sys.executable, "-m", "flask", "keys", "create", "--name", "soak", "--scope", "ingest"],
                cwd=ROOT, env=environ, capture_output=True, text=True, check=True,
            )  # fmt: skip
            began = time.monotonic()
            told = put_under_load(port, portal.pid, embedded.locate(data).places.token, made.stdout.split()[-1])
            minutes = (time.monotonic() - began) / 60
            wait_until_ready(port)
            faults = check(embedded.locate(data).url.replace("postgresql+psycopg", "postgresql"), told)
            print(f"{REGISTRATIONS} registrations, {CLIENTS} clients, {KILLS} kills in {minutes:.1f} min: ", end="")
            print("nothing is lost, doubled or half done." if not faults else f"{faults} FAULTS.")
            return 1 if faults else 0
        finally:
            portal.send_signal(signal.SIGTERM)
            portal.wait(60)
            embedded.locate(data).remove()


def put_under_load(port: int, supervisor: int, server: str, key: str) -> Told:
    """Run the clients until there are enough registrations, and KILLS processes have been killed meanwhile."""
    told, stop = Told(), threading.Event()
    status, answer = post(port, "/api/v1/auth/login", {"email": "admin@segs.com", "password": "admin123"})
    if status != 200:
        raise RuntimeError(f"the admin of the demo cannot log in: {answer}")
    token = answer["data"]["tokens"]["accessToken"]
    threads = [threading.Thread(target=registrar, args=(port, number, told, stop)) for number in range(CLIENTS)]
    threads += [threading.Thread(target=reader, args=(port, key, number, told, stop)) for number in range(READERS)]
    threads += [threading.Thread(target=admin, args=(port, token, number, told, stop)) for number in range(ADMINS)]
    for each in threads:
        each.start()
    try:
        killed, quiet_until = 0, time.monotonic() + 2
        while killed < KILLS or len(told.people) < REGISTRATIONS:
            time.sleep(0.2)
            # As many kills as the load is far, but not before the portal has come back from the last one.
            if killed < KILLS and time.monotonic() > quiet_until:
                due = KILLS * len(told.people) / REGISTRATIONS
                if due > killed or len(told.people) >= REGISTRATIONS:
                    victim, name = choose_victim(supervisor, server)
                    killed += 1
                    print(f"kill {killed} of {KILLS}: {name}; {told.line()}", flush=True)
                    os.kill(victim, signal.SIGKILL)
                    quiet_until = time.monotonic() + random.uniform(1, 4)
        time.sleep(3)
    finally:
        stop.set()
        for each in threads:
            each.join()
    return told


def choose_victim(supervisor: int, token: str) -> tuple[int, str]:
    """A process of the web server (not its first, whose end is the portal's), the worker or the database's first."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [(int(pid), int(parent), command) for pid, parent, command in (line.split(None, 2) for line in lines)]
    children = {pid: command for pid, parent, command in rows if parent == supervisor}
    workers = [(pid, "worker") for pid, command in children.items() if "flask worker" in command]
    web = [pid for pid, command in children.items() if "webserver" in command]
    servers = [(pid, "web server process") for pid, parent, _ in rows if parent in web]
    first = find_processes(token).postmaster
    databases = [(first, "database")] if first else []
    kinds = [kind for kind in (workers, servers, databases) if kind]
    return random.choice(random.choice(kinds)) if kinds else choose_victim(supervisor, token)


if __name__ == "__main__":
    sys.exit(main())
