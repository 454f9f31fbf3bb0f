"""`flask users`: accounts of staff."""

from __future__ import annotations

import click

from portal.accounts import actions
from portal.audit import CLI
from portal.cli._common import DatabaseGroup, now
from portal.db import session

group = DatabaseGroup("users", help="Accounts of staff.")


def _create(email: str, name: str, password: str, role: str) -> None:
    user = actions.create_user(name, email, None, None, password, role, actor=CLI, now=now())
    user.email_verified_at = user.created_at
    session.commit()
    print(f"{role} {user.email} can log in now.")


@group.command("create-admin", help="An account that may do everything.")
@click.argument("email", required=False)
@click.option("--email", "email_option", hidden=True)
@click.option("--name", default="Administrator", show_default=True)
@click.password_option(help="Asked for when it is not given; 12 characters or more.")
def create_admin(email: str | None, email_option: str | None, name: str, password: str) -> None:
    _create(email or email_option or click.prompt("E-mail"), name, password, "admin")


@group.command("create-operator", help="An account for utility staff.")
@click.argument("email", required=False)
@click.option("--email", "email_option", hidden=True)
@click.option("--name", default="Operator", show_default=True)
@click.password_option(help="Asked for when it is not given; 12 characters or more.")
def create_operator(email: str | None, email_option: str | None, name: str, password: str) -> None:
    _create(email or email_option or click.prompt("E-mail"), name, password, "operator")
