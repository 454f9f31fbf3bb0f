"""`flask billing`: make the bills of a month, check bills, let due days pass."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import click
from sqlalchemy import select

from portal.accounts import queries as accounts
from portal.audit import CLI
from portal.billing import actions, corrections, proof, queries, terms
from portal.billing.models import Invoice
from portal.cli._common import DatabaseGroup, config, now
from portal.db import session
from portal.money import read_decimal
from portal.payments.actions import use_credit
from portal.tariffs.queries import Catalogue

group = DatabaseGroup("billing", help="Bills.")


class _Decimal(click.ParamType[Decimal]):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            return read_decimal(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)


DECIMAL = _Decimal()


@group.command("generate", help="Make the bills of a month that is over. Running it again makes no second bill.")
@click.option("--year", type=int, required=True)
@click.option("--month", type=int, required=True)
@click.option("--region", help="Only this region.")
def generate(year: int, month: int, region: str | None) -> None:
    def commit(progress: actions.Progress) -> None:
        session.commit()
        if progress.total > actions.CHUNK:
            click.echo(f"{progress.done} of {progress.total} connections", err=True)

    result = actions.generate_month(
        year, month, region, actor=CLI, now=now(), due_days=config().bill_due_days, on_progress=commit
    )
    use_credit(actor=CLI, now=now())
    session.commit()
    for refused in result.errors:
        print(f"connection {refused.connection_id} (user {refused.user_id}): {refused.code}: {refused.error}")
    before = f", {result.existing} had theirs already" if result.existing else ""
    where = f" in {region}" if region else ""
    print(f"{year}-{month:02}{where}: {_bills(result.success)} made, {result.failed} failed{before}.")
    if result.failed:
        raise SystemExit(1)


def _bills(count: int) -> str:
    return f"{count} {'bill' if count == 1 else 'bills'}"


@group.command("verify", help="Compute bills again from what they were computed from. All of them without a number.")
@click.argument("number", required=False)
def verify(number: str | None) -> None:
    query = select(Invoice).order_by(Invoice.invoice_number).execution_options(yield_per=500)
    if number:
        query = query.where(Invoice.invoice_number == number)
    catalogue, seen, wrong, late = Catalogue(), 0, 0, 0
    for invoice in session.scalars(query):
        verdict = proof.verify(invoice, queries.list_lines(invoice.invoice_id), catalogue)
        seen, wrong, late = seen + 1, wrong + (not verdict.holds), late + bool(verdict.later_readings)
        for difference in verdict.differences:
            print(f"{verdict.invoice_number}: {difference}")
        for reading in verdict.later_readings:
            print(f"{verdict.invoice_number}: readings changed since: {reading}")
    if number and not seen:
        raise click.ClickException(f"There is no bill with the number {number}.")
    said = f"{seen - wrong} come out to the paisa, {wrong} do not, {late} have readings that came later"
    print(f"{_bills(seen)}: {said}.")
    if wrong:
        raise SystemExit(1)


@group.command("terms", help="What the tariff asks about a customer's supply. What is not given stays.")
@click.argument("email")
@click.option("--load", "load_kw", type=DECIMAL, help="Sanctioned load, kW.")
@click.option("--phase", type=int, help="1 or 3.")
@click.option("--category", help="The tariff's category.")
@click.option("--option", "options", multiple=True, help="A word of the tariff (time_of_day, subsidy …); replaces all.")
@click.option("--no-options", is_flag=True, help="Take all options away.")
@click.option("--entitlement", "entitled", multiple=True, help="CHARGE=KWH a month; replaces all.")
def set_terms(
    email: str,
    load_kw: Decimal | None,
    phase: int | None,
    category: str | None,
    options: tuple[str, ...],
    no_options: bool,
    entitled: tuple[str, ...],
) -> None:
    connection = terms.set_terms(
        accounts.get_user_by_email(email).user_id,
        load_kw=load_kw,
        phase=phase,
        category=category,
        options=options if options or no_options else None,
        entitlements=dict(map(_entitlement, entitled)) or None,
        actor=CLI,
        now=now(),
    )
    session.commit()
    words = ", ".join((*connection.options, *(f"{k} {v} kWh" for k, v in connection.entitlements.items()))) or "none"
    print(
        f"{email}: {connection.tariff_category}, {connection.sanctioned_load_kw} kW, {connection.phase} phase, "
        f"options and entitlements: {words}"
    )


def _entitlement(text: str) -> tuple[str, Decimal]:
    code, _, kwh = text.partition("=")
    return code, DECIMAL.convert(kwh, None, None)


@group.command("review", help="Work issued bills out again; those that differ wait for a person's decision.")
@click.option("--days", type=click.IntRange(1, 3660), default=100, show_default=True, help="Bills issued since then.")
@click.option("--region", help="Only this region.")
def review(days: int, region: str | None) -> None:
    def commit(_seen: int, _found: int) -> None:
        session.commit()

    if region is not None:
        accounts.get_region(region)
    seen, found = corrections.review_issued(now() - timedelta(days=days), now(), region, commit)
    session.commit()
    print(f"{_bills(seen)} worked out again, {found} differ; {corrections.count_open()} wait for a decision.")


@group.command("correct", help="Take a bill back by a credit note and make the one that it should be.")
@click.argument("number")
@click.option("--note", required=True, help="Why: the customer reads it.")
def correct(number: str, note: str) -> None:
    invoice = session.scalar(select(Invoice).where(Invoice.invoice_number == number))
    if invoice is None:
        raise click.ClickException(f"There is no bill with the number {number}.")
    made = corrections.correct(invoice.invoice_id, note, actor=CLI, now=now(), due_days=config().bill_due_days)
    session.commit()
    instead = f"; {made.replacement.invoice_number} is in its place" if made.replacement else ""
    print(f"{number} is taken back by {made.note.credit_note_number}{instead}.")


@group.command("overdue", help="Bills whose due day is over become overdue. Safe to run as often as one likes.")
def overdue() -> None:
    moved = actions.mark_overdue(now())
    session.commit()
    print(f"{_bills(moved)} became overdue.")
