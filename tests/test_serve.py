"""`make run`, as a process of its own: what it refuses, what it starts, and that nothing of it is left."""

import contextlib
import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from portal import serve
from portal.config import Config
from portal.embedded import Cluster, locate
from portal.embedded.processes import find_processes

ROOT = Path(serve.__file__).parent.parent
PORTAL = [sys.executable, "-m", "portal.serve"]


def environment(**settings: object) -> dict[str, str]:
    """Production, where there are no demo data to wait for; and nothing from outside."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    fixed = {"PORTAL_ENV": "production", "SECRET_KEY": "s" * 50, "HOST": "127.0.0.1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **fixed, **{name: str(value) for name, value in settings.items()}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusal(**settings: object) -> str:
    """Runs the portal, which must end with code 1 and say one line."""
    said = subprocess.run(PORTAL, cwd=ROOT, env=environment(**settings), capture_output=True, text=True, timeout=60)
    assert said.returncode == 1, said.stderr
    assert said.stdout == ""
    assert said.stderr.startswith("portal: ")
    assert said.stderr.count("\n") == 1, said.stderr
    return said.stderr


# --- what it refuses, in one line each ---


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is taken" in refusal(PORT=port, PORTAL_DATA=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refusal(PORT=free_port(), PORTAL_DATA=file)
    assert str(file) in refusal(PORT=free_port(), PORTAL_DATA=file / "below")


@pytest.mark.skipif(not Path("/proc/sys").exists(), reason="needs a folder that not even root can write")
def test_a_folder_that_refuses_files_is_told() -> None:
    assert "/proc/sys" in refusal(PORT=free_port(), PORTAL_DATA="/proc/sys")


def test_a_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://portal:geheim@127.0.0.1:{free_port()}/portal"
    said = refusal(PORT=free_port(), PORTAL_DATA=tmp_path, DATABASE_URL=url)
    assert "does not answer" in said
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("DATABASE_URL", "mysql://localhost/portal", "DATABASE_URL"),
        ("PORT", "http", "PORT"),
        ("HOST", "nowhere.invalid", "HOST"),
        ("HOST", "192.0.2.1", "192.0.2.1"),
        ("SECRET_KEY", "short", "SECRET_KEY"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(tmp_path: Path, setting: str, value: str, told: str) -> None:
    assert told in refusal(**{"PORT": free_port(), "PORTAL_DATA": tmp_path, setting: value})


def test_an_old_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> object:
        return contextlib.nullcontext(SimpleNamespace(info=SimpleNamespace(server_version=140_011)))

    monkeypatch.setattr(psycopg, "connect", connect)
    config = Config.from_env(environment(DATABASE_URL="postgresql://localhost/portal"))
    with pytest.raises(serve.RefusedError, match="PostgreSQL 14; 15 or newer"):
        serve.check_database(config)


# --- parts ---


def test_a_reserved_port_does_not_listen_and_nobody_else_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PORT_SECONDS", 0.2)
    port = free_port()
    with serve.reserve("127.0.0.1", port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        with pytest.raises(serve.RefusedError, match="is taken"):
            serve.reserve("127.0.0.1", port)
    serve.reserve("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("portal.example.com", False),
        ("", False),
    ],
)
def test_demo_data_are_only_for_this_machine(host: str, loopback: bool) -> None:
    assert serve.is_loopback(host) is loopback


def test_the_secret_is_made_once_and_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    config = Config.from_env({"SECRET_KEY": "placeholder", "PORTAL_DATA": str(tmp_path / "new")})
    serve.make_data_folder(config)
    secret = tmp_path / "new" / "secret_key"
    first = secret.read_text()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(first.strip()) >= 32
    serve.make_data_folder(config)
    assert secret.read_text() == first
    assert [file.name for file in secret.parent.iterdir()] == ["secret_key"]


def test_production_makes_no_secret(tmp_path: Path) -> None:
    serve.make_data_folder(Config.from_env(environment(PORTAL_DATA=tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    (tmp_path / "secret_key").touch()
    with pytest.raises(serve.RefusedError, match="is empty"):
        serve.make_data_folder(Config.from_env({"SECRET_KEY": "placeholder", "PORTAL_DATA": str(tmp_path)}))


# --- the whole ---


class Portal:
    """The portal of one PORTAL_DATA, started and ended by the tests."""

    def __init__(self, data_dir: Path) -> None:
        self.cluster: Cluster = locate(data_dir)
        self.port = free_port()
        self.environ = environment(PORT=self.port, PORTAL_DATA=data_dir)
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def process(self) -> "subprocess.Popen[str]":
        return self.processes[-1]

    def start(self, until: str = "ready on ") -> "subprocess.Popen[str]":
        """Starts it and waits until it says so."""
        # Its own process group, as a terminal gives it: so that a signal to all of them is like Ctrl-C.
        command = subprocess.Popen(
            PORTAL, cwd=ROOT, env=self.environ, text=True, process_group=0, stderr=subprocess.PIPE
        )
        self.processes.append(command)
        assert command.stderr
        said = []
        for line in command.stderr:
            said.append(line)
            if line.startswith(f"portal: {until}"):
                return command
        raise AssertionError(f"it ended with code {command.wait()}: {''.join(said)}")

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    def children(self) -> list[int]:
        """Every living process that was given our port, the supervisor and its children alike."""
        found, mark = [], f"PORT={self.port}\0".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and b"\0" + mark in b"\0" + (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def web_server(self) -> int:
        for pid in self.children():
            if b"portal.webserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    return pid
        raise AssertionError("there is no web server")

    def ended(self) -> int:
        """The exit code; nothing of it may be left."""
        code = self.process.wait(timeout=40)
        assert self.children() == []
        assert not self.answers()
        assert find_processes(self.cluster.places.token).postmaster is None
        return code


@pytest.fixture(scope="module")
def portals() -> Iterator[Callable[[], Portal]]:
    with tempfile.TemporaryDirectory(prefix="serve-", dir="/var/tmp") as folder:
        made: list[Portal] = []
        Path(folder).chmod(0o755)
        data_dir = Path(folder) / "instance"

        def make() -> Portal:
            made.append(Portal(data_dir))
            return made[-1]

        yield make
        for process in (process for portal in made for process in portal.processes):
            process.kill()
            process.communicate()
        locate(data_dir).remove()


@pytest.fixture
def portal(portals: Callable[[], Portal]) -> Portal:
    return portals()


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_signal_ends_everything_and_the_database(portal: Portal) -> None:
    process = portal.start("preparing the database")
    assert not portal.answers(), "nothing listens before the data are ready"
    assert process.stderr
    assert any(f"ready on http://localhost:{portal.port} " in line for line in process.stderr)
    assert portal.answers()
    assert portal.cluster.is_up()
    process.send_signal(signal.SIGTERM)
    assert portal.ended() == 0


def test_ctrl_c_reaches_all_and_ends_all_in_order(portal: Portal) -> None:
    process = portal.start()
    os.killpg(process.pid, signal.SIGINT)
    assert portal.ended() == 0
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


@pytest.mark.promise(10)
def test_killed_anywhere_it_comes_back(portal: Portal) -> None:
    process = portal.start()
    database = find_processes(portal.cluster.places.token).postmaster
    assert database
    os.kill(database, signal.SIGKILL)
    until(lambda: find_processes(portal.cluster.places.token).postmaster not in (None, database))
    until(portal.cluster.is_up)
    process.kill()
    process.wait()
    until(lambda: not portal.children())
    assert portal.cluster.is_up(), "a server that outlives the portal is found by the next start"
    again = portal.start()
    again.terminate()
    assert portal.ended() == 0


def test_without_its_web_server_it_ends_with_an_error(portal: Portal) -> None:
    portal.start()
    os.kill(portal.web_server(), signal.SIGKILL)
    assert portal.ended() == 1


def test_a_signal_while_it_starts_ends_it(portal: Portal) -> None:
    process = portal.start("preparing the database")
    process.terminate()
    assert portal.ended() == 0
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


def test_psql_opens_a_stopped_database_and_stops_it_again(portal: Portal) -> None:
    ask = [*PORTAL, "psql", "-Atc", "SELECT count(*) > 0 FROM regions"]
    said = subprocess.run(ask, cwd=ROOT, env=portal.environ, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.returncode) == ("t\n", 0), said.stderr
    assert not portal.cluster.is_up()
