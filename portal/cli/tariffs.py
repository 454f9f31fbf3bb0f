"""`flask tariffs`: load the published tariffs, list them, price bills."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import click
from flask.cli import AppGroup

from portal.cli._common import DatabaseCommand, now
from portal.db import session
from portal.tariffs import actions, queries
from portal.tariffs.cases import price_case

group = AppGroup("tariffs", help="What electricity costs.")


@group.command("load", cls=DatabaseCommand, help="Add the tariffs that come with the project. Safe to run again.")
def load() -> None:
    loaded = actions.load_published(now())
    session.commit()
    print(f"{loaded.added} versions added, {loaded.unchanged} there already.")
    for version in loaded.differing:
        print(f"{version}: the file differs from what is in the database, which is kept. Add a new version instead.")


@group.command("list", cls=DatabaseCommand, help="Every tariff and its versions.")
def list_tariffs() -> None:
    for tariff, versions in queries.list_tariffs():
        print(f"{tariff.code}: {tariff.name}, {tariff.utility}{' (ILLUSTRATIVE)' if tariff.illustrative else ''}")
        for version in versions:
            print(f"  {version.version_id}: from {version.valid_from} until {version.valid_until or 'further notice'}")


@group.command("price")
@click.option("--cases", "file", required=True, help="A file, or - for stdin.")
def price(file: str) -> None:
    """Price the bills of a JSON list of {id, tariff, inputs}.

    Prints a JSON list of {id, total, payable, lines}, or {id, error} for what cannot be priced, and nothing else.
    A file that cannot be read is one line and exit code 2.
    """
    try:
        with click.open_file(file, encoding="utf-8-sig") as opened:
            cases: Any = json.load(opened, parse_float=Written, parse_int=_whole)
    except OSError as error:
        _refuse(f"{file} cannot be read: {error.strerror}.")
    except RecursionError:
        _refuse("The file nests too deeply.")
    except ValueError as error:
        _refuse(f"The file is not JSON: {error}")
    if not isinstance(cases, list):
        _refuse("The file must hold a JSON list of cases.")
    # ASCII: an id with half a surrogate, or a terminal that is not UTF-8, must not end the output in the middle.
    click.echo(json.dumps([price_case(case) for case in cases], indent=1))


class Written(float):
    """A number of a file that is told as it was written: 0.1 is 0.1, not the nearest binary fraction."""

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, text)
        number._text = text
        return number

    _text: str

    def __str__(self) -> str:
        return self._text


def _whole(text: str) -> int | Written:
    """A whole number; one too long for Python's own limit is still a number, and refused as too large."""
    return int(text) if len(text) < 1000 else Written(text)


def _refuse(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    raise SystemExit(2)
