"""The processes and lock files of one embedded server, told from those of others.

A number in a pid file proves nothing: after a kill or a restart of the machine it can be anybody's. So the server is
started with a name of its own (`cluster_name`), which it and all its children show in the process list.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class ServerProcesses:
    """The living processes of one server: `postmaster` is the one that all others descend from, None if it is gone."""

    postmaster: int | None
    others: tuple[int, ...]


def find_processes(token: str) -> ServerProcesses:
    """The processes of the server with this cluster name, zombies left out."""
    found: dict[int, int] = {}
    heads: list[int] = []
    for pid, parent, words in _list_commands():
        if f"cluster_name={token}" in words:  # as a word of its own: pg_ctl and its shell carry it within another
            heads.append(pid)
            found[pid] = parent
        elif " ".join(words).startswith(f"postgres: {token}: "):
            found[pid] = parent
    # A child that was forked a moment ago still shows its parent's command.
    postmaster = next((pid for pid in heads if found[pid] not in found), None)
    return ServerProcesses(postmaster, tuple(pid for pid in found if pid != postmaster))


def end_processes(pids: tuple[int, ...], signals: tuple[tuple[signal.Signals, float], ...]) -> bool:
    """Sends each signal in turn to those still there and waits its seconds. Returns whether all are gone."""
    for number, seconds in signals:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while any(_is_running(pid) for pid in pids):
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            return True
    return False


def clear_lock_file(path: Path) -> None:
    """Removes a lock file of PostgreSQL that would keep a new server from starting although none is running.

    Only to be called when find_processes() has found no process of this server. A file with the number of a dead
    process stays: PostgreSQL takes it over itself, and reads from it which shared memory to check. A cut or empty file
    it refuses, as it does a file whose number now belongs to another process of the same account.
    """
    try:
        pid = int(path.read_text().split()[0])
    except FileNotFoundError:
        return
    except (ValueError, IndexError):
        path.unlink(missing_ok=True)
        return
    if pid <= 0 or _exists(pid):
        path.unlink(missing_ok=True)


def _list_commands() -> Iterator[tuple[int, int, list[str]]]:
    """Process number, parent's number and the words of the command, of every process that we may see."""
    if not (PROC / "self" / "cmdline").exists():
        said = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
        for line in said.stdout.splitlines():
            number, above, *words = line.split()
            yield int(number), int(above), words
        return
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                if "portal-" in command:
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    yield int(folder.name), parent, command.rstrip("\0 ").split("\0")


def _is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie, which somebody else has to collect."""
    if not _exists(pid):
        return False
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not (PROC / "self").exists()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
