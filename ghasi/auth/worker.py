"""Clears away what has ended: refresh tokens, invitations, Idempotency-Keys, signing keys; relays auth's events."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from ghasi.auth import queries
from ghasi.auth.model import IDEMPOTENCY_WINDOW, INVITATION_KEPT
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources

INTERVAL_S = 60.0
BATCH = 1000
MOST_BATCHES = 50
"""A backlog takes several rounds, rather than one that keeps the database busy."""
log = structlog.get_logger("ghasi.auth")


async def work(resources: Resources) -> None:
    """Clear away once a minute, and relay, until `resources.stopping` is set."""
    relaying = asyncio.create_task(resources.events.relay("auth"))
    try:
        await _clear_away_until_stopped(resources)
    finally:
        relaying.cancel()
        await asyncio.wait([relaying])


async def _clear_away_until_stopped(resources: Resources) -> None:
    while not resources.stopping.is_set():
        try:
            await clear_away(resources.pool, datetime.now(UTC), resources.stopping)
        except Exception as error:  # noqa: BLE001 - the next round comes anyway
            log.warning("clearing_away_failed", error=type(error).__name__)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INTERVAL_S):
                await resources.stopping.wait()


async def clear_away(pool: Pool, now: datetime, stopping: asyncio.Event, *, batch: int = BATCH) -> dict[str, int]:
    """Delete what had ended by `now`, in batches of `batch`; return how much of each kind."""
    deleted = {}
    for name, delete, ended_by in (
        ("refresh_tokens", queries.delete_refresh_tokens, now),
        ("refresh_families", queries.delete_refresh_families, now),
        ("invitations", queries.delete_invitations, now - INVITATION_KEPT),
        ("idempotency_keys", queries.delete_creations, now - IDEMPOTENCY_WINDOW),
        ("signing_keys", queries.delete_signing_keys, now),
    ):
        deleted[name] = await _in_batches(delete, pool, ended_by, stopping, batch)
    if any(deleted.values()):
        log.info("cleared_away", **deleted)
    return deleted


async def _in_batches(
    delete: Callable[[Pool, datetime, int], Awaitable[int]],
    pool: Pool,
    ended_by: datetime,
    stopping: asyncio.Event,
    batch: int,
) -> int:
    total = 0
    for _ in range(MOST_BATCHES):
        count = await delete(pool, ended_by, batch)
        total += count
        if count < batch or stopping.is_set():
            break
    return total
