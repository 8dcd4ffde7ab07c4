"""What an invoice says, made of what was charged, the plan, discounts and taxes. Pure; stores nothing.

Owns the order of lines and every rounding: each line is rounded half-even once to the currency's minor unit, each tax
once on the subtotal. Nothing is rounded twice: the lines' sum is the subtotal, and subtotal and taxes are the total.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.invoices.model import PPM, Content, Discount, Tax, TaxLine
from ghasi.billing.model import Line, Sums, Tally, TallyKind
from ghasi.billing.money import portion, round_to_minor
from ghasi.billing.plans.model import Plan
from ghasi.contract.pricing import UNKNOWN_COUNTRY, Direction
from ghasi.contract.shapes import LineKind

NO_RATE = UUID(int=0)
"""Of tallies from before they named their rate."""


class _LineKey(NamedTuple):
    """What a line of messages adds up, in the order of the lines; `month` is None but for adjustments."""

    is_adjustment: bool
    month: date | None
    inbound: bool
    country: str
    unit_micros: int
    kind: TallyKind
    rate_id: UUID


def make_invoice(
    tallies: Sequence[Tally],
    *,
    month: date,
    currency: str,
    closed: Collection[date] = (),
    plan: Plan | None = None,
    discounts: Iterable[Discount] = (),
    taxes: Iterable[Tax] = (),
) -> Content:
    """Return what the invoice of a month says; without lines there is none to be made.

    Tallies are one account's. Those of a month in `closed` are adjustments, a line for each month; those of other
    months before are usage like the month's own.
    """
    lines, line_of = _message_lines(tallies, currency, closed)
    if plan is not None:
        lines += _plan_lines(plan, lines, currency)
    lines += _discount_lines(lines, [one for one in discounts if one.holds_in(month)], currency)
    return Content(lines, make_taxes(lines, taxes, currency) if lines else [], line_of)


def make_taxes(lines: Iterable[Line], taxes: Iterable[Tax], currency: str) -> list[TaxLine]:
    """Return each tax on the subtotal, rounded once."""
    subtotal = sum(line.amount_micros for line in lines)
    return [TaxLine(tax.name, tax.rate_ppm, subtotal, portion(subtotal, tax.rate_ppm, PPM, currency)) for tax in taxes]


def _message_lines(
    tallies: Sequence[Tally], currency: str, closed: Collection[date]
) -> tuple[list[Line], dict[UUID, int]]:
    sums: dict[_LineKey, Sums] = defaultdict(Sums)
    key_of: dict[UUID, _LineKey] = {}
    for tally in tallies:
        of = tally.key
        late = of.month in closed
        key = _LineKey(
            late, of.month if late else None, of.direction == "inbound", of.country, of.unit_micros, of.kind, of.rate_id
        )
        sums[key].add(tally.messages, tally.segments, tally.amount_micros)
        key_of[tally.id] = key
    # differences that came to nothing say nothing
    keys = sorted(key for key, one in sums.items() if one != Sums())
    position_of = {key: position for position, key in enumerate(keys)}
    lines = [_message_line(key, sums[key], currency) for key in keys]
    return lines, {tally_id: position_of[key] for tally_id, key in key_of.items() if key in position_of}


def _message_line(key: _LineKey, sums: Sums, currency: str) -> Line:
    country = None if key.country == UNKNOWN_COUNTRY else key.country
    direction: Direction = "inbound" if key.inbound else "outbound"
    description = f"SMS {'from' if key.inbound else 'to'} {country or 'numbers of no country'}"
    if key.kind == "included":
        description += ", included"
    if key.month is not None:
        description += f", adjustment for {key.month:%B %Y}"
    return Line(
        description=description,
        country=country,
        messages=sums.messages,
        segments=sums.segments,
        unit_micros=key.unit_micros,
        amount_micros=round_to_minor(sums.amount_micros, currency),
        kind="adjustment" if key.is_adjustment else key.kind,
        direction=direction,
        rate_id=None if key.rate_id == NO_RATE else key.rate_id,
        month=key.month,
    )


def _plan_lines(plan: Plan, usage: Sequence[Line], currency: str) -> list[Line]:
    """Return the base fee, and what is missing from usage and fee to the minimum; adjustments are other months'."""
    fee = round_to_minor(plan.base_fee_micros, currency)
    spent = fee + sum(line.amount_micros for line in usage if line.kind != "adjustment")
    missing = max(0, round_to_minor(plan.minimum_micros, currency) - spent)
    lines = []
    if fee:
        lines.append(_plain_line("base_fee", f"Base fee of the plan {plan.name}", plan.name, fee))
    if missing:
        lines.append(_plain_line("minimum", f"Up to the minimum of the plan {plan.name}", plan.name, missing))
    return lines


def _discount_lines(lines: Sequence[Line], discounts: Sequence[Discount], currency: str) -> list[Line]:
    """Return what is taken off: percentages of the sum before any, then amounts, and never more than there is."""
    before = left = sum(line.amount_micros for line in lines)
    taken = []
    for discount in sorted(discounts, key=lambda one: (one.rate_ppm is None, one.id)):
        off = (
            portion(before, discount.rate_ppm, PPM, currency)
            if discount.rate_ppm is not None
            else round_to_minor(discount.amount_micros or 0, currency)
        )
        off = min(off, left)
        if off > 0:
            left -= off
            taken.append(_plain_line("discount", discount.name, discount.name, -off))
    return taken


def _plain_line(kind: LineKind, description: str, detail: str, amount_micros: int) -> Line:
    return Line(
        description, None, 0, 0, amount_micros, amount_micros,
        kind=kind, direction=None, detail=detail,
    )  # fmt: skip
