"""What the clock moves of spending: a month's turn, and holds of messages whose end was never heard of."""

import asyncio
from datetime import UTC, date, datetime
from uuid import UUID

import structlog

from ghasi.billing.ledger import spending, spending_queries, states
from ghasi.billing.periods import month_of
from ghasi.storage.bells import Bells
from ghasi.storage.pool import UNAVAILABLE, Pool

ROUND_S = 1.0
_MOST = 500
log = structlog.get_logger("ghasi.billing")


async def keep(pool: Pool, bells: Bells) -> None:
    """Judge accounts anew when their month has turned, and all of them at the start, until cancelled."""
    seen: date | None = None
    while True:
        now = datetime.now(UTC)
        try:
            if month_of(now) != seen:
                if await refresh_all(pool, now):
                    bells.ring("billing")
                seen = month_of(now)
            if await refresh_outdated(pool, now):
                bells.ring("billing")
            await spending.release_overdue(pool, now)
        except UNAVAILABLE as error:  # the next round comes
            log.warning("spending_not_kept", error=type(error).__name__)
        except Exception as error:  # it must not end the rating of messages; it is tried again, and seen
            log.exception("spending_not_kept", error=type(error).__name__)
        await asyncio.sleep(ROUND_S)


async def refresh_all(pool: Pool, now: datetime) -> bool:
    """Judge every account anew that has a limit, a balance or a plan: with a month a plan may begin or end.

    Returns whether there is anything to tell.
    """
    after, tells = UUID(int=0), False
    while accounts := await spending_queries.list_after(pool, after, _MOST):
        async with pool.acquire() as connection, connection.transaction():
            tells |= await states.refresh(connection, accounts, now)
        after = accounts[-1]
    return tells


async def refresh_outdated(pool: Pool, now: datetime) -> int:
    """Judge accounts anew whose state held until now; return how many, 500 at most."""
    accounts = await spending_queries.list_outdated(pool, now, _MOST)
    if accounts:
        async with pool.acquire() as connection, connection.transaction():
            await states.refresh(connection, accounts, now)
    return len(accounts)
