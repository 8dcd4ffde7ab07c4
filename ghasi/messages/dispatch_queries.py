"""All SQL of dispatch: claims, results and receipts. One function a statement, each for a whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from ghasi.carriers.carrier import CarrierState, Receipt
from ghasi.messages.lifecycle import Part
from ghasi.messages.model import COLUMNS, Stored, stored
from ghasi.storage.pool import Connection, Pool

_MESSAGE_COLUMNS = ", ".join(f"message.{column.strip()}" for column in COLUMNS.split(","))


@dataclass(frozen=True, slots=True)
class Claim:
    """A message this worker may submit until its lease ends.

    `claims` tells one claim of a message from another; `in_doubt`: an earlier one never had its end written, so the
    message may have been submitted already.
    """

    message: Stored
    claims: int
    throttles: int
    in_doubt: bool
    expires_at: datetime


async def claim(pool: Pool, most: int, lease: timedelta) -> list[Claim]:
    """Lease up to `most` due messages, oldest first; committed when this returns."""
    rows = await pool.fetch(
        f"""
        WITH due AS (
            SELECT message_id, in_doubt FROM messages.dispatch WHERE due_at <= now()
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE messages.dispatch AS dispatch SET due_at = now() + $2::interval,
                                                     claims = claims + 1, in_doubt = true
            FROM due WHERE dispatch.message_id = due.message_id
            RETURNING dispatch.message_id, dispatch.claims, dispatch.throttles, dispatch.expires_at, due.in_doubt
        )
        SELECT {_MESSAGE_COLUMNS}, claimed.claims, claimed.throttles, claimed.in_doubt, claimed.expires_at
        FROM claimed JOIN messages.messages AS message ON message.id = claimed.message_id
        """,
        most,
        lease,
    )
    width = len(Stored.__dataclass_fields__)
    return [Claim(Stored(*tuple(row)[:width]), *tuple(row)[width:]) for row in rows]


async def list_overdue(pool: Pool, most: int) -> list[UUID]:
    """Return messages that are still to be submitted though their validity has ended."""
    rows = await pool.fetch(
        "SELECT message_id FROM messages.dispatch WHERE due_at <= now() AND expires_at <= now() LIMIT $1", most
    )
    return [row["message_id"] for row in rows]


async def lock_messages(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """Lock and return messages, in one order whoever asks."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM messages.messages
        WHERE id = ANY($1::uuid[]) AND id BETWEEN $2 AND $3 ORDER BY id FOR UPDATE
        """,
        ids,
        min(ids),
        max(ids),
    )
    return {row["id"]: stored(row) for row in rows}


async def write_submissions(connection: Connection, rows: Sequence[tuple[UUID, Part, str | None]]) -> None:
    """Write what carriers said to segments: (message id, part, the carrier's message id); the last word counts."""
    await connection.execute(
        """
        INSERT INTO messages.submissions (message_id, part, carrier, carrier_message_id, state, error_code, detail, at)
        SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::timestamptz[])
        ON CONFLICT (message_id, part) DO UPDATE
            SET carrier = excluded.carrier, carrier_message_id = excluded.carrier_message_id, state = excluded.state,
                error_code = excluded.error_code, detail = excluded.detail, at = excluded.at
        """,
        [message_id for message_id, _, _ in rows],
        [part.part for _, part, _ in rows],
        [part.carrier for _, part, _ in rows],
        [carrier_message_id for _, _, carrier_message_id in rows],
        [part.state for _, part, _ in rows],
        [part.error_code for _, part, _ in rows],
        [part.detail for _, part, _ in rows],
        [part.at for _, part, _ in rows],
    )


async def find_submissions(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[UUID, int, bool]]:
    """Return (message id, part, whether the message has not ended) of each (carrier, its message id) that is known.

    Carriers reuse their ids, after a restart too: a message that has not ended counts before one that has, and the
    newest before others.
    """
    rows = await connection.fetch(
        """
        SELECT asked.carrier, asked.carrier_message_id, found.message_id, found.part, found.open
        FROM unnest($1::text[], $2::text[]) AS asked (carrier, carrier_message_id)
        CROSS JOIN LATERAL (
            SELECT known.message_id, known.part, message.status IN ('accepted', 'sent', 'unknown') AS open
            FROM messages.submissions AS known JOIN messages.messages AS message ON message.id = known.message_id
            WHERE known.carrier = asked.carrier AND known.carrier_message_id = asked.carrier_message_id
            ORDER BY open DESC, known.message_id DESC LIMIT 1
        ) AS found
        """,
        [carrier for carrier, _ in keys],
        [carrier_message_id for _, carrier_message_id in keys],
    )
    return {(row["carrier"], row["carrier_message_id"]): (row["message_id"], row["part"], row["open"]) for row in rows}


async def set_part_states(connection: Connection, rows: Sequence[tuple[UUID, Part]]) -> None:
    """Write the receipts of parts of long messages; a delivered part stays delivered."""
    await connection.execute(
        """
        UPDATE messages.submissions AS known
        SET state = new.state, error_code = new.error_code, detail = new.detail, at = new.at
        FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
             AS new (message_id, part, state, error_code, detail, at)
        WHERE known.message_id = new.message_id AND known.part = new.part AND known.state <> 'delivered'
        """,
        [message_id for message_id, _ in rows],
        [part.part for _, part in rows],
        [part.state for _, part in rows],
        [part.error_code for _, part in rows],
        [part.detail for _, part in rows],
        [part.at for _, part in rows],
    )


async def list_parts(connection: Connection | Pool, ids: Sequence[UUID]) -> dict[UUID, list[Part]]:
    """Return the parts of messages, in order."""
    rows = await connection.fetch(
        """
        SELECT message_id, part, state, carrier, at, error_code, detail FROM messages.submissions
        WHERE message_id = ANY($1::uuid[]) ORDER BY message_id, part
        """,
        ids,
    )
    parts: dict[UUID, list[Part]] = {}
    for row in rows:
        parts.setdefault(row["message_id"], []).append(Part(*tuple(row)[1:]))
    return parts


async def write_messages(connection: Connection, messages: Sequence[Stored]) -> None:
    """Write what changed in messages whose rows are locked."""
    ids = [message.id for message in messages]
    await connection.execute(
        """
        UPDATE messages.messages AS message
        SET status = new.status, sequence = new.sequence, sent_at = new.sent_at, unknown_at = new.unknown_at,
            completed_at = new.completed_at, error_code = new.error_code, error_detail = new.error_detail,
            carrier = new.carrier, resubmitted = new.resubmitted
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                    $7::text[], $8::text[], $9::text[], $10::bool[])
             AS new (id, status, sequence, sent_at, unknown_at, completed_at, error_code, error_detail, carrier,
                     resubmitted)
        WHERE message.id = new.id AND message.id BETWEEN $11 AND $12
        """,
        ids,
        [message.status for message in messages],
        [message.sequence for message in messages],
        [message.sent_at for message in messages],
        [message.unknown_at for message in messages],
        [message.completed_at for message in messages],
        [message.error_code for message in messages],
        [message.error_detail for message in messages],
        [message.carrier for message in messages],
        [message.resubmitted for message in messages],
        min(ids),
        max(ids),
    )


async def end_dispatch(connection: Connection, ids: Sequence[UUID]) -> None:
    """Forget messages that need no more submitting."""
    await connection.execute("DELETE FROM messages.dispatch WHERE message_id = ANY($1::uuid[])", ids)


async def retry_dispatch(connection: Connection, rows: Sequence[tuple[UUID, int, float, bool, bool]]) -> None:
    """Make messages due again: (id, which claim, delay in seconds, throttled, whether the last submit is in doubt).

    A claim that has been followed by another has nothing to say any more.
    """
    await connection.execute(
        """
        UPDATE messages.dispatch AS dispatch
        SET due_at = now() + make_interval(secs => new.delay_s),
            throttles = CASE WHEN new.throttled THEN throttles + 1 ELSE throttles END,
            in_doubt = new.in_doubt
        FROM unnest($1::uuid[], $2::int[], $3::float[], $4::bool[], $5::bool[])
             AS new (message_id, claims, delay_s, throttled, in_doubt)
        WHERE dispatch.message_id = new.message_id AND dispatch.claims = new.claims
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def park_receipts(
    connection: Connection, ids: Sequence[UUID], receipts: Sequence[Receipt], keep: Sequence[timedelta]
) -> None:
    """Keep receipts that match nothing yet, each for its time."""
    await connection.execute(
        """
        INSERT INTO messages.parked_receipts
            (id, carrier, carrier_message_id, state, error_code, detail, at, keep_until)
        SELECT id, carrier, carrier_message_id, state, error_code, detail, at, now() + keep
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                    $8::interval[]) AS new (id, carrier, carrier_message_id, state, error_code, detail, at, keep)
        """,
        ids,
        [receipt.carrier for receipt in receipts],
        [receipt.carrier_message_id for receipt in receipts],
        [receipt.state for receipt in receipts],
        [receipt.error_code for receipt in receipts],
        [receipt.detail for receipt in receipts],
        [receipt.at for receipt in receipts],
        keep,
    )


async def take_parked_receipts(connection: Connection, most: int) -> list[Receipt]:
    """Take out parked receipts whose submission has become known."""
    rows = await connection.fetch(
        """
        DELETE FROM messages.parked_receipts WHERE id IN (
            SELECT parked.id FROM messages.parked_receipts AS parked
            WHERE keep_until > now()
              AND EXISTS (SELECT FROM messages.submissions AS known
                          JOIN messages.messages AS message ON message.id = known.message_id
                          WHERE message.status IN ('accepted', 'sent', 'unknown') AND known.carrier = parked.carrier
                            AND known.carrier_message_id = parked.carrier_message_id)
            ORDER BY parked.id LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        RETURNING carrier, carrier_message_id, state, at, error_code, detail
        """,
        most,
    )
    return [Receipt(**dict(row), handle=None) for row in rows]


async def forget_old(pool: Pool, least_id: UUID) -> bool:
    """Delete parked receipts and idempotency keys of their age, and submissions whose receipts are out of the question.

    `least_id` is the least message id that may still get a receipt. Bounded; returns whether there may be more.
    """
    parked = await pool.execute(
        "DELETE FROM messages.parked_receipts WHERE id IN "
        "(SELECT id FROM messages.parked_receipts WHERE keep_until < now() LIMIT 5000)"
    )
    keys = await pool.execute(
        "DELETE FROM messages.idempotency_keys WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM messages.idempotency_keys WHERE created_at < now() - interval '24 hours' LIMIT 5000))"
    )
    submissions = await pool.execute(
        "DELETE FROM messages.submissions WHERE (message_id, part) IN "
        "(SELECT message_id, part FROM messages.submissions WHERE message_id < $1 ORDER BY message_id LIMIT 5000)",
        least_id,
    )
    await pool.execute("DELETE FROM messages.daily_counts WHERE day < (now() AT TIME ZONE 'UTC')::date - 1")
    return "DELETE 5000" in (parked, keys, submissions)


async def make_partitions(pool: Pool) -> None:
    """Make this month's and the next two months' partitions."""
    await pool.execute(
        """
        SELECT messages.make_partition((date_trunc('month', now() AT TIME ZONE 'UTC')
                                        + make_interval(months => ahead))::date)
        FROM generate_series(0, 2) AS ahead
        """
    )


async def write_carriers(pool: Pool, states: Sequence[tuple[CarrierState, int, int]]) -> None:
    """Write what the carriers are doing, and add what was submitted and submitted again since the last time."""
    await pool.execute(
        """
        INSERT INTO messages.carriers AS known (name, kind, bound, window_size, outstanding, detail, submitted,
                                                resubmitted)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bool[], $4::int[], $5::int[], $6::text[], $7::bigint[],
                             $8::bigint[])
        ON CONFLICT (name) DO UPDATE
            SET kind = excluded.kind, bound = excluded.bound, window_size = excluded.window_size,
                outstanding = excluded.outstanding, detail = excluded.detail, seen_at = now(),
                submitted = known.submitted + excluded.submitted,
                resubmitted = known.resubmitted + excluded.resubmitted
        """,
        [state.name for state, _, _ in states],
        [state.kind for state, _, _ in states],
        [state.bound for state, _, _ in states],
        [state.window for state, _, _ in states],
        [state.outstanding for state, _, _ in states],
        [state.detail for state, _, _ in states],
        [submitted for _, submitted, _ in states],
        [resubmitted for _, _, resubmitted in states],
    )
