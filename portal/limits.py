"""Rate limits that hold across workers: one row a limit and caller, counted by one upsert on a connection of its own.

The count is in an unlogged table: a crash forgets it, which is fine, and a count costs no write-ahead log. It is
committed by itself, so that a request that is refused or rolled back has counted all the same. When the database does
not answer, limits let through: the request fails by itself where it needs the database.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass

from flask import current_app, request
from sqlalchemy import Index, Integer, LargeBinary, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, UtcTime, db
from portal.errors import PortalError
from portal.logs import get_logger


class RateCount(Base):
    """How often one caller came in the present window. `count_key` is a hash: no address or e-mail is kept."""

    __tablename__ = "rate_counts"
    __table_args__ = (Index(None, "expires_at"), {"prefixes": ["UNLOGGED"]})

    count_key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    hits: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[UtcTime]


class TooMany(PortalError):
    """Too many tries in a short time. `retry_after` is in seconds."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many tries in a short time. Try again in {retry_after} seconds.")
        self.retry_after = retry_after


_SPEND = text("""
    INSERT INTO rate_counts AS c (count_key, hits, expires_at)
    VALUES (:key, 1, now() + make_interval(secs => :seconds))
    ON CONFLICT (count_key) DO UPDATE SET
        hits = CASE WHEN c.expires_at <= now() THEN 1 ELSE c.hits + 1 END,
        expires_at = CASE WHEN c.expires_at <= now() THEN excluded.expires_at ELSE c.expires_at END
    RETURNING hits, extract(epoch FROM expires_at - now())""")
_GIVE_BACK = text("UPDATE rate_counts SET hits = hits - 1 WHERE count_key = :key AND hits > 0")
_CLEAN = text("DELETE FROM rate_counts WHERE expires_at < now() - interval '1 hour'")


@dataclass(frozen=True, slots=True)
class Limit:
    """`times` in `seconds`, for each address that calls, or for each address and `about` (an e-mail, a key)."""

    name: str
    times: int
    seconds: int

    def spend(self, about: str = "") -> None:
        """Count one. Raises TooMany past the limit; does nothing when limits are switched off."""
        if not current_app.config["RATELIMIT_ENABLED"]:
            return
        key = self._key(about)
        try:
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                hits, left = connection.execute(_SPEND, {"key": key, "seconds": self.seconds}).one()
                # Now and then, by chance of the hash, somebody's first call sweeps what has ended.
                if hits == 1 and key[0] == 0:
                    connection.execute(_CLEAN)
        except SQLAlchemyError as error:
            get_logger().warning("rate_limit_unavailable", limit=self.name, exc_info=error)
            return
        if hits > self.times:
            # What was refused was no try: right passwords, many at once, must not close the door for later ones.
            self.give_back(about)
            raise TooMany(max(1, math.ceil(left)))

    def give_back(self, about: str = "") -> None:
        """Uncount one: a log-in that was right is no try."""
        if not current_app.config["RATELIMIT_ENABLED"]:
            return
        try:
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(_GIVE_BACK, {"key": self._key(about)})
        except SQLAlchemyError as error:
            get_logger().warning("rate_limit_unavailable", limit=self.name, exc_info=error)

    def _key(self, about: str) -> bytes:
        return hashlib.sha256("\n".join((self.name, _address(), about.strip().lower())).encode()).digest()


def _address() -> str:
    """The caller's address; of IPv6 the /64, which is what one household or machine is given."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


# The numbers. Each is for one address; those of the second block are for one address and one account.
REGISTER = Limit("register", 600, 3600)
LOGIN = Limit("login", 200, 300)
CODES = Limit("codes", 60, 3600)
TRIES = Limit("tries", 100, 900)
REFRESH = Limit("refresh", 300, 300)

LOGIN_ACCOUNT = Limit("login-account", 30, 300)
CODES_ACCOUNT = Limit("codes-account", 5, 3600)
TRIES_ACCOUNT = Limit("tries-account", 10, 900)
