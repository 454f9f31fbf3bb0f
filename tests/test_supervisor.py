"""Child processes of the launcher: started again when they fail, ended when they will not end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import supervisor as module
from portal.supervisor import Stopped, Supervisor

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
time.sleep(60)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, dict(os.environ))
    yield supervisor
    supervisor.stop()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_ends_is_started_again_after_pauses_that_grow(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start("worker", ["sh", "-c", "echo >> runs"])
    pauses = []
    for _ in range(3):
        assert child.process
        child.process.wait()
        assert supervisor.watch()
        assert child.process is None
        assert supervisor.watch(), "not before the pause is over"
        assert child.process is None
        pauses.append(round(child.next_start - time.monotonic()))
        child.next_start = 0
        assert supervisor.watch()
    assert child.process
    child.process.wait()
    assert pauses == [1, 2, 4]
    assert (tmp_path / "runs").read_text() == "\n" * 4


def test_a_vital_child_is_not_started_again(supervisor: Supervisor) -> None:
    child = supervisor.start("web server", ["true"], vital=True)
    assert child.process
    child.process.wait()
    assert not supervisor.watch()


def test_a_child_that_will_not_end_is_killed_with_its_own_children(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.3)
    supervisor.start("worker", [sys.executable, "-c", STUBBORN, str(tmp_path)])
    while len(pids := [int(file.name) for file in tmp_path.iterdir()]) < 2:
        time.sleep(0.02)
    supervisor.stop()
    end = time.monotonic() + 5
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_signal_ends_a_pause(supervisor: Supervisor) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        supervisor.listen_to_signals()
        supervisor.pause(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            supervisor.pause(60)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_children_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = "; ".join(
        [
            "import sys, time",
            "from pathlib import Path",
            "from portal.supervisor import Supervisor",
            "child = Supervisor(Path('/'), {'PATH': '/usr/bin:/bin'}).start('worker', ['sleep', '60'])",
            "print(child.process.pid, flush=True)",
            "time.sleep(60)",
        ]
    )
    root = str(Path(module.__file__).parent.parent)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
    end = time.monotonic() + 5
    while runs(child):
        assert time.monotonic() < end
        time.sleep(0.02)
