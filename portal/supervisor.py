"""Child processes that live no longer than we do: started, watched, started again, ended in order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

END_SECONDS = 25.0  # a request may take its ten seconds of grace, a job its twenty
LONGEST_PAUSE = 30.0  # seconds between two starts of a child that keeps failing
STEADY = 60.0  # seconds after which a child counts as healthy again
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """Somebody asked us to stop (SIGINT, SIGTERM or SIGHUP)."""


@dataclass
class Child:
    """A process that is to run all the time. `failures` in a row lengthen the pause before the next start.

    Without a `vital` one there is no point in going on: it is not started again.
    """

    name: str
    command: Sequence[str]
    fds: tuple[int, ...] = ()
    vital: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0
    next_start: float = field(default=0.0)


class Supervisor:
    """Starts children in `folder` with `environ`. Ctrl-C reaches only us: each child has a session of its own."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = dict(environ)
        self._children: list[Child] = []
        self._signals = 0

    def listen_to_signals(self) -> None:
        """From now on a signal makes `pause` raise Stopped; a second one while stopping makes it hurry."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_signal)
        if _is_make(os.getppid()):
            die_with_parent()  # a killed `make` passes nothing on

    def pause(self, seconds: float) -> None:
        """Sleeps. Raises Stopped as soon as somebody asks for it."""
        until = time.monotonic() + seconds
        while not self._signals:
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.05))
        raise Stopped

    def start(self, name: str, command: Sequence[str], *, fds: tuple[int, ...] = (), vital: bool = False) -> Child:
        """Starts a child that is to run until `stop`; the last one started is stopped first."""
        child = Child(name, command, fds, vital)
        self._start(child)
        self._children.append(child)
        return child

    def watch(self) -> bool:
        """Starts again, after a pause that grows, what has ended by itself; False if that was a vital child.

        To be called every moment or so.
        """
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.next_start:
                    self._start(child)
            elif (code := child.process.poll()) is not None:
                if child.vital:
                    tell(f"the {child.name} ended (exit code {code}): stopping everything")
                    return False
                child.failures = 1 if now - child.started > STEADY else child.failures + 1
                wait = min(2.0 ** (child.failures - 1), LONGEST_PAUSE)
                child.process, child.next_start = None, now + wait
                tell(f"the {child.name} ended (exit code {code}); it starts again in {wait:.0f} s")
        return True

    def stop(self) -> None:
        """Ends every child in turn: asked first, killed with all its own children after END_SECONDS or a new signal."""
        self._signals = 0
        while self._children:
            process = self._children.pop().process
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            until = time.monotonic() + END_SECONDS
            while process.poll() is None and time.monotonic() < until and not self._signals:
                time.sleep(0.02)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(  # noqa: S603 - our own commands
            child.command,
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            pass_fds=child.fds,
            start_new_session=True,
            preexec_fn=_bind_to(os.getpid()),  # safe: we have one thread
        )
        child.started = time.monotonic()

    def _note_signal(self, number: int, frame: object) -> None:
        self._signals += 1


def tell(line: str) -> None:
    """One line for whoever watches; a closed terminal is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"portal: {line}\n")
        sys.stderr.flush()


def die_with_parent() -> None:
    """Asks Linux to send SIGTERM when the parent dies, however it dies; elsewhere nothing."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _bind_to(parent: int) -> Callable[[], None]:
    def bind() -> None:
        die_with_parent()
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return bind


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("make", "gmake")
    except OSError:
        return False
