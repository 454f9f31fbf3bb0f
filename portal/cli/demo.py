"""`flask demo`: people, readings and bills to try the portal with. Never in production."""

from __future__ import annotations

import click

from portal.cli._common import DatabaseGroup, config, now
from portal.demo import people
from portal.demo.loader import list_open_accounts, load

group = DatabaseGroup("demo", help="Invented people, for trying the portal.")


@group.command("load", help="Bring the demo's accounts, readings and bills; what is there already stays.")
def load_demo() -> None:
    if config().production:
        raise click.ClickException("PORTAL_ENV is production: there are no demo accounts here.")
    load(config(), now())
    print("Demo accounts:")
    for who, email, password in (
        ("admin", people.ADMIN_EMAIL, people.ADMIN_PASSWORD),
        ("operator", people.OPERATOR_EMAIL, people.STAFF_PASSWORD),
        ("customer", people.HOUSEHOLD.email, people.CUSTOMER_PASSWORD),
    ):
        print(f"  {who:<9} {email:<26} {password}")


@group.command("check", help="Refuse a database that holds demo accounts: their passwords are known to everybody.")
def check_demo() -> None:
    found = list_open_accounts()
    if found:
        raise click.ClickException(
            f"this database holds {len(found)} demo accounts ({found[0]} …), whose passwords everybody knows; they are "
            "for a loopback address outside production. Use another DATABASE_URL or PORTAL_DATA."
        )
