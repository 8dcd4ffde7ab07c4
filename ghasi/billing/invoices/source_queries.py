"""SQL of where an invoice's lines come from: tallies, rates and charges. Knows no rules."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from ghasi.billing.model import Tally, TallyKey
from ghasi.contract.pricing import Rate, RateKey, Tier
from ghasi.storage.pool import Pool

_NO_MESSAGE = UUID(int=0)


class LineTally(NamedTuple):
    """A tally and the place of the line that it is on."""

    line: int
    tally: Tally


class LineCharge(NamedTuple):
    """What a message was charged, with its tally and line; negative where it was given back."""

    line: int
    tally_id: UUID
    message_id: UUID
    at: datetime
    country: str
    segments: int
    list_micros: int | None
    unit_micros: int
    amount_micros: int
    rate_id: UUID


async def list_tallies(pool: Pool, invoice_id: UUID) -> list[LineTally]:
    """Return the tallies of an opened invoice in the order of their lines."""
    rows = await pool.fetch(
        """
        SELECT line, id, account_id, month, direction, country, currency, kind, rate_id, unit_micros, messages,
               segments, amount_micros
        FROM billing.tallies WHERE invoice_id = $1 AND line IS NOT NULL ORDER BY line, id
        """,
        invoice_id,
    )
    return [LineTally(row[0], Tally(row[1], TallyKey(*row[2:10]), *row[10:])) for row in rows]


async def list_rates(pool: Pool, rate_ids: Collection[UUID]) -> dict[UUID, Rate]:
    """Return rates by their ids."""
    rows = await pool.fetch(
        """
        SELECT id, currency, direction, account_id, plan, country, prefix, sender_kind, carrier_class, amount_micros,
               valid_from, tiers
        FROM billing.rates WHERE id = ANY($1)
        """,
        list(rate_ids),
    )
    found = [
        Rate(row[0], RateKey(*row[1:9]), row[9], row[10], tuple(Tier(*tier) for tier in msgspec.json.decode(row[11])))
        for row in rows
    ]
    return {rate.id: rate for rate in found}


async def list_charges(pool: Pool, tallies: Sequence[LineTally], after: UUID, most: int) -> list[LineCharge]:
    """Return charges of tallies in their order, of the first of them those behind the message `after`.

    One that was charged and given back before an invoice took either is in none.
    """
    rows = await pool.fetch(
        """
        SELECT tally.line, tally.id, charge.*
        FROM (
            SELECT id, line, place, CASE WHEN place = 1 THEN $3::uuid ELSE $5::uuid END AS after
            FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS asked (id, line, place)
        ) AS tally
        CROSS JOIN LATERAL (
            (SELECT message_id, at, country, segments, list_micros, unit_micros, amount_micros, rate_id
             FROM billing.charges
             WHERE tally_id = tally.id AND reversal_tally_id IS DISTINCT FROM tally_id AND message_id > tally.after
             ORDER BY message_id LIMIT $4)
            UNION ALL
            (SELECT message_id, at, country, -segments, list_micros, unit_micros, -amount_micros, rate_id
             FROM billing.charges
             WHERE reversal_tally_id = tally.id AND tally_id <> reversal_tally_id AND message_id > tally.after
             ORDER BY message_id LIMIT $4)
        ) AS charge
        ORDER BY tally.place, charge.message_id LIMIT $4
        """,
        [one.tally.id for one in tallies],
        [one.line for one in tallies],
        after,
        most,
        _NO_MESSAGE,
    )
    return [LineCharge(*row) for row in rows]
