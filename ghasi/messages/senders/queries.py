"""All SQL about senders: whose they are, where they may be used, and which of a pool a recipient knows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from ghasi.contract.shapes import SenderKind
from ghasi.storage.pool import Connection, Pool, Record

SenderPolicy = Literal["any", "listed"]


@dataclass(frozen=True, slots=True)
class StoredSender:
    """A row of messages.senders; `countries` None means every country."""

    id: UUID
    account_id: UUID
    address: str
    kind: SenderKind
    countries: list[str] | None
    is_default: bool
    in_pool: bool


_COLUMNS = ", ".join(StoredSender.__dataclass_fields__)


async def find_sender_rules(pool: Pool, account_id: UUID) -> Record:
    """Return policy, whether anybody has opted out, and all senders as JSON: one query, one row whatever there is."""
    [row] = await pool.fetch(
        """
        SELECT (SELECT policy FROM messages.sender_policies WHERE account_id = $1) AS policy,
               EXISTS (SELECT FROM messages.opt_outs WHERE account_id = $1) AS has_opt_outs,
               (SELECT json_agg(json_build_object('address', address, 'countries', countries,
                                                  'is_default', is_default, 'in_pool', in_pool))
                FROM messages.senders WHERE account_id = $1) AS senders
        """,
        account_id,
    )
    return row


async def list_owners(connection: Connection | Pool, addresses: Collection[str]) -> dict[str, UUID]:
    """Return the accounts that these numbers and short codes belong to, of those that belong to one."""
    rows = await connection.fetch(
        """
        SELECT address, account_id FROM messages.senders
        WHERE address = ANY($1::text[]) AND kind <> 'alphanumeric'
        """,
        list(addresses),
    )
    return {row["address"]: row["account_id"] for row in rows}


async def list_senders(
    pool: Pool, account_id: UUID | None, before: UUID | None = None, most: int | None = None
) -> list[StoredSender]:
    """Return an account's senders, or all accounts', newest first, before an id."""
    rows = await pool.fetch(
        f"""
        SELECT {_COLUMNS} FROM messages.senders
        WHERE ($1::uuid IS NULL OR account_id = $1) AND ($2::uuid IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        account_id,
        before,
        most,
    )
    return [StoredSender(*row.values()) for row in rows]


async def lock_senders(connection: Connection, account_id: UUID) -> list[StoredSender]:
    """Lock and return an account's senders, in one order whoever asks."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM messages.senders WHERE account_id = $1 ORDER BY id FOR UPDATE", account_id
    )
    return [StoredSender(*row.values()) for row in rows]


async def has_account(connection: Connection, account_id: UUID) -> bool:
    """Whether auth-service has told of an account."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM messages.accounts WHERE account_id = $1)", account_id
    )
    return found


async def insert_sender(connection: Connection, sender: StoredSender) -> bool:
    """Add a sender; return False where the account has it, or, no name, somebody else."""
    status: str = await connection.execute(
        """
        INSERT INTO messages.senders (id, account_id, address, kind, countries, is_default, in_pool)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
        """,
        sender.id,
        sender.account_id,
        sender.address,
        sender.kind,
        sender.countries,
        sender.is_default,
        sender.in_pool,
    )
    return status == "INSERT 0 1"


async def clear_default(connection: Connection, account_id: UUID, but: UUID) -> None:
    """Make no sender of an account the default, unless it is this one."""
    await connection.execute(
        "UPDATE messages.senders SET is_default = false WHERE account_id = $1 AND is_default AND id <> $2",
        account_id,
        but,
    )


async def update_sender(connection: Connection, sender: StoredSender) -> None:
    """Write what may change of a sender: its countries, and whether it is the default and in the pool."""
    await connection.execute(
        """
        UPDATE messages.senders SET countries = $3, is_default = $4, in_pool = $5
        WHERE account_id = $1 AND id = $2
        """,
        sender.account_id,
        sender.id,
        sender.countries,
        sender.is_default,
        sender.in_pool,
    )


async def delete_sender(connection: Connection, account_id: UUID, sender_id: UUID) -> None:
    """Take a sender from an account."""
    await connection.execute("DELETE FROM messages.senders WHERE account_id = $1 AND id = $2", account_id, sender_id)


async def upsert_policy(connection: Connection, account_id: UUID, policy: SenderPolicy) -> None:
    """Say whether an account may send as anybody or only as its listed senders."""
    await connection.execute(
        """
        INSERT INTO messages.sender_policies (account_id, policy) VALUES ($1, $2)
        ON CONFLICT (account_id) DO UPDATE SET policy = excluded.policy
        """,
        account_id,
        policy,
    )


async def list_sticky(
    connection: Connection | Pool, asked: Collection[tuple[UUID, str]]
) -> dict[tuple[UUID, str], str]:
    """Return which sender of the pool recipients know, by (account, recipient), of those who know one."""
    rows = await connection.fetch(
        """
        SELECT account_id, recipient, sender FROM messages.sticky_senders
        JOIN unnest($1::uuid[], $2::text[]) AS asked (account_id, recipient) USING (account_id, recipient)
        """,
        [account_id for account_id, _ in asked],
        [recipient for _, recipient in asked],
    )
    return {(row["account_id"], row["recipient"]): row["sender"] for row in rows}


async def insert_sticky(connection: Connection | Pool, rows: Sequence[tuple[UUID, str, str]]) -> None:
    """Remember which sender of the pool recipients were written to from: (account, recipient, sender).

    Idempotent; the last of several for a recipient counts. Locks rows in one order.
    """
    known = sorted({(account_id, recipient): sender for account_id, recipient, sender in rows}.items())
    await connection.execute(
        """
        INSERT INTO messages.sticky_senders AS known (account_id, recipient, sender)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])
        ON CONFLICT (account_id, recipient) DO UPDATE SET sender = excluded.sender
            WHERE known.sender <> excluded.sender
        """,
        [account_id for (account_id, _), _ in known],
        [recipient for (_, recipient), _ in known],
        [sender for _, sender in known],
    )
