"""All SQL about opt-outs: who wants no more messages, from which sender of which account. One function a statement."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from ghasi.contract.shapes import OptOutSource
from ghasi.storage.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class StoredOptOut:
    """A row of messages.opt_outs; an empty `sender` stands for all of the account's."""

    id: UUID
    account_id: UUID
    recipient: str
    sender: str
    source: OptOutSource


_COLUMNS = ", ".join(StoredOptOut.__dataclass_fields__)
_POOL = "SELECT address FROM messages.senders AS pool WHERE pool.in_pool AND pool.account_id = {}"


async def find_opted_out(
    connection: Connection | Pool, asked: Sequence[tuple[UUID, str | None, str]]
) -> set[tuple[UUID, str | None, str]]:
    """Return those of (account, sender, recipient) whose recipient has opted out of that sender.

    Of all senders of the account, of this one, or of another one of the pool that this one is in.
    """
    rows = await connection.fetch(
        f"""
        SELECT asked.number FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY
            AS asked (account_id, sender, recipient, number)
        WHERE EXISTS (
            SELECT FROM messages.opt_outs AS known
            WHERE known.account_id = asked.account_id AND known.recipient = asked.recipient
              AND (known.sender IN ('', asked.sender)
                   OR (known.sender IN ({_POOL.format("asked.account_id")})
                       AND asked.sender IN ({_POOL.format("asked.account_id")})))
        )
        """,
        [account_id for account_id, _, _ in asked],
        [sender for _, sender, _ in asked],
        [recipient for _, _, recipient in asked],
    )
    return {asked[row["number"] - 1] for row in rows}


async def list_opt_outs(
    pool: Pool, account_id: UUID, *, recipient: str | None, sender: str | None, before: UUID | None, most: int
) -> list[StoredOptOut]:
    """Return up to `most` of an account's opt-outs, newest first, before an id."""
    wanted = {"recipient =": recipient, "sender =": sender, "id <": before}
    given = {condition: value for condition, value in wanted.items() if value is not None}
    # a statement for each set of filters: one for all of them has a plan that no index fits
    conditions = "".join(f" AND {condition} ${number}" for number, condition in enumerate(given, 3))
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM messages.opt_outs WHERE account_id = $1{conditions} ORDER BY id DESC LIMIT $2",
        account_id,
        most,
        *given.values(),
    )
    return [StoredOptOut(*row.values()) for row in rows]


async def insert_opt_outs(connection: Connection, opt_outs: Collection[StoredOptOut]) -> set[UUID]:
    """Add opt-outs and return the ids of those that were not there; locks rows in one order whoever asks."""
    ordered = sorted(opt_outs, key=lambda one: (one.account_id, one.recipient, one.sender))
    rows = await connection.fetch(
        f"""
        INSERT INTO messages.opt_outs ({_COLUMNS})
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
        ON CONFLICT (account_id, recipient, sender) DO NOTHING
        RETURNING id
        """,
        [one.id for one in ordered],
        [one.account_id for one in ordered],
        [one.recipient for one in ordered],
        [one.sender for one in ordered],
        [one.source for one in ordered],
    )
    return {row["id"] for row in rows}


async def find_opt_out(connection: Connection, account_id: UUID, recipient: str, sender: str) -> StoredOptOut | None:
    """Return the opt-out of a recipient from exactly this sender."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM messages.opt_outs WHERE account_id = $1 AND recipient = $2 AND sender = $3
        """,
        account_id,
        recipient,
        sender,
    )
    return None if row is None else StoredOptOut(*row.values())


async def delete_opt_out(connection: Connection, account_id: UUID, opt_out_id: UUID) -> StoredOptOut | None:
    """Take back one of an account's opt-outs, and return what it was."""
    row = await connection.fetchrow(
        f"DELETE FROM messages.opt_outs WHERE account_id = $1 AND id = $2 RETURNING {_COLUMNS}", account_id, opt_out_id
    )
    return None if row is None else StoredOptOut(*row.values())


async def delete_opt_outs(connection: Connection, rows: Sequence[tuple[UUID, str, str]]) -> None:
    """Take back the opt-outs of (account, sender, recipient): from the sender, and where it is of the pool from it all.

    An opt-out from all senders stays.
    """
    await connection.execute(
        f"""
        DELETE FROM messages.opt_outs AS known
        USING unnest($1::uuid[], $2::text[], $3::text[]) AS gone (account_id, sender, recipient)
        WHERE known.account_id = gone.account_id AND known.recipient = gone.recipient
          AND (known.sender = gone.sender
               OR (known.sender IN ({_POOL.format("gone.account_id")})
                   AND gone.sender IN ({_POOL.format("gone.account_id")})))
        """,
        [account_id for account_id, _, _ in rows],
        [sender for _, sender, _ in rows],
        [recipient for _, _, recipient in rows],
    )
