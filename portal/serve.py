"""What `make run` runs: the database, its migrations and first data, then the web server, the worker and the simulator.

Nothing listens on the port before the data are ready. One signal ends everything, the database included.
`python -m portal.serve psql` opens the database instead.
"""

import contextlib
import errno
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from portal import embedded
from portal.config import Config, ConfigError
from portal.supervisor import Child, Stopped, Supervisor, tell

ROOT = Path(__file__).parent.parent
OLDEST_POSTGRES = 15
PORT_SECONDS = 2.0  # a portal that was killed a moment ago is still letting go of the port
DATABASE_CHECK = 2.0  # seconds between two looks at the embedded database


class RefusedError(Exception):
    """Why the portal does not start: one line that a person can act on."""


def main(arguments: list[str]) -> int:
    """Runs what is asked for; gives the exit code."""
    try:
        match arguments:
            case []:
                return serve()
            case ["psql", *options]:
                return psql(options)
        raise RefusedError("usage: python -m portal.serve [psql …]")
    except (RefusedError, ConfigError, embedded.EmbeddedError) as error:
        tell(str(error))
        return 1


def serve() -> int:
    """Runs the portal until a signal (0), or until the web server ends by itself (1)."""
    config = read_settings(secret_needed=True)
    demo = not config.production and is_loopback(config.host)
    environ = {
        **os.environ,
        "DATABASE_URL": config.database_url,
        "PORTAL_DATA": str(config.data_dir),
        "HOST": config.host,
        "PORT": str(config.port),
        "FLASK_APP": "wsgi.py",
    }
    supervisor = Supervisor(ROOT, environ)
    supervisor.listen_to_signals()
    cluster = embedded.locate(config.data_dir) if config.embedded else None
    try:
        listener = reserve(config.host, config.port)
        make_data_folder(config)
        if cluster:
            cluster.start()
        check_database(config)
        accounts = start_web_server(supervisor, config, listener, demo=demo)
        supervisor.start("worker", flask("worker"))
        if demo and os.environ.get("SIMULATE", "").lower() not in ("false", "0", "no"):
            supervisor.start("simulator", flask("simulate", "--live"))
        tell(f"ready on {address(config)} (Ctrl-C stops everything)\n{accounts}".rstrip())
        return watch(supervisor, cluster)
    except Stopped:
        return 0
    finally:
        supervisor.stop()
        if cluster:
            cluster.leave()
            if cluster.is_up():
                tell("the database stays up for another command that uses it")


def psql(options: list[str]) -> int:
    """Opens the database, starting it if it is stopped."""
    config = read_settings(secret_needed=False)
    cluster = embedded.locate(config.data_dir)
    program, own = cluster.psql()
    signal.signal(signal.SIGINT, lambda *_: None)  # psql's own affair
    if config.embedded:
        with embedded.running(config.data_dir):
            return subprocess.run([program, own, *options]).returncode
    where = {name: str(value) for name, value in conninfo_to_dict(plain_url(config)).items()}
    password = {"PGPASSWORD": where.pop("password")} if "password" in where else {}  # not for the process list
    return subprocess.run([program, make_conninfo("", **where), *options], env={**os.environ, **password}).returncode


def read_settings(*, secret_needed: bool) -> Config:
    """The settings; outside production a secret that is not there yet is no reason to refuse. Raises ConfigError."""
    environ = dict(os.environ)
    if not secret_needed or environ.get("PORTAL_ENV") != "production":
        environ.setdefault("SECRET_KEY", "")
        environ["SECRET_KEY"] = environ["SECRET_KEY"] or secrets.token_urlsafe(48)
    return Config.from_env(environ)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def reserve(host: str, port: int) -> socket.socket:
    """A socket that holds the port but does not listen yet; gunicorn takes it over. Raises RefusedError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise RefusedError(f"HOST is {host!r}, which is no address of this machine") from None
    family, kind, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    until = time.monotonic() + PORT_SECONDS
    while True:
        holder = socket.socket(family, kind)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections are no hindrance …
            holder.bind(where)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # … but a second one who holds it is
            return holder
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise RefusedError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
            if time.monotonic() > until:
                raise RefusedError(f"port {port} of {host} is taken: stop what uses it, or set PORT") from error
        time.sleep(0.1)


def make_data_folder(config: Config) -> None:
    """Makes PORTAL_DATA and, outside production, the secret that all commands with it share. Raises RefusedError."""
    embedded.make_folder(config.data_dir)
    target = config.data_dir / "secret_key"
    try:
        with tempfile.NamedTemporaryFile("w", dir=config.data_dir, prefix=".secret-") as draft:  # mode 0600
            if os.environ.get("SECRET_KEY") or config.production:
                return
            draft.write(secrets.token_urlsafe(48) + "\n")
            draft.flush()
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, target)  # whole or not at all, and the first of two wins
        if not target.read_text().strip():
            raise RefusedError(f"{target} is empty: delete it, or set SECRET_KEY")
    except OSError as error:
        hint = ". Make room on that disk, then start again" if error.errno == errno.ENOSPC else ""
        raise RefusedError(f"cannot write in PORTAL_DATA, {config.data_dir}: {error.strerror}{hint}") from error


def check_database(config: Config) -> None:
    """Raises RefusedError where the database does not answer or is too old."""
    try:
        with psycopg.connect(plain_url(config), connect_timeout=5) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        raise RefusedError(f"the database of DATABASE_URL does not answer: {' '.join(str(error).split())}") from None
    if version < OLDEST_POSTGRES * 10_000:
        raise RefusedError(f"the database is PostgreSQL {version // 10_000}; {OLDEST_POSTGRES} or newer is needed")


def plain_url(config: Config) -> str:
    """The database's address as libpq reads it."""
    return config.database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def start_web_server(supervisor: Supervisor, config: Config, listener: socket.socket, *, demo: bool) -> str:
    """Has the database made ready and the web server started; gives what the demo says of its accounts.

    Raises RefusedError and Stopped.
    """
    steps = ["db upgrade", "tariffs load", "demo load" if demo else "demo check"]
    tell(f"preparing the database: {', '.join(steps)}")
    with listener, tempfile.TemporaryFile("w+") as note:
        handles = (listener.fileno(), note.fileno())
        command = [sys.executable, "-m", "portal.webserver", *map(str, handles), *steps]
        web = supervisor.start("web server", command, fds=handles, vital=True)
        listener.close()  # or the port would stay open after the web server has ended
        wait_for_answer(supervisor, web, config)
        note.seek(0)
        return note.read()


def flask(*words: str) -> list[str]:
    """A `flask` command of this project."""
    return [sys.executable, "-m", "flask", *words]


def wait_for_answer(supervisor: Supervisor, web: Child, config: Config) -> None:
    """Waits until /healthz answers, however long the first data take. Raises RefusedError and Stopped."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    while web.process is not None and web.process.poll() is None:
        connection = http.client.HTTPConnection(host, config.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        supervisor.pause(0.05)
    raise RefusedError("the database could not be prepared, or the web server not started: see above")


def address(config: Config) -> str:
    """What a person types into the browser."""
    host = "localhost" if is_loopback(config.host) else config.host
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def watch(supervisor: Supervisor, cluster: embedded.Cluster | None) -> int:
    """Keeps everything running, the database too; returns 1 when the web server ends. Raises Stopped."""
    next_check, told = 0.0, ""
    while supervisor.watch():
        supervisor.pause(0.2)
        if cluster and time.monotonic() > next_check:
            try:
                if not cluster.is_up() and cluster.start():
                    tell("the database had ended; it runs again")
                told = ""
            except embedded.EmbeddedError as error:
                if str(error) != told:  # a full disk stays full for a while: once is enough
                    tell(told := str(error))
            next_check = time.monotonic() + DATABASE_CHECK
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
