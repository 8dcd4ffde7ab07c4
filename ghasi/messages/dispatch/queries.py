"""All SQL of dispatch: claims, results and receipts. One function a statement, each for a whole batch."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ghasi.carriers.carrier import Receipt
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.model import COLUMNS, Stored, stored
from ghasi.storage.pool import Connection, Pool


class Claim(Struct, frozen=True):
    """A message this worker may submit until its lease ends.

    `claims` tells one claim of a message from another. `in_doubt`: an earlier one never had its end written, so the
    message may have been submitted already, to `carrier` ('' where that is not known).
    """

    message: Stored
    claims: int
    throttles: int
    in_doubt: bool
    expires_at: datetime
    carrier: str | None = None


_WIDTH = len(Stored.__struct_fields__)
# Neither step is a join: the planner takes a queue for as empty as it was vacuumed, and looks through all of it for
# each row. OFFSET 0 keeps the last one as it is written.
_CLAIM = f"""
    claimed AS (
        UPDATE messages.dispatch
        SET due_at = now() + $2::interval, claims = claims + 1, in_doubt = true, held_for = NULL,
            carrier = CASE WHEN in_doubt AND carrier IS NOT NULL THEN carrier ELSE coalesce($3, carrier) END
        WHERE message_id = ANY(ARRAY(SELECT message_id FROM due))
        RETURNING message_id, claims, throttles, message_id IN (SELECT message_id FROM due WHERE in_doubt) AS in_doubt,
                  expires_at, carrier
    )
    SELECT message.*, claimed.claims, claimed.throttles, claimed.in_doubt, claimed.expires_at, claimed.carrier
    FROM claimed CROSS JOIN LATERAL
        (SELECT {COLUMNS} FROM messages.messages WHERE id = claimed.message_id OFFSET 0) AS message
"""
_IN_DOUBT = "in_doubt AND carrier IS NOT NULL AS in_doubt"


async def claim(
    pool: Pool, most: int, lease: timedelta, carrier: str | None, lag: timedelta = timedelta()
) -> list[Claim]:
    """Lease up to `most` messages that have been due for `lag`, oldest first; committed when this returns.

    `carrier` is written down as the one they are about to be submitted to, where there is only one; else `assign` does.
    """
    rows = await pool.fetch(
        f"""
        WITH due AS (
            SELECT message_id, {_IN_DOUBT} FROM messages.dispatch WHERE due_at <= now() - $4::interval
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ), {_CLAIM}
        """,
        most,
        lease,
        carrier,
        lag,
    )
    return [Claim(Stored(*tuple(row)[:_WIDTH]), *tuple(row)[_WIDTH:]) for row in rows]


async def claim_held(
    pool: Pool, held_for: str, most: int, lease: timedelta, carrier: str | None, *, before: UUID | None = None
) -> list[Claim]:
    """Lease up to `most` messages that lie aside for the carriers of `held_for`, oldest first: those below `before`."""
    rows = await pool.fetch(
        f"""
        WITH due AS (
            SELECT message_id, {_IN_DOUBT} FROM messages.dispatch
            WHERE held_for = $4 AND ($5::uuid IS NULL OR message_id < $5)
            ORDER BY message_id LIMIT $1 FOR UPDATE SKIP LOCKED
        ), {_CLAIM}
        """,
        most,
        lease,
        carrier,
        held_for,
        before,
    )
    claims = [Claim(Stored(*tuple(row)[:_WIDTH]), *tuple(row)[_WIDTH:]) for row in rows]
    claims.sort(key=lambda claim: claim.message.id)
    return claims


async def assign(pool: Pool, rows: Sequence[tuple[UUID, int, str]]) -> set[UUID]:
    """Write down to which carrier claims are about to go: (id, which claim, carrier); return the ids still held.

    A claim that has been followed by another must not be submitted any more.
    """
    written = await pool.fetch(
        """
        UPDATE messages.dispatch AS dispatch SET carrier = new.carrier
        FROM unnest($1::uuid[], $2::int[], $3::text[]) AS new (message_id, claims, carrier)
        WHERE dispatch.message_id = new.message_id AND dispatch.claims = new.claims
        RETURNING dispatch.message_id
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )
    return {row["message_id"] for row in written}


async def put_aside(pool: Pool, rows: Sequence[tuple[UUID, int, str, bool]]) -> None:
    """Put claimed messages aside until a carrier takes them: (id, which claim, held_for, whether it is in doubt).

    Only one in doubt, or throttled, which comes to the same carrier again, keeps its carrier: the next claim of another
    is in no doubt until it is assigned.
    """
    await pool.execute(
        """
        UPDATE messages.dispatch AS dispatch
        SET due_at = dispatch.expires_at, held_for = new.held_for, in_doubt = new.in_doubt,
            carrier = CASE WHEN new.in_doubt OR throttles > 0 THEN dispatch.carrier END
        FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bool[]) AS new (message_id, claims, held_for, in_doubt)
        WHERE dispatch.message_id = new.message_id AND dispatch.claims = new.claims
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def list_held(pool: Pool) -> list[str]:
    """Return for which carriers messages lie aside; one step of an index for each, however many they are."""
    rows = await pool.fetch(
        """
        WITH RECURSIVE held AS (
            (SELECT held_for FROM messages.dispatch WHERE held_for IS NOT NULL ORDER BY held_for LIMIT 1)
            UNION ALL
            SELECT (SELECT next.held_for FROM messages.dispatch AS next
                    WHERE next.held_for > held.held_for ORDER BY next.held_for LIMIT 1)
            FROM held WHERE held.held_for IS NOT NULL
        )
        SELECT held_for FROM held WHERE held_for IS NOT NULL
        """
    )
    return [row["held_for"] for row in rows]


async def count_held(pool: Pool) -> dict[str, int]:
    """Return how many messages lie aside, by carrier; one that several may take counts for each."""
    rows = await pool.fetch(
        """
        SELECT name, count(*) AS messages
        FROM messages.dispatch CROSS JOIN LATERAL string_to_table(held_for, ' ') AS name
        WHERE held_for IS NOT NULL GROUP BY name
        """
    )
    return {row["name"]: row["messages"] for row in rows}


async def release_held(pool: Pool, most: int) -> int:
    """Make up to `most` messages that lie aside due, to be decided anew; return how many."""
    released = await pool.execute(
        """
        UPDATE messages.dispatch SET due_at = now(), held_for = NULL WHERE message_id IN (
            SELECT message_id FROM messages.dispatch WHERE held_for IS NOT NULL
            ORDER BY held_for, message_id LIMIT $1 FOR UPDATE SKIP LOCKED)
        """,
        most,
    )
    return int(released.split()[-1])


async def list_overdue(pool: Pool, most: int) -> list[tuple[UUID, bool]]:
    """Return messages still to be submitted though their validity has ended, and whether each is in doubt."""
    rows = await pool.fetch(
        "SELECT message_id, in_doubt AND carrier IS NOT NULL FROM messages.dispatch "
        "WHERE due_at <= now() AND expires_at <= now() LIMIT $1",
        most,
    )
    return [tuple(row) for row in rows]


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
        INSERT INTO messages.submissions
            (message_id, part, carrier, carrier_message_id, state, error_code, detail, at, parts)
        SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::timestamptz[], $9::smallint[])
        ON CONFLICT (message_id, part) DO UPDATE
            SET carrier = excluded.carrier, carrier_message_id = excluded.carrier_message_id, state = excluded.state,
                error_code = excluded.error_code, detail = excluded.detail, at = excluded.at, parts = excluded.parts
        """,
        [message_id for message_id, _, _ in rows],
        [part.part for _, part, _ in rows],
        [part.carrier for _, part, _ in rows],
        [carrier_message_id for _, _, carrier_message_id in rows],
        [part.state for _, part, _ in rows],
        [part.error_code for _, part, _ in rows],
        [part.detail for _, part, _ in rows],
        [part.at for _, part, _ in rows],
        [part.of for _, part, _ in rows],
    )


async def find_submissions(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[UUID, int, int, bool]]:
    """Return (message id, part, of how many, whether it has not ended) of each (carrier, its message id) that is known.

    Carriers reuse their ids, after a restart too: a message that has not ended counts before one that has, and the
    newest before others.
    """
    rows = await connection.fetch(
        """
        SELECT asked.carrier, asked.carrier_message_id, found.message_id, found.part, found.parts, found.open
        FROM unnest($1::text[], $2::text[]) AS asked (carrier, carrier_message_id)
        CROSS JOIN LATERAL (
            SELECT known.message_id, known.part, coalesce(known.parts, message.segments) AS parts,
                   message.status IN ('accepted', 'sent', 'unknown') AS open
            FROM messages.submissions AS known JOIN messages.messages AS message ON message.id = known.message_id
            WHERE known.carrier = asked.carrier AND known.carrier_message_id = asked.carrier_message_id
            ORDER BY open DESC, known.message_id DESC LIMIT 1
        ) AS found
        """,
        [carrier for carrier, _ in keys],
        [carrier_message_id for _, carrier_message_id in keys],
    )
    return {
        (row["carrier"], row["carrier_message_id"]): (row["message_id"], row["part"], row["parts"], row["open"])
        for row in rows
    }


async def set_part_states(connection: Connection, rows: Sequence[tuple[UUID, Part]]) -> None:
    """Write the receipts of parts of long messages; a delivered part stays so, and nothing known becomes unknown."""
    await connection.execute(
        """
        UPDATE messages.submissions AS known
        SET state = new.state, error_code = new.error_code, detail = new.detail, at = new.at
        FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
             AS new (message_id, part, state, error_code, detail, at)
        WHERE known.message_id = new.message_id AND known.part = new.part AND known.state <> 'delivered'
              AND (new.state <> 'unknown' OR known.state = 'accepted')
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
        SELECT message_id, part, state, carrier, at, error_code, detail, parts FROM messages.submissions
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
            carrier = new.carrier, resubmitted = new.resubmitted, carrier_class = new.carrier_class
        FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                    $7::text[], $8::text[], $9::text[], $10::bool[], $11::text[])
             AS new (id, status, sequence, sent_at, unknown_at, completed_at, error_code, error_detail, carrier,
                     resubmitted, carrier_class)
        WHERE message.id = new.id AND message.id BETWEEN $12 AND $13
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
        [message.carrier_class for message in messages],
        min(ids),
        max(ids),
    )


async def end_dispatch(connection: Connection, ids: Sequence[UUID]) -> None:
    """Forget messages that need no more submitting."""
    await connection.execute("DELETE FROM messages.dispatch WHERE message_id = ANY($1::uuid[])", ids)


async def retry_dispatch(connection: Connection, rows: Sequence[tuple[UUID, int, float, bool, bool]]) -> None:
    """Make messages due again: (id, which claim, delay in seconds, throttled, whether the last submit is in doubt).

    Only one in doubt, or throttled, which comes to the same carrier again, keeps its carrier: the next claim of another
    is in no doubt until it is assigned. A claim that has been followed by another has nothing to say any more.
    """
    await connection.execute(
        """
        UPDATE messages.dispatch AS dispatch
        SET due_at = now() + make_interval(secs => new.delay_s),
            throttles = CASE WHEN new.throttled THEN throttles + 1 ELSE throttles END,
            in_doubt = new.in_doubt, held_for = NULL,
            carrier = CASE WHEN new.throttled OR new.in_doubt THEN dispatch.carrier END
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
