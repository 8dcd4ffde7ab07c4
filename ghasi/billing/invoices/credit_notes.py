"""Credit notes: taking back an invoice as a whole or in part, with a reason and a number of their own.

Owns what may be credited and where it goes: off what is due first, the rest to the customer's balance.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from ghasi.billing.invoices import books, closing_queries, queries, settling_queries
from ghasi.billing.invoices.crediting import Creditable, share_gross, share_net
from ghasi.billing.invoices.model import CreditLine, CreditNote, TaxLine
from ghasi.billing.invoices.settling import lock_invoice, save
from ghasi.billing.model import Invoice, InvoiceNotOpenError, Line, SettlementError
from ghasi.billing.money import invoice_amount, round_to_minor
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool

SERIES, NUMBER = "CN-{year}", "CN-{year}-{count:06d}"


class LineCredit(NamedTuple):
    """A line to be credited, by its place (the first is 0): an amount before taxes, or all that is left of it."""

    line: int
    amount_micros: int | None = None


class Wanted(NamedTuple):
    """What is to be credited: an amount with its taxes, or lines; neither: all that is left."""

    reason: str
    amount_micros: int | None = None
    lines: Sequence[LineCredit] = ()


class _Shares(NamedTuple):
    lines: list[CreditLine]
    taxes: list[TaxLine]


async def credit_invoice(pool: Pool, number: str, wanted: Wanted, actor: str) -> CreditNote:
    """Make a credit note of an invoice that is open or paid; what comes to be due no more makes it paid.

    Raises InvoiceNotFoundError, InvoiceNotOpenError, and SettlementError where that cannot be credited.
    """
    if not wanted.reason.strip():
        raise SettlementError("a credit note says why: give a reason")
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        invoice = await lock_invoice(connection, number)
        if invoice.status not in ("open", "paid"):
            raise InvoiceNotOpenError(f"invoice {number} is {invoice.status}")
        shares = await _share(connection, invoice, wanted)
        note = await _number(connection, invoice, wanted.reason.strip(), shares, now)
        await settling_queries.insert_credit_note(connection, note, shares.lines, shares.taxes)
        await books.post_credit_note(connection, note, actor)
        credited = replace(invoice, credited_micros=invoice.credited_micros + note.total_micros)
        await save(connection, credited, now, now)
        await audit.record(
            connection, actor=actor, action="invoice.credited", subject=number, account_id=invoice.account_id,
            credit_note=note.number, total=invoice_amount(note.total_micros, invoice.currency), reason=note.reason,
        )  # fmt: skip
        return note


async def _number(connection: Connection, invoice: Invoice, reason: str, shares: _Shares, now: datetime) -> CreditNote:
    net = sum(line.amount_micros for line in shares.lines)
    tax = sum(one.amount_micros for one in shares.taxes)
    series = SERIES.format(year=now.year)
    count = await closing_queries.lock_series(connection, series) + 1
    await closing_queries.move_series(connection, series, count)
    return CreditNote(
        id=new_id(), account_id=invoice.account_id, invoice_id=invoice.id, invoice_number=str(invoice.number),
        number=NUMBER.format(year=now.year, count=count), currency=invoice.currency, reason=reason,
        subtotal_micros=net, tax_micros=tax, total_micros=net + tax,
        to_balance_micros=max(0, net + tax - invoice.amount_due_micros), issued_at=now,
    )  # fmt: skip


async def _share(connection: Connection, invoice: Invoice, wanted: Wanted) -> _Shares:
    taxes = await queries.list_taxes(connection, invoice.id)
    credited_lines, credited_taxes = await settling_queries.list_credited(connection, invoice.id)
    of_taxes = [credited_taxes.get(place, 0) for place in range(len(taxes))]
    of = Creditable(invoice.currency, invoice.subtotal_micros, taxes, invoice.credited_micros - sum(of_taxes), of_taxes)
    if of.left_micros <= 0:
        raise SettlementError(f"there is nothing left to be credited of {invoice.number}")
    lines = await queries.list_lines(connection, invoice.id)
    if wanted.lines:
        return _share_lines(invoice, of, lines, credited_lines, wanted.lines)
    if wanted.amount_micros is None and not invoice.credited_micros:  # the whole of it
        copied = [CreditLine(line.description, place, line.amount_micros) for place, line in enumerate(lines)]
        return _Shares(copied, share_net(of, of.left_net_micros))
    amount = of.left_micros if wanted.amount_micros is None else wanted.amount_micros
    _check_amount(amount, of.left_micros, invoice)
    net, shared = share_gross(of, amount)
    return _Shares([CreditLine(f"Invoice {invoice.number}", None, net)], shared)


def _share_lines(
    invoice: Invoice, of: Creditable, lines: Sequence[Line], credited: dict[int, int], wanted: Sequence[LineCredit]
) -> _Shares:
    if len({one.line for one in wanted}) < len(wanted):
        raise SettlementError("a line is there twice")
    taken = []
    for one in wanted:
        if one.line >= len(lines):
            raise SettlementError(f"{invoice.number} has no line {one.line}; the first one is 0")
        line = lines[one.line]
        left = line.amount_micros - credited.get(one.line, 0)
        amount = left if one.amount_micros is None else one.amount_micros
        _check_amount(amount, left, invoice)
        taken.append(CreditLine(line.description, one.line, amount))
    net = sum(line.amount_micros for line in taken)
    _check_amount(net, of.left_net_micros, invoice)  # discounts may have made the whole less than its lines
    return _Shares(taken, share_net(of, net))


def _check_amount(amount_micros: int, left_micros: int, invoice: Invoice) -> None:
    currency = invoice.currency
    if amount_micros > left_micros or left_micros <= 0:
        left = invoice_amount(max(0, left_micros), currency)
        raise SettlementError(f"no more than {left} {currency} is left to be credited of {invoice.number} by this")
    if amount_micros <= 0 or amount_micros != round_to_minor(amount_micros, currency):
        raise SettlementError(f"an amount is above 0 and has no more decimals than {currency}")
