"""The proof of a bill as a file, for docs/verify_bill.py."""

from __future__ import annotations

import json
import uuid

from flask import Response
from flask_login import current_user

from portal.billing import chain, queries
from portal.gates import CUSTOMER, gate
from portal.web.customer import customer


@customer.get("/bills/<uuid:invoice_id>/proof.json")
@gate(CUSTOMER)
def bill_proof(invoice_id: uuid.UUID) -> Response:
    """All that one's bill says and rests on, with its hash; a foreign bill is as if it did not exist."""
    invoice = queries.get_invoice(invoice_id, current_user.user_id)
    proof = chain.write_proof(invoice, queries.list_lines(invoice_id))
    response = Response(json.dumps(proof, indent=1), mimetype="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="proof-{invoice.invoice_number}.json"'
    return response
