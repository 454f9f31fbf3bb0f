"""`flask keys`: what programs show to be let in."""

from __future__ import annotations

import click
from sqlalchemy import select

from portal import audit
from portal.accounts import tokens
from portal.accounts.models import ApiKey
from portal.audit import CLI
from portal.cli._common import DatabaseGroup, now, pool
from portal.db import session
from portal.errors import NotFound
from portal.meters import rules

group = DatabaseGroup("keys", help="Keys of programs.")


@group.command("create", help="A new key. It is printed once, alone on the last line, and never again.")
@click.option("--name", required=True, help="What the key is for, to be told apart later.")
@click.option("--scope", type=click.Choice(tokens.SCOPES), required=True)
@click.option("--meter", "meter", help="Only for readings of this meter, such as MTR-00000013.")
def create(name: str, scope: str, meter: str | None) -> None:
    if not 1 <= len(name.strip()) <= 100:
        raise click.BadParameter("1 to 100 characters", param_hint="--name")
    meter_key = rules.key_in_range(meter, pool().first, pool().last) if meter else None
    plain = tokens.create_key(name, scope, meter_key, actor=CLI, now=now())
    session.commit()
    print(f"A key for {name} with the scope {scope}{f' for {meter}' if meter else ''}. Keep it; it is not shown again.")
    print(plain)


@group.command("list", help="The keys there are, without the keys themselves.")
def list_keys() -> None:
    keys = session.scalars(select(ApiKey).order_by(ApiKey.key_id)).all()
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC" if key.revoked_at else "in force"
        scope = f"{key.scope} for {rules.meter_id(key.meter_key)}" if key.meter_key else key.scope
        used = f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
        print(f"{key.key_id}  {key.name}  {scope}  since {key.created_at:%Y-%m-%d}  {used}  {state}")
    if not keys:
        print("There are no keys yet. `flask keys create` makes one.")


@group.command("revoke", help="End a key at once; its number is in `flask keys list`.")
@click.argument("key_id", type=int)
def revoke(key_id: int) -> None:
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(f"There is no key number {key_id}.")
    key.revoked_at = key.revoked_at or now()
    audit.record("key.revoked", CLI, now(), "api_key", key_id)
    session.commit()
    print(f"The key {key.name} is revoked.")
