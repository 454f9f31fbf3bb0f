"""What follows from the entries: the state of a bill, and where money goes. Pure: no session, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from portal.errors import Invalid
from portal.payments.models import METHODS

ZERO = Decimal(0)
MOST = Decimal("99999999.99")
Bill = TypeVar("Bill")


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides the state of a bill that is not cancelled, INR. `disputed` is the part under dispute."""

    amount_due: Decimal
    amount_paid: Decimal
    disputed: Decimal
    is_disputed: bool
    due_date: date

    @property
    def balance(self) -> Decimal:
        """What is still to be settled."""
        return self.amount_due - self.amount_paid

    @property
    def payable(self) -> Decimal:
        """The balance without what is disputed: what may be asked for now."""
        return max(self.balance - self.disputed, ZERO)


def status_of(standing: Standing, today: date) -> str:
    """paid once nothing is left; else disputed while nothing but the disputed part is left or the day is not over."""
    if standing.balance <= 0:
        return "paid"
    late = today > standing.due_date
    if standing.is_disputed and (not late or standing.payable <= 0):
        return "disputed"
    return "overdue" if late else "pending"


@dataclass(frozen=True, slots=True)
class Share(Generic[Bill]):
    """A part of an amount, for one bill; None is the credit on account."""

    bill: Bill | None
    amount: Decimal


def share_out(amount: Decimal, bills: Sequence[tuple[Bill, Decimal]]) -> list[Share[Bill]]:
    """An amount over bills and what each may take, in their order; what is left goes to credit on account."""
    shares: list[Share[Bill]] = []
    for bill, balance in bills:
        part = min(amount, balance)
        if part > 0:
            shares.append(Share(bill, part))
            amount -= part
    return [*shares, Share(None, amount)] if amount > 0 else shares


def check_amount(amount: Decimal, field: str = "amount") -> Decimal:
    """Raises Invalid for what is no amount of money: zero, negative, more than two decimals, too large."""
    if not amount.is_finite() or not ZERO < amount <= MOST:
        raise Invalid.field(field, "Give an amount above 0 and below ten crore rupees.")
    if amount != amount.quantize(Decimal("0.01")):
        raise Invalid.field(field, "Give rupees with at most two decimals.")
    return amount.quantize(Decimal("0.01"))


def check_received(received_at: datetime, earliest: datetime | None, now: datetime, field: str = "paid_at") -> None:
    """Raises Invalid for money from the future, or from more than a year before its bill."""
    if received_at > now:
        raise Invalid.field(field, "Money cannot have been received in the future.")
    if earliest is not None and received_at < earliest - timedelta(days=366):
        raise Invalid.field(field, "That is more than a year before the bill was made.")


def method_of(text: str) -> str:
    """The method as it is kept: one of METHODS where it is one of them, else what was said."""
    said = text.strip()
    return said.lower() if said.lower() in METHODS else said
