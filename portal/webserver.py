"""Makes the database ready, then becomes the web server: one process, because importing the portal takes longest.

`python -m portal.webserver LISTENER NOTE [COMMAND …]`: the handle of a bound socket, the handle of a file for what the
last command prints, and the `flask` commands to run before anything listens ("db upgrade").
"""

import contextlib
import os
import sys
from typing import TextIO

import click
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from portal.supervisor import tell

WORKERS, THREADS = 2, 8


def main(listener: str, note: str, commands: list[str]) -> int:
    """Gives an exit code if the web server cannot start, and otherwise when it ends. Runs in the project's folder."""
    from wsgi import app

    with os.fdopen(int(note), "w") as file:
        for command in commands:
            try:
                # What a command says is progress, but the accounts of the demo: they are told when all is up.
                run(app, command, file if command.startswith("demo") else sys.stderr)
            except click.ClickException as error:
                tell(f"flask {command}: {error.format_message()}")
                return 1
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()  # a connection must not be shared by the forks to come
    from gunicorn.app.wsgiapp import run as run_gunicorn  # type: ignore[import-untyped]

    sys.argv = ["gunicorn", *gunicorn_options(listener)]
    run_gunicorn()
    return 0


def run(app: Flask, command: str, output: TextIO) -> None:
    """Runs a `flask` command in this process. Raises click.ClickException."""
    with contextlib.redirect_stdout(output):
        FlaskGroup(create_app=lambda: app).main(
            args=command.split(), prog_name="flask", standalone_mode=False, obj=ScriptInfo(create_app=lambda: app)
        )


def gunicorn_options(listener: str) -> list[str]:
    """Threads, since a request mostly waits for the database. The app is imported already: the workers are forks."""
    options = {
        "--bind": f"fd://{listener}",
        "--worker-class": "gthread",
        "--workers": os.environ.get("WEB_CONCURRENCY") or str(WORKERS),
        "--threads": str(THREADS),
        "--timeout": "60",
        "--graceful-timeout": "10",
        "--log-level": "warning",
    }
    # Without the control socket in the home folder, through which others could steer it.
    return ["wsgi:app", "--preload", "--no-control-socket", *(word for option in options.items() for word in option)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
