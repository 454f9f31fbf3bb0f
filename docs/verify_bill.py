#!/usr/bin/env python3
"""Check the proof of an electricity bill. Needs Python 3 and nothing else; runs where no portal is.

    python3 verify_bill.py proof.json [proof-of-the-month-before.json …]

A proof is the file that a bill's page gives. Checked are: the hash is that of all that the bill says; each line with a
quantity and a rate is their product; the lines come to the sums and the total; the meters' energy comes to the bill's;
total, what was carried and the rounding come to what is due; the hash of the bill before, where its proof is given too.
Lines that a tariff rounds together may each differ by a paisa; together they may not by more than one.
Ends with 0 if all holds, 1 if something does not, 2 if a file cannot be read.
"""

import hashlib
import json
import sys
from decimal import ROUND_HALF_UP, Decimal

PAISA = Decimal("0.01")


def paisa(amount):
    """Two decimals, half up."""
    return amount.quantize(PAISA, rounding=ROUND_HALF_UP)


def hash_of(document):
    """SHA-256 over the document: keys sorted, no blanks, ASCII."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check(proof):
    """Yield (holds, what) for everything that can be checked in one proof."""
    bill = proof["document"]
    yield hash_of(bill) == proof["sha256"], "the hash is that of what the bill says: " + str(proof["sha256"])
    lines = bill["lines"]
    exact_sum = amount_sum = Decimal(0)
    for line in lines:
        amount = Decimal(line["amount"])
        if line["kwh"] is None or line["rate"] is None:
            continue
        exact = Decimal(line["kwh"]) * Decimal(line["rate"])
        if line["category"] == "discount" and exact > 0:
            exact = -exact
        exact_sum, amount_sum = exact_sum + exact, amount_sum + amount
        what = "{}: {} kWh x {} = {}".format(line["description"], line["kwh"], line["rate"], line["amount"])
        yield abs(exact - amount) <= PAISA, what
    rounded = PAISA * max(1, len(lines))
    yield abs(exact_sum - amount_sum) <= rounded, "the priced lines together are quantity x rate: " + str(amount_sum)
    total = sum((Decimal(line["amount"]) for line in lines), Decimal(0))
    yield total == Decimal(bill["total_cost"]), "the lines come to the total: " + bill["total_cost"]
    for category, name, sign in (
        ("base", "base_cost", 1),
        ("surcharge", "surcharges", 1),
        ("tax", "tax_amount", 1),
        ("discount", "discounts", -1),
    ):
        part = sum((Decimal(line["amount"]) for line in lines if line["category"] == category), Decimal(0)) * sign
        yield part == Decimal(bill[name]), "its lines come to {}: {}".format(name.replace("_", " "), bill[name])
    metered = sum((Decimal(meter["import_kwh"]) for meter in bill["computed_from"]["meters"]), Decimal(0))
    yield metered == Decimal(bill["consumption_kwh"]), "the meters come to {} kWh".format(bill["consumption_kwh"])
    due = total + Decimal(bill["carried_in"]) + Decimal(bill["rounding"])
    yield due == Decimal(bill["amount_due"]), "total, carried and rounding come to what is due: " + bill["amount_due"]
    step = Decimal(bill["computed_from"]["payable_step"])
    yield due % step == 0 and abs(Decimal(bill["rounding"])) * 2 <= step, f"it is rounded to {step} rupees"


def check_chain(proofs):
    """Yield (holds, what) for proofs of one customer that follow each other."""
    by_place = {(p["document"]["customer"], p["document"]["chain_place"]): p for p in proofs}
    for (customer, place), proof in sorted(by_place.items()):
        before = by_place.get((customer, place - 1))
        if before is not None:
            holds = proof["document"]["previous_sha256"] == before["sha256"]
            names = proof["document"]["invoice_number"], before["document"]["invoice_number"]
            yield holds, "{} follows {}".format(*names)


def main(paths):
    """Check all files; the exit code."""
    proofs, wrong = [], 0
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                proof = json.load(file)
            results = list(check(proof))
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            print(f"{path}: not a proof that can be read ({error})", file=sys.stderr)
            return 2
        proofs.append(proof)
        print("Bill {}, {} to pay".format(proof["document"]["invoice_number"], proof["document"]["amount_due"]))
        for holds, what in results:
            wrong += not holds
            print("  {}  {}".format("ok   " if holds else "WRONG", what))
    for holds, what in check_chain(proofs):
        wrong += not holds
        print("{}  {}".format("ok   " if holds else "WRONG", what))
    print("All of it holds." if not wrong else f"{wrong} of it does not hold.")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__)
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))
