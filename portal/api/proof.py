"""The proof of a bill: what its owner takes away, and can check without the portal."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from portal.api.blueprint import Answer, ApiBlueprint
from portal.api.caller import user
from portal.api.ids import find_uuid
from portal.billing import chain, queries
from portal.errors import NotFound
from portal.gates import SIGNED_IN

api = ApiBlueprint("proof", tag="Billing")


class ProofJson(TypedDict):
    """`sha256` is over the canonical JSON of `document`; null on bills from before there were proofs."""

    document: dict[str, Any]
    sha256: str | None


class ProofAnswer(TypedDict):
    """`data` of a proof."""

    proof: ProofJson


@api.get(
    "/billing/invoices/<invoice_id>/proof", gate=SIGNED_IN, answer=ProofAnswer,
    errors={404: ("INVOICE_NOT_FOUND",)}, summary="The proof of one of one's bills",
)  # fmt: skip
def get_proof(invoice_id: str) -> Answer:
    """All that the bill says and was computed from, and its SHA-256; docs/verify_bill.py checks it."""
    found = find_uuid(invoice_id)
    if found is None:
        raise NotFound("There is no bill with this id.", "INVOICE_NOT_FOUND")
    invoice = queries.get_invoice(found, user().user_id)
    proof = chain.write_proof(invoice, queries.list_lines(invoice.invoice_id))
    return Answer({"proof": proof}, f"Proof of bill {invoice.invoice_number}.")
