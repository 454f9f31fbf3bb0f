"""`flask tariffs`: load the published tariffs, list them, price bills."""

from __future__ import annotations

import json
from typing import IO, Any

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
@click.option("--cases", "file", type=click.File("r", encoding="utf-8"), required=True, help="A file, or - for stdin.")
def price(file: IO[str]) -> None:
    """Price the bills of a JSON list of {id, tariff, inputs}.

    Prints a JSON list of {id, total, payable, lines}, or {id, error} for what cannot be priced, and nothing else.
    """
    try:
        cases: Any = json.load(file, parse_float=str)
    except RecursionError:
        raise click.ClickException("The file nests too deeply.") from None
    except ValueError as error:
        raise click.ClickException(f"The file is not JSON: {error}") from None
    if not isinstance(cases, list):
        raise click.ClickException("The file must hold a JSON list of cases.")
    click.echo(json.dumps([price_case(case) for case in cases], ensure_ascii=False, indent=1))
