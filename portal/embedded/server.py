"""The PostgreSQL programs of one cluster: make it, launch it, ask it, end it. Who may when is `cluster`'s affair."""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import psycopg

from portal.embedded.places import PORT, EmbeddedError, Places, is_private, major_version, no_room
from portal.embedded.processes import clear_lock_file, end_processes, find_processes

NAME = "portal"  # of the database and of its owner
START_SECONDS = 120  # recovery after a kill replays the log since the last checkpoint
# How the server says that the disk is full; in English: initdb fixed lc_messages.
FULL = re.compile(r"No space left on device|wrote only [0-9]+ of [0-9]+ bytes")
OLD_LOG = 10_000_000  # bytes, past which the server's log is put aside at a start
STOP = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))  # "fast", then "immediate" shutdown
END_LEFTOVERS = ((signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0))


class State(Enum):
    """What answers on the socket."""

    UP = "up"
    EMPTY = "up, but without our database"
    BUSY = "starting or stopping"
    DOWN = "down"


class Server:
    """PostgreSQL in the places given. The caller holds the lock, but for `probe` and `uri`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._log = places.home / "server.log"
        self._logged = 0

    def uri(self, scheme: str) -> str:
        """The address of the database, for libpq (`postgresql`) or SQLAlchemy (`postgresql+psycopg`)."""
        return f"{scheme}://{NAME}@:{PORT}/{NAME}?host={quote(str(self._places.socket_dir))}"

    def probe(self) -> State:
        """What answers: a connection is tried, since a pid file, or a process, would prove nothing."""
        socket_dir = self._places.socket_dir
        if not is_private(socket_dir, self._places.account):  # or it might be a server of somebody else
            return State.DOWN
        try:
            psycopg.connect(host=str(socket_dir), port=PORT, user=NAME, dbname=NAME, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            said = str(error)  # in English: initdb fixed lc_messages
            if "does not exist" in said and "FATAL" in said:
                return State.EMPTY
            if "too many clients" in said or "connection slots" in said:
                return State.UP
            return State.BUSY if "FATAL" in said or "timeout" in said else State.DOWN
        return State.UP

    def bring_up(self, settings: Mapping[str, str]) -> bool:
        """Brings it to answer, from whatever state a kill has left it in. Returns whether it had to be launched."""
        if (state := self.probe()) is State.UP:
            return False
        until = time.monotonic() + START_SECONDS
        launched = failed = False
        while state is not State.UP:
            processes = find_processes(self._places.token)
            if state is State.EMPTY:
                self._create_database()
            elif processes.postmaster is None:
                if failed:
                    if FULL.search(self._log_of_this_start()):
                        raise no_room(self._places.home)
                    raise EmbeddedError(f"the database does not start: {self._last_words()}")
                self._make_cluster(durable=settings.get("fsync") != "off")
                end_processes(processes.others, END_LEFTOVERS)
                clear_lock_file(self._places.cluster / "postmaster.pid")
                clear_lock_file(self._places.socket_dir / f".s.PGSQL.{PORT}.lock")
                failed = not self._launch(settings)
                launched = True
            elif time.monotonic() > until:
                number = processes.postmaster
                raise EmbeddedError(f"the database (process {number}) runs but does not answer: see {self._log}")
            else:
                time.sleep(0.05)  # it starts, recovers or stops, perhaps at the word of one that was killed meanwhile
            state = self.probe()
        return launched

    def shut_down(self) -> None:
        """Ends it in order, so that the next start has nothing to recover."""
        processes = find_processes(self._places.token)
        if processes.postmaster is not None and not end_processes((processes.postmaster,), STOP):
            raise EmbeddedError(f"the database (process {processes.postmaster}) does not stop: see {self._log}")
        end_processes(processes.others, END_LEFTOVERS)

    def _make_cluster(self, *, durable: bool) -> None:
        """initdb beside its place, then one rename: killed in between, it leaves nothing that looks like a cluster."""
        home, cluster, version = self._places.home, self._places.cluster, major_version(self._places.binaries)
        for left in home.glob("draft-*"):
            shutil.rmtree(left, ignore_errors=True)
        if cluster.exists():
            _check_version(cluster, version)
            return
        draft = home / f"draft-{secrets.token_hex(4)}"
        locale = ["--locale=C.UTF-8"]
        if version >= 17:  # its own C.UTF-8, which sorts alike on every machine
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        access = [
            "--auth-local=trust",
            "--auth-host=reject",
            f"--username={NAME}",
        ]  # the folder is what keeps others out
        sync = [] if durable else ["--no-sync"]
        made = self._run("initdb", *locale, *access, *sync, "--encoding=UTF8", "--data-checksums", cluster=draft)
        if made.returncode:
            shutil.rmtree(draft, ignore_errors=True)
            if FULL.search(made.stdout):
                raise no_room(home)
            raise EmbeddedError(f"the database cannot be made: {_last_line(made.stdout)}")
        draft.rename(cluster)
        handle = os.open(home, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    def _launch(self, settings: Mapping[str, str]) -> bool:
        places = self._places
        if places.account and places.home.parent == places.shared:
            who = f"The database runs as {places.account.name}, who cannot reach {places.data_dir}"
            sys.stderr.write(f"{who}: it is in {places.home}.\n")
        if self._log.exists() and self._log.stat().st_size > OLD_LOG:
            self._log.rename(self._log.with_suffix(".log.1"))
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        fixed = {
            "cluster_name": places.token,
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{places.socket_dir}"',
            "unix_socket_permissions": "0700",
        }
        words = [word for name, value in {**settings, **fixed}.items() for word in ("-c", f"{name}={value}")]
        # The data folder goes by PGDATA and the log by a relative name: pg_ctl hands -D and -l to a shell unquoted.
        said = self._run("pg_ctl", "start", "-w", "-t", "60", "-l", self._log.name, "-o", shlex.join(words))
        return said.returncode == 0

    def _create_database(self) -> None:
        where = f"host='{self._places.socket_dir}' port={PORT} user={NAME} dbname=postgres"
        with (
            contextlib.suppress(psycopg.errors.DuplicateDatabase),
            psycopg.connect(where, autocommit=True) as connection,
        ):
            connection.execute("CREATE DATABASE portal")

    def _run(self, program: str, *arguments: str, cluster: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a program of the server as its account, in a session of its own, so that Ctrl-C is not its affair."""
        account = self._places.account
        inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.run(
            [str(self._places.binaries / program), *arguments],
            env={**inherited, "LC_ALL": "C", "PGDATA": str(cluster or self._places.cluster)},  # and no secret of ours
            cwd=self._places.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
            start_new_session=True,
        )

    def _log_of_this_start(self) -> str:
        """What the server wrote since it was launched; on a full disk perhaps nothing, which says the same."""
        try:
            if os.statvfs(self._places.home).f_bavail == 0:
                return "No space left on device"
            return self._log.read_bytes()[self._logged :].decode(errors="replace")
        except OSError:
            return ""

    def _last_words(self) -> str:
        try:
            return f"{_last_line(self._log.read_text(errors='replace')[-4000:])} (see {self._log})"
        except OSError:
            return f"it wrote no log in {self._places.home}"


def default_settings() -> dict[str, str]:
    """Settings for one machine that has other things to do, too. Durable: fsync and its kin stay on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20  # MB
    return {
        "shared_buffers": f"{min(max(memory // 8, 64), 512)}MB",
        "effective_cache_size": f"{max(memory // 2, 256)}MB",
        "max_connections": "200",
        "max_locks_per_transaction": "256",  # a statement over a partitioned table locks every partition
        "max_wal_size": "2GB",
        "random_page_cost": "1.1",
        "jit": "off",  # it costs the short statements of a portal more than it gains
        "timezone": "UTC",
        "log_timezone": "UTC",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    }


def _check_version(cluster: Path, version: int) -> None:
    try:
        theirs = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedError(f"{cluster} is not the data of a PostgreSQL: it has no PG_VERSION") from None
    if theirs != str(version):
        raise EmbeddedError(
            f"the data in {cluster} are of PostgreSQL {theirs or 'nothing'}, but {version} is installed: "
            "dump and load them, or choose another PORTAL_DATA"
        )


def _last_line(text: str) -> str:
    """What a program complained of: its last line that is an error, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in reversed(lines) if "FATAL" in line or "error:" in line), lines[-1])
