"""A bill as one printed page."""

from __future__ import annotations

from portal.accounts.queries import get_user
from portal.billing.models import Invoice
from portal.billing.queries import list_lines
from portal.pdf.facts import Issuer, facts_of
from portal.pdf.render import render

__all__ = ["Issuer", "bill_pdf"]


def bill_pdf(invoice: Invoice, issuer: Issuer) -> bytes:
    """The bill as PDF. As long as bill and readings are the same, the bytes are. Whose it is, the caller checked."""
    return render(facts_of(invoice, list_lines(invoice.invoice_id), get_user(invoice.user_id), issuer))
