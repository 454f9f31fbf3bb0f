"""The clients of `make soak`: what they do, and what the portal acknowledged."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

WANTED = [f"MTR-{9_000_000 + number:08d}" for number in range(20)]
"""A few meters that every admin wants."""


@dataclass
class Told:
    """What the portal acknowledged. `touched` are people whose meter an admin may have changed since."""

    people: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    given: set[tuple[str, str]] = field(default_factory=set)
    taken: set[tuple[str, str]] = field(default_factory=set)
    runs: list[str] = field(default_factory=list)
    readings: set[tuple[str, str]] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def line(self) -> str:
        """How far it is."""
        return f"{len(self.people)} people, {len(self.readings)} readings, {len(self.given)} given by admins"

    def heard(self, what: str, status: int, answer: dict[str, Any], fine: tuple[int, ...]) -> bool:
        """Count an answer; one that is neither fine nor a portal that is away is a surprise."""
        with self.lock:
            self.answers[f"{what} {status or 'cut off'}"] += 1
            if status not in (*fine, 0, 502, 503):
                self.surprises.append(f"{what}: {status} {json.dumps(answer)[:300]}")
        return status in (200, 201, 202)


def registrar(port: int, number: int, told: Told, stop: threading.Event) -> None:
    """Register people one after the other."""
    turn = 0
    while not stop.is_set():
        turn += 1
        email = f"soak{number}-{turn}@example.com"
        region = random.choice(("Pune-West", "Mumbai-North", "Delhi-North", None))
        body = {"name": "Soak Test", "email": email, **({"region": region} if region else {})}
        status, answer = post(port, "/api/v1/auth/register", body)
        if told.heard("register", status, answer, (201,)):
            user = answer["data"]["user"]
            with told.lock:
                told.people[email] = (user["user_id"], user["meter_id"])


def reader(port: int, key: str, number: int, told: Told, stop: threading.Event) -> None:
    """Post days of readings of meters that nobody holds."""
    turn = 0
    while not stop.is_set():
        turn += 1
        meter = f"MTR-{5_000_000 + number * 1000 + turn % 50:08d}"
        day = f"2026-10-{1 + turn // 50 % 28:02d}"
        rows = [
            {"meterId": meter, "timestamp": f"{day}T{hour:02d}:00:00+05:30", "energyKwh": "0.25"} for hour in range(24)
        ]
        status, answer = post(port, "/api/v1/telemetry/batch", rows, key)
        if told.heard("readings", status, answer, (202,)):
            with told.lock:
                told.readings |= {(meter, row["timestamp"]) for row in rows}
        stop.wait(0.05)


def admin(port: int, token: str, number: int, told: Told, stop: threading.Event) -> None:
    """Take meters back and give others; every admin goes for people and meters that the others go for too."""
    while not stop.is_set():
        with told.lock:
            people = random.sample(sorted(told.people.items()), min(6, len(told.people)))
            told.touched |= {email for email, _ in people}
        for email, (user_id, _meter) in people:
            _change(port, token, email, user_id, told)
        if random.random() < 0.3:
            _run(port, token, told)
        stop.wait(0.2)


def _change(port: int, token: str, email: str, user_id: str, told: Told) -> None:
    if random.random() < 0.6:
        status, answer = call(port, "DELETE", f"/api/v1/admin/meters/unassign/{user_id}", None, token)
        if told.heard("unassign", status, answer, (200, 404)):
            with told.lock:
                told.taken.add((user_id, answer["data"]["meter_id"]))
    wanted = random.choice((*WANTED, None, None, None))
    body = {"userId": user_id, **({"meterId": wanted} if wanted else {})}
    status, answer = post(port, "/api/v1/admin/meters/assign", body, token)
    if told.heard("assign", status, answer, (200, 409)):
        with told.lock:
            told.given.add((user_id, answer["data"]["meter_id"]))


def _run(port: int, token: str, told: Told) -> None:
    status, answer = post(port, "/api/v1/admin/meters/bulk-assign", {}, token)
    if not told.heard("bulk run", status, answer, (200, 202)):
        return
    data = answer["data"]
    job_id = data["job"]["job_id"] if status == 202 else data["job_id"]
    with told.lock:
        told.runs.append(job_id)
        if status == 200:
            told.given |= {(row["user_id"], row["meter_id"]) for row in data["successful_assignments"]}
    if random.random() < 0.3:
        status, answer = post(port, f"/api/v1/admin/jobs/{job_id}/undo", None, token)
        if told.heard("undo", status, answer, (200, 202, 409)) and status == 200:
            with told.lock:
                undone = answer["data"]["job"]["result"]["undone"]
                told.taken |= {(row["user_id"], row["meter_id"]) for row in undone}


def post(port: int, path: str, body: object, key: str | None = None) -> tuple[int, dict[str, Any]]:
    """(status, answer); status 0 when nothing came back."""
    return call(port, "POST", path, body, key)


def call(port: int, method: str, path: str, body: object, key: str | None) -> tuple[int, dict[str, Any]]:
    """(status, answer); status 0 when nothing came back."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
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
