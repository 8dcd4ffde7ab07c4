"""What rating tells the ledger at the end of each batch: what was charged, what is on its way, and what is over.

A message of an account that is held to a balance or a limit is held at what it will probably cost, from its acceptance
(into the schedule too) until it is charged or ends unsent: so what customers may still spend is never counted twice.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.ledger import posting, states
from ghasi.billing.ledger import spending_queries as queries
from ghasi.billing.ledger.model import Usage
from ghasi.billing.ledger.prepaid import list_prepaid, list_prepaid_months
from ghasi.billing.ledger.spending_queries import Held
from ghasi.billing.periods import month_of
from ghasi.storage.pool import Connection, Pool

HELD_FOR_MOST = timedelta(days=14)
"""Longer than a message's validity and the wait for its receipt."""
_MOST = 500


class Hold(NamedTuple):
    """A message that was accepted, when it is to be sent, and what it will probably cost."""

    message_id: UUID
    account_id: UUID
    at: datetime
    amount_micros: int


async def list_held(connection: Connection, account_ids: Collection[UUID], now: datetime) -> set[UUID]:
    """Return those accounts whose accepted messages are to be held: prepaid ones, and those with a limit."""
    if not account_ids:
        return set()
    prepaid = await list_prepaid(connection, account_ids, month_of(now))
    return prepaid | await queries.list_limited(connection, account_ids)


async def take(
    connection: Connection,
    changes: Mapping[tuple[UUID, date], int],
    accepted: Sequence[Hold],
    ended: Collection[UUID],
    now: datetime,
) -> None:
    """Take over what a batch of messages' events came to; for the consumer alone, at the end of its transaction.

    `changes` is what charges added or took away by account and month of the charge, of all accounts; `accepted` are
    messages of accounts that list_held names; `ended` all that were charged what they will cost, or ended unsent:
    their holds are released. Charges of a prepaid month are taken from the balance, in one transaction an account.
    An accepted message that was charged or refused before, or has a hold, is passed over.
    """
    await _take_from_balances(connection, changes)
    held = await queries.insert_holds(connection, [_held(one) for one in accepted]) if accepted else []
    released = await queries.delete_holds(connection, ended) if ended else []
    await _move(connection, changes, held, released, now)


async def release_overdue(pool: Pool, now: datetime) -> int:
    """Release holds of messages whose end was never heard of; return how many, 500 at most."""
    async with pool.acquire() as connection, connection.transaction():
        overdue = await queries.list_overdue_holds(connection, now, _MOST)
        if overdue:
            await _move(connection, {}, [], await queries.delete_holds(connection, overdue), now)
        return len(overdue)


async def _take_from_balances(connection: Connection, changes: Mapping[tuple[UUID, date], int]) -> None:
    if not changes:
        return
    amounts: dict[UUID, int] = defaultdict(int)
    for account_id, month in await list_prepaid_months(connection, changes.keys()):
        amounts[account_id] += changes[account_id, month]
    if amounts:
        currencies = await account_queries.list_currencies(connection, amounts)
        await posting.post_usage(
            connection,
            [Usage(account_id, currencies[account_id], micros) for account_id, micros in amounts.items()],
        )


async def _move(
    connection: Connection,
    changes: Mapping[tuple[UUID, date], int],
    held: Sequence[tuple[UUID, date, int]],
    released: Sequence[tuple[UUID, date, int]],
    now: datetime,
) -> None:
    moved: dict[tuple[UUID, date], list[int]] = defaultdict(lambda: [0, 0])
    for key, micros in changes.items():
        moved[key][0] += micros
    for account_id, month, micros in held:
        moved[account_id, month][1] += micros
    for account_id, month, micros in released:
        moved[account_id, month][1] -= micros
    rows = [(*key, spent, held_) for key, (spent, held_) in sorted(moved.items()) if spent or held_]
    if rows:
        await queries.add_months(connection, rows)
        await states.refresh(connection, {row[0] for row in rows}, now)


def _held(one: Hold) -> Held:
    at = one.at.astimezone(UTC)
    return Held(one.message_id, one.account_id, month_of(at), one.amount_micros, at + HELD_FOR_MOST)
