"""SQL of charges, and of the usage and outcomes that are added up from them. Knows no rules.

Only the consumer of messages' events calls these, alone while it holds its position's lock.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from ghasi.billing.model import Charge, OutcomeSums, Refusal, Sums, TallyKey, TallyKind, UsageGroup, UsageQuarter
from ghasi.contract.pricing import Direction
from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection

_CHARGE = ", ".join(Charge._fields)


async def list_charges(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, Charge]:
    """Return the charges of those messages that have one."""
    rows = await connection.fetch(f"SELECT {_CHARGE} FROM billing.charges WHERE message_id = ANY($1)", message_ids)
    return {row[0]: Charge._make(row) for row in rows}


async def list_refused(connection: Connection, message_ids: Collection[UUID]) -> set[UUID]:
    """Return which of the messages have ended without having been sent."""
    rows = await connection.fetch(
        "SELECT message_id FROM billing.refusals WHERE message_id = ANY($1)", list(message_ids)
    )
    return {row[0] for row in rows}


async def list_charged(
    connection: Connection, months: Collection[tuple[UUID, date]]
) -> list[tuple[UUID, date, Direction, TallyKind, UUID, int]]:
    """Return the segments that accounts were charged in months, by direction, kind and rate."""
    rows = await connection.fetch(
        """
        SELECT account_id, month, direction, kind, rate_id, sum(segments)::bigint
        FROM billing.tallies JOIN unnest($1::uuid[], $2::date[]) AS asked (account_id, month) USING (account_id, month)
        GROUP BY account_id, month, direction, kind, rate_id
        """,
        *zip(*months, strict=True),
    )
    return [tuple(row) for row in rows]


async def bill_charges(connection: Connection, charges: Sequence[Charge]) -> None:
    """Write what charges are billed that were counted before, with their status and sequence."""
    await connection.execute(
        """
        UPDATE billing.charges AS charge
        SET status = billed.status, sequence = billed.sequence, kind = billed.kind, list_micros = billed.list_micros,
            unit_micros = billed.unit_micros, amount_micros = billed.unit_micros * charge.segments,
            tally_id = billed.tally_id, reversal_tally_id = billed.reversal_tally_id
        FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::bigint[], $6::bigint[], $7::uuid[], $8::uuid[])
            AS billed (message_id, status, sequence, kind, list_micros, unit_micros, tally_id, reversal_tally_id)
        WHERE charge.message_id = billed.message_id
        """,
        [charge.message_id for charge in charges],
        [charge.status for charge in charges],
        [charge.sequence for charge in charges],
        [charge.kind for charge in charges],
        [charge.list_micros for charge in charges],
        [charge.unit_micros for charge in charges],
        [charge.tally_id for charge in charges],
        [charge.reversal_tally_id for charge in charges],
    )


async def move_charges(connection: Connection, moved: Sequence[tuple[UUID, str, int]]) -> None:
    """Set charges, named by their messages' ids, to a status and sequence."""
    await connection.execute(
        """
        UPDATE billing.charges AS charge SET status = moved.status, sequence = moved.sequence
        FROM unnest($1::uuid[], $2::text[], $3::int[]) AS moved (message_id, status, sequence)
        WHERE charge.message_id = moved.message_id
        """,
        *zip(*moved, strict=True),
    )


async def insert_charges(connection: Connection, charges: Sequence[Charge]) -> None:
    """Add charges, by COPY: so many columns cost more as arrays."""
    await connection.copy_records_to_table("charges", schema_name="billing", columns=Charge._fields, records=charges)


async def add_tallies(connection: Connection, sums: Sequence[tuple[TallyKey, Sums]]) -> dict[TallyKey, UUID]:
    """Add sums, given in the order of their keys, to the open tallies, made where there are none; return their ids."""
    rows = await connection.fetch(
        """
        INSERT INTO billing.tallies AS tally
            (id, account_id, month, direction, country, currency, kind, rate_id, unit_micros, messages, segments,
             amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::uuid[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
        ON CONFLICT (account_id, month, direction, country, currency, kind, rate_id, unit_micros)
            WHERE invoice_id IS NULL DO UPDATE SET
            messages = tally.messages + EXCLUDED.messages,
            segments = tally.segments + EXCLUDED.segments,
            amount_micros = tally.amount_micros + EXCLUDED.amount_micros
        RETURNING account_id, month, direction, country, currency, kind, rate_id, unit_micros, id
        """,
        [new_id() for _ in sums],
        *(list(column) for column in zip(*(key for key, _ in sums), strict=True)),
        [one.messages for _, one in sums],
        [one.segments for _, one in sums],
        [one.amount_micros for _, one in sums],
    )
    return {TallyKey._make(row[:8]): row[8] for row in rows}


async def insert_refusals(connection: Connection, refusals: Sequence[Refusal]) -> set[UUID]:
    """Add messages that no carrier took, but for those known; return the ids of those added."""
    rows = await connection.fetch(
        """
        INSERT INTO billing.refusals (message_id, account_id, at, country, status)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[])
        ON CONFLICT DO NOTHING RETURNING message_id
        """,
        *zip(*refusals, strict=True),
    )
    return {row[0] for row in rows}


async def add_usage(connection: Connection, deltas: Mapping[UsageQuarter, Sums]) -> None:
    """Move usage by differences, which may be negative."""
    await connection.execute(
        """
        INSERT INTO billing.usage_quarters AS usage
            (account_id, at, country, status, messages, segments, amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                             $7::bigint[])
        ON CONFLICT (account_id, at, country, status) DO UPDATE SET
            messages = usage.messages + EXCLUDED.messages,
            segments = usage.segments + EXCLUDED.segments,
            amount_micros = usage.amount_micros + EXCLUDED.amount_micros
        """,
        *zip(*deltas, strict=True),
        [sums.messages for sums in deltas.values()],
        [sums.segments for sums in deltas.values()],
        [sums.amount_micros for sums in deltas.values()],
    )


async def add_groups(connection: Connection, deltas: Mapping[UsageGroup, Sums]) -> None:
    """Move usage by one thing at a time by differences, which may be negative."""
    await connection.execute(
        """
        INSERT INTO billing.usage_groups AS usage
            (account_id, dimension, at, value, messages, segments, amount_micros)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[],
                             $7::bigint[])
        ON CONFLICT (account_id, dimension, at, value) DO UPDATE SET
            messages = usage.messages + EXCLUDED.messages,
            segments = usage.segments + EXCLUDED.segments,
            amount_micros = usage.amount_micros + EXCLUDED.amount_micros
        """,
        *zip(*deltas, strict=True),
        [sums.messages for sums in deltas.values()],
        [sums.segments for sums in deltas.values()],
        [sums.amount_micros for sums in deltas.values()],
    )


async def list_names(
    connection: Connection, names: Collection[tuple[UUID, date, str, str]]
) -> list[tuple[UUID, date, str, str]]:
    """Return those that are named: (account, month, dimension, value)."""
    rows = await connection.fetch(
        """
        SELECT account_id, month, dimension, value FROM billing.usage_values
        JOIN unnest($1::uuid[], $2::date[], $3::text[], $4::text[]) AS asked (account_id, month, dimension, value)
            USING (account_id, month, dimension, value)
        """,
        *zip(*names, strict=True),
    )
    return [tuple(row) for row in rows]


async def count_names(
    connection: Connection, places: Collection[tuple[UUID, date, str]]
) -> dict[tuple[UUID, date, str], int]:
    """Return how many values of each account, month and dimension are named, where any is."""
    rows = await connection.fetch(
        """
        SELECT account_id, month, dimension, count(*) FROM billing.usage_values
        JOIN unnest($1::uuid[], $2::date[], $3::text[]) AS asked (account_id, month, dimension)
            USING (account_id, month, dimension)
        GROUP BY account_id, month, dimension
        """,
        *zip(*places, strict=True),
    )
    return {tuple(row)[:3]: row[3] for row in rows}


async def insert_names(connection: Connection, names: Collection[tuple[UUID, date, str, str]]) -> None:
    """Name values that are not named yet."""
    await connection.execute(
        """
        INSERT INTO billing.usage_values (account_id, month, dimension, value)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::text[], $4::text[])
        """,
        *zip(*names, strict=True),
    )


async def add_outcomes(connection: Connection, deltas: Mapping[tuple[UUID, datetime], OutcomeSums]) -> None:
    """Move outcomes, by account and quarter of an hour, by differences, which may be negative."""
    await connection.execute(
        """
        INSERT INTO billing.outcome_quarters AS known
            (account_id, at, messages, delivered, failed, segments, amount_micros, refused, received,
             received_segments, received_micros)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
        ON CONFLICT (account_id, at) DO UPDATE SET
            messages = known.messages + EXCLUDED.messages,
            delivered = known.delivered + EXCLUDED.delivered,
            failed = known.failed + EXCLUDED.failed,
            segments = known.segments + EXCLUDED.segments,
            amount_micros = known.amount_micros + EXCLUDED.amount_micros,
            refused = known.refused + EXCLUDED.refused,
            received = known.received + EXCLUDED.received,
            received_segments = known.received_segments + EXCLUDED.received_segments,
            received_micros = known.received_micros + EXCLUDED.received_micros
        """,
        *zip(*deltas, strict=True),
        *([getattr(sums, name) for sums in deltas.values()] for name in OutcomeSums.__slots__),
    )
