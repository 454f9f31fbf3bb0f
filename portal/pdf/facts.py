"""What stands on the page of a bill: every figure from the bill as issued, and the use under it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from portal.accounts.models import User
from portal.accounts.queries import zone_of
from portal.billing.drafting import MeterUse
from portal.billing.models import Invoice, InvoiceLine
from portal.billing.workings import Working, workings_of
from portal.money import money_str
from portal.pdf import words
from portal.pdf.render import code_of
from portal.periods import Period, local_date
from portal.readings import queries as readings
from portal.tariffs.queries import get_tariff

ZERO = Decimal(0)
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 10_000, 100_000)

# What the charges of the loaded tariffs are called in Hindi; one that is not here has its English name only.
HINDI = {
    "energy": "ऊर्जा शुल्क",
    "fixed": "स्थिर शुल्क",
    "customer": "ग्राहक शुल्क",
    "wheeling": "वहन शुल्क",
    "fac": "ईंधन समायोजन",
    "fca": "ईंधन समायोजन",
    "fppca": "ईंधन समायोजन",
    "ppac_energy": "ईंधन समायोजन",
    "ppac_fixed": "ईंधन समायोजन",
    "duty": "विद्युत शुल्क",
    "tax": "विद्युत कर",
    "surcharge": "अधिभार",
    "pension": "पेंशन अधिभार",
    "pg": "पेंशन अधिभार",
    "subsidy": "अनुदान",
    "gruha_jyothi": "अनुदान",
    "digital_discount": "छूट",
    "tod": "समय अनुसार दर",
    "minimum": "न्यूनतम शुल्क",
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who supplies: name, postal address and tax number as set in the configuration."""

    name: str
    address: str = ""
    gstin: str = ""


def facts_of(invoice: Invoice, lines: list[InvoiceLine], user: User, issuer: Issuer) -> dict[str, Any]:
    """Everything that the template shows, as texts."""
    zone = zone_of(invoice.region)
    place = f", {invoice.region}" if invoice.region else ""
    return {
        "title": "Bill of Supply",
        "title_hindi": "आपूर्ति का बिल",
        "exempt": "Electricity (HSN 2716), exempt from GST",
        "number": invoice.invoice_number,
        "issuer": {
            "name": words.breakable(issuer.name),
            "lines": [line for line in (issuer.address, f"GSTIN {issuer.gstin}" if issuer.gstin else "") if line],
        },
        "customer": {
            "name": words.breakable(user.name),
            "lines": [words.breakable(user.email), *([invoice.region] if invoice.region else [])],
        },
        "facts": [
            _fact("Bill number", "बिल क्रमांक", invoice.invoice_number),
            _fact("Issued", "दिनांक", words.day(local_date(invoice.created_at, zone))),
            _fact("Bill period", "बिल अवधि", words.period(invoice.period_start, invoice.period_end, zone)),
            _fact("Meter", "मीटर", invoice.meter_id + place),
            _fact("Tariff", "दर", get_tariff(invoice.tariff_code).name),
        ],
        "figures": [
            _fact("Amount due", "देय राशि", words.money(invoice.amount_due)),
            _fact("Pay by", "देय तिथि", words.day(invoice.due_date) if invoice.amount_due > 0 else "Nothing to pay"),
            _fact("Used", "खपत", words.kwh(invoice.total_consumption_kwh)),
        ],
        "readings": [_reading(used, zone) for used in _meters(invoice)],
        "lines": _lines(invoice, lines, zone),
        "due": words.money(invoice.amount_due),
        "words": words.in_words(invoice.amount_due),
        "notes": _notes(invoice),
        "chart": _chart(invoice, zone),
        **_foot(invoice, zone),
    }


def _fact(english: str, hindi: str, value: str) -> dict[str, str]:
    return {"en": english, "hi": hindi, "value": value}


def _meters(invoice: Invoice) -> list[MeterUse]:
    return msgspec.convert(invoice.computed_from["meters"], list[MeterUse])


def _reading(used: MeterUse, zone: ZoneInfo) -> dict[str, str]:
    return {
        "meter": used.meter_id,
        "start": words.moment(used.start, zone),
        "end": words.moment(used.end, zone),
        "used": words.kwh(used.import_kwh),
        "estimated": words.kwh(used.estimated_kwh) if used.estimated_kwh else "none",
    }


def _lines(invoice: Invoice, lines: list[InvoiceLine], zone: ZoneInfo) -> list[dict[str, Any]]:
    """The lines as issued, then what leads from their total to the amount due."""
    whole = (invoice.period_start, invoice.period_end)
    told = workings_of(invoice, lines)
    shown = []
    for line in lines:
        quantity, price = _working(line, told.get(line.position))
        part = (line.period_start, line.period_end) != whole
        days = words.period(line.period_start, line.period_end, zone) if part else ""
        name = re.sub(r"(?<=\d)-(?=\d)", words.EN_DASH, line.description)
        shown.append(_line(name, HINDI.get(line.code, ""), quantity, price, line.amount, days=days))
    if invoice.carried_in or invoice.rounding:
        shown.append(_line("This bill", "कुल", "", "", invoice.total_cost, strong=True))
    if invoice.carried_in:
        shown.append(_line("Carried from earlier roundings", "पिछला पूर्णांकन", "", "", invoice.carried_in))
    if invoice.rounding:
        before = words.money(invoice.total_cost + invoice.carried_in)
        shown.append(_line("Rounded", "पूर्णांकन", f"from {before}", "", invoice.rounding))
    if shown:
        shown[-1]["last"] = True
    return shown


def _line(
    what: str, hindi: str, quantity: str, price: str, amount: Decimal, *, days: str = "", strong: bool = False
) -> dict[str, Any]:
    return {
        "what": what,
        "hi": hindi,
        "days": days,
        "quantity": quantity,
        "rate": price,
        "amount": words.money(amount),
        "strong": strong,
        "last": False,
    }


def _working(line: InvoiceLine, told: Working | None) -> tuple[str, str]:
    """(quantity, × rate) of a line, where it has them."""
    if line.kwh_consumed is not None and line.rate_per_kwh is not None:
        return words.kwh(line.kwh_consumed), f"× {words.rate(line.rate_per_kwh)}"
    if told is None:
        return "", ""
    if told.percent is not None:
        return words.money(told.of), f"× {told.percent.normalize():f} %"
    return "1 month", f"× {words.money(told.of)}"


def _notes(invoice: Invoice) -> list[str]:
    return [mark["text"] for mark in invoice.marks][:4]


def _foot(invoice: Invoice, zone: ZoneInfo) -> dict[str, Any]:
    digest = str(getattr(invoice, "proof_hash", None) or "")
    content = f"{invoice.invoice_number}\n{invoice.currency} {money_str(invoice.amount_due)}"
    check = ["The code carries the bill's number and its total."]
    if digest:
        content += f"\nSHA-256 {digest}"
        check = ["The code carries number, total and this sum over all it rests on:"]
        check += [" ".join(digest[at : at + 8] for at in range(start, start + 32, 8)) for start in (0, 32)]
    check.append("Every line can be followed to its readings in the portal, under Bills.")
    if invoice.amount_due > 0:
        until = words.day(invoice.due_date)
        pay = [f"By UPI, bank or at any counter, until {until}.", "Name the bill number."]
    else:
        pay = ["Nothing is to be paid. What is left goes to your account."]
    return {
        "code": code_of(content),
        "check": check,
        "pay": pay,
        "wrong": ["Dispute the bill or single lines on its page in the portal, free of charge, or call 1912."],
        "foot": "Power cut or danger: 1912, day and night. Made by computer, valid without a signature.",
    }


def _chart(invoice: Invoice, zone: ZoneInfo) -> dict[str, Any] | None:
    """Use each day, as shares of the axis; None where the readings no longer give what was billed, or there is none."""
    days: dict[date, tuple[Decimal, Decimal, bool]] = {}
    for used in _meters(invoice):
        for row in readings.list_daily(used.meter_key, Period(used.start, used.end), zone):
            kwh, estimated, missing = days.get(row.day, (ZERO, ZERO, False))
            gap = row.expected_seconds - row.covered_seconds > 60
            days[row.day] = (kwh + row.import_kwh, estimated + row.estimated_kwh, missing or gap)
    billed = sum((used.import_kwh for used in _meters(invoice)), ZERO)
    if not billed or sum((kwh for kwh, _, _ in days.values()), ZERO) != billed:
        return None
    top, step = _axis(max(kwh for kwh, _, _ in days.values()))
    first = min(days)
    solid: list[dict[str, float]] = []
    hatched: list[dict[str, float]] = []
    dotted: list[dict[str, float]] = []
    for day, (kwh, estimated, gap) in days.items():
        at = (day - first).days
        measured = max(kwh - estimated, ZERO)
        if measured:
            solid.append(_bar(at, ZERO, measured / top))
        if estimated:
            hatched.append(_bar(at, measured / top, kwh / top))
        if gap:
            dotted.append(_bar(at, kwh / top, min(kwh / top + Decimal("0.1"), Decimal(1))))
    count = (max(days) - first).days + 1
    every = 5 if count <= 31 else 10
    legend = ["Solid: measured."]
    if hatched:
        legend.append("Hatched: estimated.")
    if dotted:
        legend.append("Dotted: time without readings.")
    marks, at_kwh = [], ZERO
    while at_kwh <= top:
        text = words.number(at_kwh, 1 if step % 1 else 0).removesuffix(".")
        marks.append({"at": float(at_kwh / top), "text": f"{text} kWh" if at_kwh + step > top else text})
        at_kwh += step
    ticks = []
    for at in range(count):
        day = first + timedelta(days=at)
        if at == 0 or (day.day % every == 0 and count - at > 2) or at == count - 1:
            ticks.append({"at": at, "text": str(day.day)})
    return {
        "days": count,
        "solid": solid,
        "estimated": hatched,
        "missing": dotted,
        "ticks": ticks,
        "marks": marks,
        "legend": " ".join(legend),
    }


def _bar(at: int, low: Decimal, high: Decimal) -> dict[str, float]:
    return {"at": at, "from": round(float(low), 5), "to": round(float(high), 5)}


def _axis(highest: Decimal) -> tuple[Decimal, Decimal]:
    """(top, step) with two or three lines above the base."""
    for tenth in ("0.1", "0.2", "0.5", *map(str, STEPS)):
        step = Decimal(tenth)
        if highest <= 2 * step:
            return 2 * step, step
        if highest <= 3 * step:
            return 3 * step, step
    return highest, highest
