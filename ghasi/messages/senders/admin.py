"""What operators do about senders: give accounts numbers and names, and say whether they may use others.

Each change is in the audit log, in its transaction.
"""

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

import phonenumbers

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.values import new_id
from ghasi.messages.numbers import parse_sender
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders.queries import SenderPolicy, StoredSender
from ghasi.messages.senders.senders import kind_of
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool

_COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)


async def list_senders(pool: Pool, account_id: UUID | None = None, most: int | None = None) -> list[StoredSender]:
    """Return an account's senders or all accounts', newest first."""
    return await sender_queries.list_senders(pool, account_id, None, most)


async def add_sender(
    pool: Pool,
    account_id: UUID,
    address: str,
    *,
    countries: Iterable[str] | None = None,
    default: bool = False,
    in_pool: bool = False,
    actor: str,
) -> StoredSender:
    """Give an account a sender, as its default where that is said.

    Raises Problem not_found (no such account), invalid_sender, not_a_pool_sender, or invalid_request: a country that
    is none, a sender that the account has, or a number or short code that another account has.
    """
    kind = kind_of(parse_sender(address) or "")
    if in_pool and kind == "alphanumeric":
        raise Problem("not_a_pool_sender", f"{address} is a name: the pool is for numbers and short codes")
    allowed = None if countries is None else _countries(countries)
    sender = StoredSender(new_id(), account_id, address, kind, allowed, default, in_pool)
    async with pool.acquire() as connection, connection.transaction():
        await _check_account(connection, account_id)
        known = await sender_queries.lock_senders(connection, account_id)
        if any(one.address == address for one in known):
            raise invalid("address", f"the account has {address} already")
        if default:
            await sender_queries.clear_default(connection, account_id, sender.id)
        if not await sender_queries.insert_sender(connection, sender):
            owner = (await sender_queries.list_owners(connection, [address])).get(address)
            if owner is None:
                raise invalid("address", "somebody else is changing the account's senders: try again")
            raise invalid("address", f"{address} belongs to account {owner}")
        await audit.record(
            connection, actor=actor, action="sender.added", subject=str(sender.id), account_id=account_id,
            address=address, countries=allowed, default=default, pool=in_pool,
        )  # fmt: skip
    return sender


async def set_countries(
    pool: Pool, account_id: UUID, address: str, countries: Iterable[str] | None, *, actor: str
) -> StoredSender:
    """Say for which countries an account may use a sender, None for all; raises Problem not_found, invalid_request."""
    allowed = None if countries is None else _countries(countries)
    async with pool.acquire() as connection, connection.transaction():
        changed = replace(await _get(connection, account_id, address), countries=allowed)
        await sender_queries.update_sender(connection, changed)
        await audit.record(
            connection, actor=actor, action="sender.countries_set", subject=str(changed.id), account_id=account_id,
            address=address, countries=allowed,
        )  # fmt: skip
    return changed


async def remove_sender(pool: Pool, account_id: UUID, address: str, *, actor: str) -> StoredSender:
    """Take a sender from an account; raises Problem not_found. Opt-outs from it stay, for when it comes back."""
    async with pool.acquire() as connection, connection.transaction():
        sender = await _get(connection, account_id, address)
        await sender_queries.delete_sender(connection, account_id, sender.id)
        await audit.record(
            connection, actor=actor, action="sender.removed", subject=str(sender.id), account_id=account_id,
            address=address,
        )  # fmt: skip
    return sender


async def get_policy(pool: Pool, account_id: UUID) -> SenderPolicy:
    """Return whether an account may send as anybody; raises Problem not_found (no such account)."""
    async with pool.acquire() as connection:
        await _check_account(connection, account_id)
    policy: SenderPolicy = (await sender_queries.find_sender_rules(pool, account_id))["policy"] or "any"
    return policy


async def set_policy(pool: Pool, account_id: UUID, policy: SenderPolicy, *, actor: str) -> None:
    """Let an account send as anybody, or only as its listed senders; raises Problem not_found (no such account)."""
    async with pool.acquire() as connection, connection.transaction():
        await _check_account(connection, account_id)
        await sender_queries.upsert_policy(connection, account_id, policy)
        await audit.record(
            connection, actor=actor, action="sender.policy_set", subject=str(account_id), account_id=account_id,
            policy=policy,
        )  # fmt: skip


def _countries(countries: Iterable[str]) -> list[str]:
    allowed = sorted({country.strip().upper() for country in countries})
    if not allowed:
        raise invalid("countries", "must name a country, or `all`")
    unknown = [country for country in allowed if country not in _COUNTRIES]
    if unknown:
        raise invalid("countries", f"no ISO 3166-1 alpha-2 code: {', '.join(unknown)}")
    return allowed


async def _check_account(connection: Connection, account_id: UUID) -> None:
    if not await sender_queries.has_account(connection, account_id):
        raise Problem("not_found", f"There is no account {account_id}.")


async def _get(connection: Connection, account_id: UUID, address: str) -> StoredSender:
    for sender in await sender_queries.lock_senders(connection, account_id):
        if sender.address == address:
            return sender
    raise Problem("not_found", f"Account {account_id} has no sender {address}.")
