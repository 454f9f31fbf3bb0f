"""A bill on paper: one page, the same bytes each time, and no text that can be markup."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, scoped_session

from portal.billing.models import Invoice
from portal.billing.queries import list_lines
from portal.config import Config
from portal.pdf import Issuer, bill_pdf, words
from portal.pdf.facts import facts_of
from portal.pdf.render import pages_of, render
from tests.billing.bills import give_readings, india, run
from tests.factories import make_holder

ISSUER = Issuer("Sahyadri Vidyut", "Vidyut Bhavan, Pune 411 016", "27AAAAA0000A1Z5")


@pytest.fixture
def invoice(area: scoped_session[Session], config: Config) -> Invoice:
    user = make_holder(since=india(2026, 9, 30), name="Asha Kulkarni")
    assert user.meter_id
    give_readings(user.meter_id, india(2026, 10, 1), india(2026, 11, 1), config)
    run(2026, 10)
    return area.scalars(select(Invoice)).one()


def facts(invoice: Invoice, name: str = "Asha Kulkarni") -> dict:
    from portal.accounts.queries import get_user

    user = get_user(invoice.user_id)
    user.name = name
    return facts_of(invoice, list_lines(invoice.invoice_id), user, ISSUER)


def test_a_bill_is_one_page_and_the_same_bytes_each_time(invoice: Invoice) -> None:
    first, second = bill_pdf(invoice, ISSUER), bill_pdf(invoice, ISSUER)
    assert first.startswith(b"%PDF-")
    assert first == second
    assert pages_of(first) == 1


def test_the_page_says_what_the_bill_says(invoice: Invoice) -> None:
    told = facts(invoice)
    assert told["title"] == "Bill of Supply"
    assert told["due"] == words.money(invoice.amount_due)
    amounts = [line["amount"] for line in told["lines"]]
    assert amounts[: invoice.line_count] == [words.money(line.amount) for line in list_lines(invoice.invoice_id)]
    assert [line["quantity"] for line in told["lines"][:2]] == ["1 month", "103.000\u00a0kWh"]
    assert told["chart"]["days"] == 31
    assert len(told["chart"]["solid"]) == 31
    assert told["readings"][0]["used"] == words.kwh(invoice.total_consumption_kwh)


@pytest.mark.parametrize(
    "name",
    [
        '#let x = 1; #panic("out") $ [ \\ ] " * _ ` < > @ // /* ~ =',
        "x" * 100,
        "आशा कुलकर्णी",
        "Zoë 😀 O'Brien",
        "]]]}}}",
    ],
)
def test_no_name_breaks_out_of_the_page(invoice: Invoice, name: str) -> None:
    made = render(facts(invoice, name))
    assert pages_of(made) == 1
    # The title of the document holds no user text; the name went in as a string.
    assert json.loads(json.dumps(facts(invoice, name)))["customer"]["name"].replace(words.ZERO_WIDTH, "") == name


def test_many_lines_still_fit_on_a_page(invoice: Invoice) -> None:
    told = facts(invoice)
    told["lines"] = (told["lines"] * 12)[:30]
    assert pages_of(render(told)) == 1


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("2387", "Rupees two thousand three hundred and eighty-seven only."),
        ("0.05", "Rupees zero and five paise only."),
        ("123456.70", "Rupees one lakh twenty-three thousand four hundred and fifty-six and seventy paise only."),
        ("10000001", "Rupees one crore and one only."),
    ],
)
def test_amounts_in_words(amount: str, said: str) -> None:
    assert words.in_words(Decimal(amount)) == said
