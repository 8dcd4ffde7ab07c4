"""Where every line of an invoice comes from: what was added up for it, at which rate, and every message's charge.

Changes nothing. A draft's tallies are not its own yet: what it says is computed anew.
"""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from ghasi.billing.invoices import queries, source_queries
from ghasi.billing.invoices.contents import Month, make_bills
from ghasi.billing.invoices.making import NO_RATE
from ghasi.billing.invoices.source_queries import LineCharge, LineTally
from ghasi.billing.model import Invoice, Line
from ghasi.billing.money import invoice_amount
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.pricing import EVERY_COUNTRY, UNKNOWN_COUNTRY, Rate
from ghasi.contract.serving import Caller
from ghasi.contract.values import decimal_string, decode_ids_cursor, page_of, rfc3339
from ghasi.storage.pool import Pool

NO_MESSAGE = UUID(int=0)


async def get_sources(pool: Pool, caller: Caller, invoice_id: UUID, query: shapes.SourceQuery) -> shapes.InvoiceSources:
    """Return the source of an invoice's lines, and a page of the charges; raises Problem not_found, invalid_cursor."""
    after = decode_ids_cursor(query.cursor, 2) if query.cursor else ()
    invoice = await queries.find_invoice(pool, caller.account_id, invoice_id)
    if invoice is None:
        raise Problem("not_found")
    lines, tallies = await _read(pool, invoice)
    if query.line is not None and query.line >= len(lines):
        raise invalid("line", f"must be the place of one of the {len(lines)} lines, the first being 0")
    rates = await source_queries.list_rates(pool, {one.tally.key.rate_id for one in tallies})
    wanted = [one for one in tallies if query.line in (None, one.line)]
    charges = await _list_charges(pool, wanted, after, query.limit + 1)
    page = page_of(charges, query.limit, _charge_shape, lambda one: (one.tally_id, one.message_id))
    return shapes.InvoiceSources(_line_shapes(invoice, lines, tallies, rates), page.data, page.next_cursor)


async def _read(pool: Pool, invoice: Invoice) -> tuple[list[Line], list[LineTally]]:
    if invoice.status != "draft":
        return await queries.list_lines(pool, invoice.id), await source_queries.list_tallies(pool, invoice.id)
    month = Month(invoice.period_start, invoice.period_end)
    (bill,) = await make_bills(pool, [invoice.account_id], month, lock=False)
    line_of = bill.content.line_of
    tallies = [LineTally(line_of[one.id], one) for one in bill.tallies if one.id in line_of]
    return bill.content.lines, sorted(tallies, key=lambda one: (one.line, one.tally.id))


async def _list_charges(pool: Pool, tallies: Sequence[LineTally], after: Sequence[UUID], most: int) -> list[LineCharge]:
    """Return charges behind a tally and a message of it; raises Problem invalid_cursor where there is no such tally."""
    if not after:
        return await source_queries.list_charges(pool, tallies, NO_MESSAGE, most)
    tally_id, message_id = after[0], after[-1]
    place = next((place for place, one in enumerate(tallies) if one.tally.id == tally_id), None)
    if place is None:
        raise Problem("invalid_cursor")
    return await source_queries.list_charges(pool, tallies[place:], message_id, most)


def _line_shapes(
    invoice: Invoice, lines: Sequence[Line], tallies: Sequence[LineTally], rates: dict[UUID, Rate]
) -> list[shapes.SourceLine]:
    of_line: dict[int, list[LineTally]] = defaultdict(list)
    for one in tallies:
        of_line[one.line].append(one)
    return [
        shapes.SourceLine(
            line=place,
            kind=line.kind,
            description=line.description,
            amount=invoice_amount(line.amount_micros, invoice.currency),
            rate=_rate_shape(rates[line.rate_id]) if line.rate_id in rates else None,
            tallies=[_tally_shape(one) for one in of_line[place]],
        )
        for place, line in enumerate(lines)
    ]


def _rate_shape(rate: Rate) -> shapes.SourceRate:
    key = rate.key
    return shapes.SourceRate(
        id=str(rate.id),
        country=None if key.country == EVERY_COUNTRY else key.country,
        prefix=key.prefix or None,
        direction=key.direction,
        sender_kind=key.sender_kind,
        carrier_class=key.carrier_class,
        plan=key.plan,
        own=key.account_id is not None,
        price=decimal_string(rate.amount_micros),
        tiers=[shapes.SourceTier(tier.from_segments, decimal_string(tier.amount_micros)) for tier in rate.tiers],
        valid_from=rfc3339(rate.valid_from),
    )


def _tally_shape(one: LineTally) -> shapes.SourceTally:
    tally = one.tally
    return shapes.SourceTally(
        id=str(tally.id),
        month=f"{tally.key.month:%Y-%m}",
        messages=tally.messages,
        segments=tally.segments,
        unit_price=decimal_string(tally.key.unit_micros),
        amount=decimal_string(tally.amount_micros),
    )


def _charge_shape(charge: LineCharge) -> shapes.SourceCharge:
    return shapes.SourceCharge(
        message_id=str(charge.message_id),
        line=charge.line,
        at=rfc3339(charge.at),
        country=None if charge.country == UNKNOWN_COUNTRY else charge.country,
        segments=charge.segments,
        list_price=decimal_string(charge.unit_micros if charge.list_micros is None else charge.list_micros),
        unit_price=decimal_string(charge.unit_micros),
        amount=decimal_string(charge.amount_micros),
        rate_id=None if charge.rate_id == NO_RATE else str(charge.rate_id),
    )
