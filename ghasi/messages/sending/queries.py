"""All SQL of accepting messages and reading one; lists and dispatch have their own files. One function a statement."""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from ghasi.messages.model import COLUMNS, DEFAULT_VALIDITY_S, Draft, Keyed, Stored, private_part, stored
from ghasi.storage.pool import Connection, Pool, Record

_INSERT = """
WITH message AS (
    INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, sender, body, encoding, segments,
                                   country, reference, validity_s, status)
    SELECT id, account_id, user_id, credential, recipient, sender, body, encoding, segments, country, reference,
           validity_s, 'accepted'
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::smallint[], $10::text[], $11::text[], $12::int[])
         AS new (id, account_id, user_id, credential, recipient, sender, body, encoding, segments, country, reference,
                 validity_s)
), dispatch AS (
    INSERT INTO messages.dispatch (message_id, due_at, expires_at)
    SELECT id, now(), now() + make_interval(secs => coalesce(validity_s, $15))
    FROM unnest($1::uuid[], $12::int[]) AS new (id, validity_s)
)
INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data, private)
SELECT event_id, 'message.accepted', account_id, id, 1, now(), data, private
FROM unnest($13::uuid[], $2::uuid[], $1::uuid[], $14::json[], $16::json[])
     AS new (event_id, account_id, id, data, private)
"""
# The same, of which some are for later. A statement of its own: those that are for now are to cost nothing more.
_INSERT_SOME_FOR_LATER = """
WITH message AS (
    INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, sender, body, encoding, segments,
                                   country, reference, validity_s, send_at, status)
    SELECT id, account_id, user_id, credential, recipient, sender, body, encoding, segments, country, reference,
           validity_s, send_at, CASE WHEN send_at IS NULL THEN 'accepted' ELSE 'scheduled' END
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::smallint[], $10::text[], $11::text[], $12::int[], $17::timestamptz[])
         AS new (id, account_id, user_id, credential, recipient, sender, body, encoding, segments, country, reference,
                 validity_s, send_at)
), dispatch AS (
    INSERT INTO messages.dispatch (message_id, due_at, expires_at)
    SELECT id, now(), now() + make_interval(secs => coalesce(validity_s, $15))
    FROM unnest($1::uuid[], $12::int[], $17::timestamptz[]) AS new (id, validity_s, send_at) WHERE send_at IS NULL
), scheduled AS (
    INSERT INTO messages.scheduled (message_id, send_at)
    SELECT id, send_at FROM unnest($1::uuid[], $17::timestamptz[]) AS new (id, send_at) WHERE send_at IS NOT NULL
)
INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data, private)
SELECT event_id, CASE WHEN send_at IS NULL THEN 'message.accepted' ELSE 'message.scheduled' END, account_id, id, 1,
       now(), data, private
FROM unnest($13::uuid[], $2::uuid[], $1::uuid[], $14::json[], $16::json[], $17::timestamptz[])
     AS new (event_id, account_id, id, data, private, send_at)
"""


async def insert_messages(connection: Connection | Pool, drafts: Sequence[Draft], event_ids: Sequence[UUID]) -> None:
    """Write messages, their places in queue or schedule and their first events: one statement, so all or nothing."""
    values = [
        [draft.id for draft in drafts],
        [draft.account_id for draft in drafts],
        [draft.user_id for draft in drafts],
        [draft.credential for draft in drafts],
        [draft.recipient for draft in drafts],
        [draft.sender for draft in drafts],
        [draft.body for draft in drafts],
        [draft.encoding for draft in drafts],
        [draft.segments for draft in drafts],
        [draft.country for draft in drafts],
        [draft.reference for draft in drafts],
        [draft.validity_s for draft in drafts],
        event_ids,
        [draft.response.decode() for draft in drafts],
        DEFAULT_VALIDITY_S,
        [private_part(draft.credential) for draft in drafts],
    ]
    times = [draft.send_at for draft in drafts]
    if any(times):
        await connection.execute(_INSERT_SOME_FOR_LATER, *values, times)
    else:
        await connection.execute(_INSERT, *values)


async def find_written(connection: Connection | Pool, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these messages are in the database; a message is there with all that belongs to it, or not."""
    rows = await connection.fetch("SELECT id FROM messages.messages WHERE id = ANY($1::uuid[])", ids)
    return {row["id"] for row in rows}


async def take_idempotency_keys(connection: Connection, requests: Sequence[Keyed], route: str) -> set[tuple[UUID, str]]:
    """Claim requests' keys (distinct, in a fixed order) and return those that are ours; one older than 24 h is free.

    Locks the rows, those that are not ours too, so that a request with the same key elsewhere waits for our commit, and
    so does housekeeping: what is not ours is there to be read.
    """
    rows = await connection.fetch(
        """
        INSERT INTO messages.idempotency_keys AS known (account_id, route, key, body_hash, response)
        SELECT account_id, $4, key, body_hash, response
        FROM unnest($1::uuid[], $2::text[], $3::bytea[], $5::text[]) AS new (account_id, key, body_hash, response)
        ON CONFLICT (account_id, route, key) DO UPDATE
            SET body_hash = excluded.body_hash, response = excluded.response, created_at = now()
            WHERE known.created_at < now() - interval '24 hours'
        RETURNING account_id, key
        """,
        [request.account_id for request in requests],
        [request.idempotency_key for request in requests],
        [request.body_hash for request in requests],
        route,
        [request.response.decode() for request in requests],
    )
    return {(row["account_id"], row["key"]) for row in rows}


async def list_idempotent_responses(
    connection: Connection | Pool, keys: Sequence[tuple[UUID, str]], route: str
) -> dict[tuple[UUID, str], tuple[bytes, bytes]]:
    """Return what the keys' requests of the last 24 h were: the hash of the body and the response."""
    rows = await connection.fetch(
        """
        SELECT account_id, key, body_hash, response
        FROM messages.idempotency_keys
        JOIN unnest($1::uuid[], $2::text[]) AS asked (account_id, key) USING (account_id, key)
        WHERE route = $3 AND created_at >= now() - interval '24 hours'
        """,
        [account_id for account_id, _ in keys],
        [key for _, key in keys],
        route,
    )
    return {(row["account_id"], row["key"]): (row["body_hash"], row["response"].encode()) for row in rows}


async def set_idempotent_response(connection: Connection, request: Keyed, route: str) -> None:
    """Write what is to be replayed for a key that was taken before its response was known."""
    await connection.execute(
        "UPDATE messages.idempotency_keys SET response = $4 WHERE account_id = $1 AND route = $2 AND key = $3",
        request.account_id,
        route,
        request.idempotency_key,
        request.response.decode(),
    )


async def drop_idempotency_keys(connection: Connection, keys: Sequence[tuple[UUID, str]], route: str) -> None:
    """Give keys back whose requests were refused after all: only accepted ones are replayed."""
    await connection.execute(
        """
        DELETE FROM messages.idempotency_keys AS known
        USING unnest($1::uuid[], $2::text[]) AS refused (account_id, key)
        WHERE known.account_id = refused.account_id AND known.key = refused.key AND known.route = $3
        """,
        [account_id for account_id, _ in keys],
        [key for _, key in keys],
        route,
    )


async def count_towards_cap(
    connection: Connection, counts: dict[UUID, int], caps: dict[UUID, int], day: date, first: UUID
) -> dict[UUID, int]:
    """Add messages to the capped accounts' day and return how many of each account's are within its cap.

    An account's first count of a day starts from the messages it already has, `first` being the day's least id.
    Locks the accounts' counters.
    """
    await connection.execute(
        """
        INSERT INTO messages.daily_counts (account_id, day, messages)
        SELECT account_id, $2, (SELECT count(*) FROM messages.messages AS old
                                WHERE old.account_id = asked.account_id AND old.id >= $3 AND direction = 'outbound')
        FROM unnest($1::uuid[]) AS asked (account_id)
        WHERE NOT EXISTS (SELECT FROM messages.daily_counts AS known
                          WHERE known.account_id = asked.account_id AND known.day = $2)
        ORDER BY account_id
        ON CONFLICT DO NOTHING
        """,
        list(counts),
        day,
        first,
    )
    granted = await connection.fetch(
        """
        WITH locked AS (
            SELECT known.account_id, least(asked.messages, greatest(asked.cap - known.messages, 0)) AS granted
            FROM messages.daily_counts AS known
            JOIN unnest($1::uuid[], $2::int[], $3::int[]) AS asked (account_id, messages, cap) USING (account_id)
            WHERE known.day = $4
            ORDER BY known.account_id
            FOR UPDATE OF known
        )
        UPDATE messages.daily_counts AS known SET messages = known.messages + locked.granted
        FROM locked
        WHERE known.account_id = locked.account_id AND known.day = $4
        RETURNING known.account_id, locked.granted
        """,
        list(counts),
        list(counts.values()),
        [caps[account_id] for account_id in counts],
        day,
    )
    return {row["account_id"]: row["granted"] for row in granted}


async def find_account(pool: Pool, account_id: UUID) -> Record | None:
    """Return an account's rules for sending, and what billing holds it back by; None means the defaults."""
    return await pool.fetchrow(
        """
        SELECT coalesce(account.status, 'active') AS status, countries, daily_cap,
            CASE WHEN spending.status <> 'ok' AND (until IS NULL OR until > now()) THEN spending.status END AS held_back
        FROM messages.accounts AS account
        FULL JOIN messages.spending USING (account_id)
        WHERE account_id = $1
        """,
        account_id,
    )


async def lock_message(connection: Connection, account_id: UUID, message_id: UUID) -> Stored | None:
    """Lock and return an account's message."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM messages.messages WHERE id = $1 AND account_id = $2 FOR UPDATE", message_id, account_id
    )
    return None if row is None else stored(row)


async def upsert_accounts(
    connection: Connection, rows: Sequence[tuple[UUID, str, str | None, int | None, int]]
) -> None:
    """Take over auth-service's word on accounts, unless a later one is known: (id, status, countries, cap, sequence).

    `countries` is a PostgreSQL array literal, since arrays of arrays must be rectangular.
    """
    await connection.execute(
        """
        INSERT INTO messages.accounts AS known (account_id, status, countries, daily_cap, sequence)
        SELECT account_id, status, countries::text[], daily_cap, sequence
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[])
             AS new (account_id, status, countries, daily_cap, sequence)
        ON CONFLICT (account_id) DO UPDATE
            SET status = excluded.status, countries = excluded.countries, daily_cap = excluded.daily_cap,
                sequence = excluded.sequence
            WHERE known.sequence < excluded.sequence
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def upsert_spending(connection: Connection, rows: Sequence[tuple[UUID, str, bool, datetime | None, int]]) -> None:
    """Take over billing's word on accounts, unless a later one is known: (id, status, exhausted, until, sequence)."""
    await connection.execute(
        """
        INSERT INTO messages.spending AS known (account_id, status, exhausted, until, sequence)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::timestamptz[], $5::int[])
        ON CONFLICT (account_id) DO UPDATE
            SET status = excluded.status, exhausted = excluded.exhausted, until = excluded.until,
                sequence = excluded.sequence
            WHERE known.sequence < excluded.sequence
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def count_of_day(pool: Pool, account_id: UUID, day: date, first: UUID, most: int) -> int:
    """Return how many messages count towards an account's cap on a day, `first` being the day's least id.

    As count_towards_cap begins it; not counted on beyond `most`.
    """
    count: int = await pool.fetchval(
        """
        SELECT coalesce(
            (SELECT messages FROM messages.daily_counts WHERE account_id = $1 AND day = $2),
            (SELECT count(*) FROM (SELECT FROM messages.messages
                                   WHERE account_id = $1 AND id >= $3 AND direction = 'outbound' LIMIT $4) AS counted)
        )
        """,
        account_id,
        day,
        first,
        most,
    )
    return count
