"""Valid defaults: a test says only what matters to it. Everything is made by the portal's own actions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from portal.accounts import actions as accounts
from portal.accounts.models import User
from portal.audit import SYSTEM
from portal.config import Config
from portal.db import session
from portal.meters import actions as meters
from portal.meters.pool import Pool

# Noon in India on a day in the middle of a month.
NOW = datetime(2026, 11, 15, 6, 30, tzinfo=UTC)
PASSWORD = "four unrelated words"
_numbers = itertools.count(1)


def make_config(database_url: str, **changes: Any) -> Config:
    """Settings of a development portal with a small range of meters and no limits of rate or power."""
    config = Config(
        env="development",
        secret_key="a secret that is only good for tests, nothing else",
        database_url=database_url,
        embedded=False,
        data_dir=Path("/nonexistent"),
        ratelimit_enabled=False,
        # So that a test may say a week's energy in one row; tests/readings/feed.py has the limits of the product.
        reading_max_kw_single=1_000,
        reading_max_kw_three=1_000,
    )
    return replace(config, **changes)


def make_pool(first: int = 1, last: int = 10_000_000, **rules: Any) -> Pool:
    """The range of meters to take from."""
    return Pool(first, last, **rules)


def make_user(**changes: Any) -> User:
    """A customer of Pune-West without a meter; `role="admin"` and so on for others. Flushed, not committed."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "name": f"Customer {number}",
        "email": f"customer{number}@example.com",
        "phone": None,
        "region": "Pune-West",
        "password": PASSWORD,
        "actor": SYSTEM,
        "now": NOW - timedelta(days=1) + timedelta(seconds=number),  # one after the other, the day before
    } | changes
    if values.get("role", "user") != "user":
        values["region"] = changes.get("region")
    user = accounts.create_user(**values)
    session.flush()
    return user


def make_holder(
    *, meter_id: str | None = None, since: datetime = NOW, pool: Pool | None = None, **changes: Any
) -> User:
    """A customer who holds a meter since `since`."""
    user = make_user(**({"now": since} | changes))
    meters.assign(user.user_id, pool or make_pool(), meter_id, how="registration", actor=SYSTEM, now=since)
    return user
