"""One embedded PostgreSQL server: started by whoever needs it first, stopped by whoever leaves it last."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg

from portal.embedded.places import (
    EmbeddedError,
    Places,
    find_places,
    make_folder,
    make_private_folder,
    make_shared_folder,
    no_room,
)
from portal.embedded.server import Server, State, default_settings

LOCK_SECONDS = 180  # more than anyone holds the lock: an initdb, and a start with recovery


class Cluster:
    """The server of one PORTAL_DATA. Making the object starts nothing; use `locate`."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._server = Server(places)
        self._users: int | None = None  # handle of the folder that every user holds a shared lock on

    @property
    def url(self) -> str:
        """The address for SQLAlchemy; whether something answers there is another question."""
        return self._server.uri("postgresql+psycopg")

    def is_up(self) -> bool:
        """Whether it answers a connection."""
        return self._server.probe() is State.UP

    def start(self, settings: Mapping[str, str] | None = None) -> bool:
        """Starts the server unless it runs, and counts us among its users until `stop` or `leave`.

        `settings` (PostgreSQL's names) go over ours, if it is we who start it. Returns whether we did. Raises
        EmbeddedError.
        """
        with _one_line_errors():
            self._make_folders()
            with self._locked():
                self._join()
                try:
                    return self._server.bring_up({**default_settings(), **(settings or {})})
                except BaseException:
                    self._leave()
                    raise

    def stop(self) -> None:
        """Stops the server, whoever uses it. Raises EmbeddedError."""
        self._end(self._server.shut_down)

    def leave(self) -> None:
        """Says that we need it no longer; stops it if nobody else does. Raises EmbeddedError."""
        self._end(self._leave)

    def remove(self) -> None:
        """Stops the server and deletes all data and everything else that was made for it. For tests."""
        self.stop()
        for folder in (self.places.home, self.places.shared, self.places.socket_dir):
            shutil.rmtree(folder, ignore_errors=True)

    def psql(self) -> list[str]:
        """The command that opens the database in psql: the server's own, if it has one."""
        program = self.places.binaries / "psql"
        return [str(program) if program.exists() else "psql", self._server.uri("postgresql")]

    def _make_folders(self) -> None:
        places = self.places
        if places.is_shared and os.geteuid() != 0:
            whose = f"the database of {places.data_dir} is root's, in {places.home}"
            raise EmbeddedError(f"{whose}: run as root, or choose another PORTAL_DATA")
        make_folder(places.data_dir)
        if places.is_shared:
            make_shared_folder(places)
        make_private_folder(places.home, places.account)
        make_private_folder(places.socket_dir, places.account)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time makes, starts or stops this server. The kernel frees the lock of a killed one."""
        lock, flags = self.places.home / "lock", os.O_RDWR | os.O_NOFOLLOW
        try:
            handle = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o600)
            if self.places.account:
                os.fchown(handle, self.places.account.uid, self.places.account.gid)  # theirs, like all beside it
        except FileExistsError:
            handle = os.open(lock, flags)
        try:
            until = time.monotonic() + LOCK_SECONDS
            while not _try_lock(handle):
                if time.monotonic() > until:
                    raise EmbeddedError(f"another process has been starting or stopping the database: see {lock}")
                time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    def _join(self) -> None:
        """The lock is on a folder, which also keeps systemd-tmpfiles out of /var/tmp/portal-… while it is used."""
        if self._users is None:
            folder = self.places.shared if self.places.is_shared else self.places.home
            self._users = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self) -> None:
        try:
            # Ours alone: nobody else uses it, and nobody can join while we hold the lock on starting.
            if self._users is not None and _try_lock(self._users):
                self._server.shut_down()
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def _end(self, act: Callable[[], None]) -> None:
        try:
            with _one_line_errors():
                if (self.places.home / "lock").exists():
                    with self._locked():
                        act()
        finally:
            self._forget()


def locate(data_dir: Path) -> Cluster:
    """The server of this PORTAL_DATA, running or not. Raises EmbeddedError."""
    with _one_line_errors():
        return Cluster(find_places(data_dir))


@contextlib.contextmanager
def running(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Gives the URL of a running server: one that runs, or started for us. The last to leave stops it.

    It does not matter who started it: a command may start it and end while `make run` has come to rely on it, and one
    whose starter was killed is stopped by the next that leaves. Raises EmbeddedError.
    """
    cluster = locate(data_dir)
    cluster.start(settings)
    try:
        yield cluster.url
    finally:
        cluster.leave()


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise no_room(Path(error.filename or "the database")) from error
        raise EmbeddedError(f"{error.filename or 'the database folder'}: {error.strerror or error}") from error
    except psycopg.Error as error:
        raise EmbeddedError(f"the database does not answer as it should: {' '.join(str(error).split())}") from error


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
