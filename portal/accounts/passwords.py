"""Passwords: argon2 (pwdlib), rehashed at log-in when the parameters have grown."""

from __future__ import annotations

from functools import lru_cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

# Tests put a cheap one here; everything else uses pwdlib's recommended cost.
hasher = PasswordHash((Argon2Hasher(),))


def hash_password(password: str) -> str:
    """The argon2 hash to keep."""
    return hasher.hash(password)


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return hasher.hash("a password that nobody has")


def verify(password: str, password_hash: str | None) -> tuple[bool, str | None]:
    """(right, new hash or None). Without a hash it costs the same time and is wrong."""
    right, renewed = hasher.verify_and_update(password, password_hash or _nobodys_hash())
    return right and password_hash is not None, renewed
