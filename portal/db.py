"""The database: one session, one naming convention for constraints, and the kinds of column.

Areas take `session` and `Base` from here and know nothing of the web framework that holds them.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, MetaData, Numeric
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, scoped_session

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Every model of every area."""

    metadata = MetaData(naming_convention=NAMING)


db = SQLAlchemy(
    model_class=Base,
    disable_autonaming=True,
    session_options={"expire_on_commit": False},
    engine_options={"pool_pre_ping": True},
)
session: scoped_session[Session] = db.session  # type: ignore[assignment]

Money = Annotated[Decimal, mapped_column(Numeric(14, 2))]
"""INR, two decimals."""
Rate = Annotated[Decimal, mapped_column(Numeric(14, 6))]
"""INR per kWh or per cent, as published."""
Kwh = Annotated[Decimal, mapped_column(Numeric(16, 6))]
"""Energy, six decimals: a one-minute interval of a small flat is a few Wh."""
UtcTime = Annotated[datetime, mapped_column(DateTime(timezone=True))]
"""An instant, stored and returned in UTC."""
