"""Regions, users, and what proves that somebody is one of them."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, UtcTime

ROLES = ("user", "operator", "admin")


class Region(Base):
    """Where a meter stands. `timezone` is an IANA name: local days are counted in it."""

    __tablename__ = "regions"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    timezone: Mapped[str] = mapped_column(String(60), server_default="Asia/Kolkata")


class User(Base):
    """A customer (`user`) or a member of staff. `meter_id` is today's open assignment, held to it by a trigger."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'operator', 'admin')", name="role"),
        CheckConstraint("meter_id IS NULL OR role = 'user'", name="staff_hold_no_meter"),
        CheckConstraint("meter_id IS NULL OR closed_at IS NULL", name="closed_holds_no_meter"),
        Index("uq_users_email", text("lower(email)"), unique=True),
        # The clerk's list: customers who wait for a meter, longest first.
        Index(
            "ix_users_waiting",
            "created_at",
            "user_id",
            postgresql_where=text("meter_id IS NULL AND role = 'user' AND closed_at IS NULL"),
        ),
        # Counted where a cap is set on the meters of accounts with an unproven address.
        Index(
            "ix_users_unverified_holders",
            "user_id",
            postgresql_where=text("meter_id IS NOT NULL AND email_verified_at IS NULL"),
        ),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(100))
    phone: Mapped[str | None] = mapped_column(String(16))
    role: Mapped[str] = mapped_column(String(10), server_default="user")
    region: Mapped[str | None] = mapped_column(String(100), ForeignKey(Region.name), index=True)
    meter_id: Mapped[str | None] = mapped_column(String(50), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(200))
    email_verified_at: Mapped[UtcTime | None]
    suspended_at: Mapped[UtcTime | None]
    # Said to the person after the right password, so it is written for them.
    suspended_reason: Mapped[str | None] = mapped_column(String(300))
    closed_at: Mapped[UtcTime | None]
    created_at: Mapped[UtcTime]


class LogIn(Base):
    """One log-in, of a browser or of a program (then its tokens are the family `login_id`). It ends as a whole.

    `confirmed_at` is when the password was last given: what needs a fresh log-in asks for it.
    """

    __tablename__ = "log_ins"
    __table_args__ = (
        CheckConstraint("kind IN ('browser', 'program')", name="kind"),
        Index("ix_log_ins_open", "user_id", postgresql_where=text("ended_at IS NULL")),
    )

    login_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id, ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(10))
    agent: Mapped[str] = mapped_column(String(200), server_default="")
    address: Mapped[str | None] = mapped_column(String(45))
    created_at: Mapped[UtcTime]
    confirmed_at: Mapped[UtcTime]
    expires_at: Mapped[UtcTime]
    ended_at: Mapped[UtcTime | None]


class UserWords(Base):
    """What a user is found by, in lower case: e-mail and name. A trigger on `users` keeps it.

    Beside `users`, whose every assignment would otherwise write the trigrams of a name again.
    """

    __tablename__ = "user_words"
    __table_args__ = (
        Index("ix_user_words_newest", "created_at", "user_id"),
        Index("ix_user_words_staff", "role", "created_at", "user_id", postgresql_where=text("role <> 'user'")),
        Index(
            "ix_user_words_words",
            "words",
            postgresql_using="gin",
            postgresql_ops={"words": "gin_trgm_ops"},
            postgresql_with={"gin_pending_list_limit": "65536"},
        ),
        # Names in a script whose vowel signs pg_trgm passes over.
        Index(
            "ix_user_words_scripts",
            text("word_trigrams(words)"),
            postgresql_using="gin",
            postgresql_where=text("octet_length(words) > length(words)"),
        ),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id, ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[UtcTime]
    role: Mapped[str] = mapped_column(String(10))
    words: Mapped[str] = mapped_column(String(400))


class Token(Base):
    """An access or refresh token, kept as its SHA-256. One log-in is one family: it ends as a whole."""

    __tablename__ = "tokens"
    __table_args__ = (CheckConstraint("kind IN ('access', 'refresh')", name="kind"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    family_id: Mapped[uuid.UUID] = mapped_column(index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id, ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[UtcTime]
    expires_at: Mapped[UtcTime]
    used_at: Mapped[UtcTime | None]
    revoked_at: Mapped[UtcTime | None]


class Code(Base):
    """A six-digit code sent by mail, or the single-use token that it earns; only a keyed hash is kept."""

    __tablename__ = "codes"
    __table_args__ = (CheckConstraint("purpose IN ('verify', 'reset', 'set_password')", name="purpose"),)

    code_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.user_id, ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(String(15))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0", default=0)
    created_at: Mapped[UtcTime]
    expires_at: Mapped[UtcTime]
    used_at: Mapped[UtcTime | None]


class ApiKey(Base):
    """A program's key, kept as its SHA-256 and shown once. `scope` is what it opens: ingest.

    `meter_key` where it is for that meter alone. `last_used_at` is right to within five minutes (`note_use`).
    """

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint("scope IN ('ingest')", name="scope"),)

    key_id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scope: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[UtcTime]
    revoked_at: Mapped[UtcTime | None]
    meter_key: Mapped[int | None]
    last_used_at: Mapped[UtcTime | None]
