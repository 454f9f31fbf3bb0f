"""Typed settings. They come from the environment once, at the start; `docs/deploy.md` lists all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portal import embedded

MIN_SECRET_LENGTH = 32
MAX_METER_NUMBER = 99_999_999


class ConfigError(Exception):
    """A setting that cannot be used. The message is one line that says what to set."""


@dataclass(frozen=True, slots=True)
class Config:
    """The portal's settings.

    `meter_first` and `meter_last` bound the range of meter numbers, both included. `quarantine_days` is how long a
    meter that comes back rests; `unverified_meter_cap` how many meters accounts with an unproven address hold at most.
    `database_url` is an SQLAlchemy address for psycopg 3; `embedded` says that it is the server in `data_dir`.
    """

    env: str
    secret_key: str
    database_url: str
    embedded: bool
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 3000
    utility_name: str = "Sahyadri Vidyut"
    utility_address: str = ""
    utility_gstin: str = ""
    ratelimit_enabled: bool = True
    meter_first: int = 1
    meter_last: int = 10_000_000
    quarantine_days: int = 0
    unverified_meter_cap: int | None = None
    bill_due_days: int = 21
    bill_hold_percent: int = 20
    bill_approval_by_other: bool = False
    reading_max_ahead_seconds: int = 300
    reading_max_kw_single: int = 50
    reading_max_kw_three: int = 500
    access_token_seconds: int = 3600
    trusted_proxies: int = 0

    @property
    def production(self) -> bool:
        """True in the strict mode."""
        return self.env == "production"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Settings from the environment. Raises ConfigError with one clear line."""
        env = dict(os.environ if environ is None else environ)
        mode = env.get("PORTAL_ENV", "development")
        if mode not in ("development", "production"):
            raise ConfigError(f"PORTAL_ENV is {mode!r}; use development or production.")
        data_dir = Path(env.get("PORTAL_DATA") or "instance").resolve()
        url = env.get("DATABASE_URL", "")
        first = _whole(env, "METER_FIRST", 1, 1, MAX_METER_NUMBER)
        last = _whole(env, "METER_LAST", 10_000_000, 1, MAX_METER_NUMBER)
        if last < first:
            raise ConfigError("METER_LAST is below METER_FIRST; the range of meters is empty.")
        return cls(
            env=mode,
            secret_key=_secret(env, data_dir, production=mode == "production"),
            database_url=_psycopg_url(url) if url else embedded.locate(data_dir).url,
            embedded=not url,
            data_dir=data_dir,
            host=env.get("HOST") or "127.0.0.1",
            port=_whole(env, "PORT", 3000, 1, 65535),
            utility_name=env.get("UTILITY_NAME", "").strip() or "Sahyadri Vidyut",
            utility_address=env.get("UTILITY_ADDRESS", "").strip(),
            utility_gstin=env.get("UTILITY_GSTIN", "").strip(),
            ratelimit_enabled=_switch(env, "RATELIMIT_ENABLED", default=True),
            meter_first=first,
            meter_last=last,
            quarantine_days=_whole(env, "QUARANTINE_DAYS", 30 if mode == "production" else 0, 0, 3650),
            unverified_meter_cap=(
                _whole(env, "UNVERIFIED_METER_CAP", 0, 0, MAX_METER_NUMBER) if env.get("UNVERIFIED_METER_CAP") else None
            ),
            bill_hold_percent=_whole(env, "BILL_HOLD_PERCENT", 20, 0, 100),
            bill_approval_by_other=_switch(env, "BILL_APPROVAL_BY_OTHER", default=False),
            bill_due_days=_whole(env, "BILL_DUE_DAYS", 21, 1, 365),
            reading_max_ahead_seconds=_whole(env, "READING_MAX_AHEAD_SECONDS", 300, 0, 86_400),
            reading_max_kw_single=_whole(env, "READING_MAX_KW_SINGLE", 50, 1, 1_000),
            reading_max_kw_three=_whole(env, "READING_MAX_KW_THREE", 500, 1, 1_000),
            access_token_seconds=_whole(env, "ACCESS_TOKEN_SECONDS", 3600, 60, 86_400),
            trusted_proxies=_whole(env, "TRUSTED_PROXIES", 0, 0, 10),
        )


def _psycopg_url(url: str) -> str:
    """Any usual PostgreSQL address, told to use psycopg 3."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    if not url.startswith("postgresql+psycopg://"):
        raise ConfigError("DATABASE_URL must begin with postgresql://; no other database is supported.")
    return url


def _secret(env: Mapping[str, str], data_dir: Path, *, production: bool) -> str:
    """SECRET_KEY, or outside production the one that `make run` wrote into PORTAL_DATA. Never made up here."""
    secret = env.get("SECRET_KEY", "")
    if not secret and not production:
        try:
            secret = (data_dir / "secret_key").read_text().strip()
        except OSError:
            raise ConfigError(
                f"No SECRET_KEY is set and {data_dir} holds none: run `make run` once, or set SECRET_KEY."
            ) from None
    if production and len(secret) < MIN_SECRET_LENGTH:
        raise ConfigError(f"SECRET_KEY must have at least {MIN_SECRET_LENGTH} characters in production.")
    return secret


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ConfigError(f"{name} is {text!r}; use a whole number from {low} to {high}.")
    return int(text)


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise ConfigError(f"{name} is {text!r}; use true or false.")
    return text in ("true", "1", "yes")
