"""The proof of a bill: all that it says and rests on as one JSON, and a SHA-256 over it that holds the one before.

The JSON is canonical: keys sorted, no blanks, ASCII, amounts as text. Whoever has a bill's proof can make its hash
again with nothing but a SHA-256 (docs/verify_bill.py); whoever has all of a customer's sees that none was slipped in.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, text

from portal.billing.models import Invoice, InvoiceLine
from portal.db import session
from portal.money import kwh_str, money_str

CHAIN_LOCK = 7_406_011
FORMAT = "portal-bill-1"


def hold_chain(user_id: uuid.UUID) -> tuple[int, str | None]:
    """(the next place in the customer's chain, the hash before it). Waits while another bill of theirs is made."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:user))"), {"lock": CHAIN_LOCK, "user": str(user_id)}
    )
    place = session.scalar(select(func.max(Invoice.chain_place)).where(Invoice.user_id == user_id)) or 0
    return place + 1, _hash_at(user_id, place)


def _hash_at(user_id: uuid.UUID, place: int) -> str | None:
    return session.scalar(select(Invoice.proof_hash).where(Invoice.user_id == user_id, Invoice.chain_place == place))


def write_document(invoice: Invoice, lines: list[InvoiceLine] | list[dict[str, Any]]) -> dict[str, Any]:
    """All that a bill says and rests on: what its hash is made of. Lines are rows, or the values for them."""
    return {
        "format": FORMAT,
        "invoice_number": invoice.invoice_number,
        "connection": invoice.connection_id,
        "customer": str(invoice.user_id),
        "region": invoice.region,
        "meter_id": invoice.meter_id,
        "cycle_start": invoice.cycle_start.isoformat(),
        "period_start": _instant(invoice.period_start),
        "period_end": _instant(invoice.period_end),
        "consumption_kwh": kwh_str(invoice.total_consumption_kwh),
        "export_kwh": kwh_str(invoice.export_kwh),
        "estimated_kwh": kwh_str(invoice.estimated_kwh),
        "credit_carried_kwh": kwh_str(invoice.credit_carried_kwh),
        "missing_hours": money_str(invoice.missing_hours),
        "base_cost": money_str(invoice.base_cost),
        "surcharges": money_str(invoice.surcharges),
        "tax_amount": money_str(invoice.tax_amount),
        "discounts": money_str(invoice.discounts),
        "total_cost": money_str(invoice.total_cost),
        "carried_in": money_str(invoice.carried_in),
        "rounding": money_str(invoice.rounding),
        "amount_due": money_str(invoice.amount_due),
        "currency": invoice.currency or "INR",
        "tariff": invoice.tariff_code,
        "marks": invoice.marks,
        "due_date": invoice.due_date.isoformat(),
        "issued_at": _instant(invoice.created_at),
        "lines": [_line(line) for line in lines],
        "computed_from": invoice.computed_from,
        "chain_place": invoice.chain_place,
        "previous_sha256": invoice.previous_hash,
    }


def _line(line: InvoiceLine | dict[str, Any]) -> dict[str, Any]:
    of = line.__getitem__ if isinstance(line, dict) else lambda name: getattr(line, name)
    kwh, rate = of("kwh_consumed"), of("rate_per_kwh")
    return {
        "position": of("position"),
        "code": of("code"),
        "category": of("category"),
        "description": of("description"),
        "period_start": _instant(of("period_start")),
        "period_end": _instant(of("period_end")),
        "kwh": None if kwh is None else kwh_str(kwh),
        "rate": None if rate is None else kwh_str(rate),
        "amount": money_str(of("amount")),
    }


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def canonical(document: dict[str, Any]) -> bytes:
    """The document as the bytes that are hashed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def hash_of(document: dict[str, Any]) -> str:
    """SHA-256 of the canonical document, hexadecimal."""
    return hashlib.sha256(canonical(document)).hexdigest()


def check(invoice: Invoice, lines: list[InvoiceLine]) -> list[str]:
    """What is wrong with a bill's hash and its place in the chain; nothing for bills from before there was one."""
    if invoice.proof_hash is None or invoice.chain_place is None:
        return []
    faults = []
    if hash_of(write_document(invoice, lines)) != invoice.proof_hash:
        faults.append("the hash is not that of what the bill says")
    if _hash_at(invoice.user_id, invoice.chain_place - 1) != invoice.previous_hash:
        faults.append("the hash before it is not that of the customer's bill before")
    return faults


def write_proof(invoice: Invoice, lines: list[InvoiceLine]) -> dict[str, Any]:
    """What a customer takes away: the document and its hash."""
    return {"document": write_document(invoice, lines), "sha256": invoice.proof_hash}
