"""Endpoints that fail: since when, when their account is warned, and when Ghasi disables them.

An endpoint fails from the first failed attempt on until one succeeds, as the database has it: a worker keeps nothing of
it in memory that could go stale. Its account is warned after one, three and four days; the first attempt that fails
after five disables it, as 410 Gone does at once. Neither happens by an attempt made before the endpoint was last
changed: that speaks of what it was. Nor by one that the operator's own proxy failed. Without attempts nothing happens.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import structlog
from prometheus_client import Counter

from ghasi.storage import audit
from ghasi.storage.pool import Connection
from ghasi.webhooks.endpoints import failing_queries, queries
from ghasi.webhooks.model import CANCELED_AT_ONCE, FAILING, GONE, OUR_FAULT, Pace, Result, Standing, Tried, Verdict

log = structlog.get_logger("ghasi.webhooks")
_disabled = Counter(
    "ghasi_webhook_endpoints_disabled_total", "Endpoints that Ghasi itself disabled, by why it did", ["reason"]
)


def sum_up(results: Sequence[Result]) -> list[Tried]:
    """Return what attempts, in the order in which they ended, say of each of their endpoints."""
    found: dict[UUID, Tried] = {}
    for result in results:
        known = found.get(result.endpoint_id) or Tried(result.endpoint_id)
        if result.error is None:
            found[result.endpoint_id] = replace(known, succeeded_at=result.ended_at, failed_at=None)
            continue
        if result.error.startswith(OUR_FAULT):
            continue
        is_gone = result.status_code == 410  # noqa: PLR2004 - Gone
        found[result.endpoint_id] = replace(
            known,
            failed_at=known.failed_at or result.ended_at,
            version=result.version,
            gone=result.version if is_gone else known.gone,
        )
    return list(found.values())


def decide(standing: Standing, tried: Tried, pace: Pace) -> Verdict:
    """Decide what attempts mean for their endpoint."""
    since, warned = standing.failing_since, standing.warned
    if since is None or (tried.succeeded_at is not None and since <= tried.succeeded_at):
        since, warned = tried.failed_at, 0
    if tried.gone == standing.version:
        return Verdict(standing, since, warned, reason=GONE)
    if since is None or tried.failed_at is None or tried.version != standing.version:
        return Verdict(standing, since, warned)
    lasted_s = (tried.failed_at - since).total_seconds()
    if lasted_s >= pace.disabled_after_s:
        return Verdict(standing, since, warned, reason=FAILING)
    steps = bisect_right(pace.warned_after_s, lasted_s)
    return Verdict(standing, since, max(steps, warned), warns=steps > warned)


async def judge(connection: Connection, tried: Sequence[Tried], pace: Pace) -> list[Verdict]:
    """Write what attempts mean for their endpoints, whose rows are locked from here on; return what changed."""
    standings = await failing_queries.lock_changing(connection, tried, [*pace.warned_after_s, pace.disabled_after_s])
    if not standings:
        return []
    by_id = {one.endpoint_id: one for one in tried}
    verdicts = [decide(standing, by_id[standing.id], pace) for standing in standings]
    marked = [
        (verdict.standing.id, verdict.failing_since)
        for verdict in verdicts
        if verdict.failing_since is not None and (verdict.warns or verdict.reason == FAILING)
    ]
    if marked:
        # a failure that one worker wrote down after another its later success: the endpoint fails since now at most
        recovered = await failing_queries.list_recovered(connection, marked)
        verdicts = [
            Verdict(one.standing, by_id[one.standing.id].failed_at) if one.standing.id in recovered else one
            for one in verdicts
        ]
    await failing_queries.apply(connection, verdicts)
    return verdicts


async def close(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Cancel what is pending of endpoints that were disabled, and write to the audit log why they were."""
    ended = [verdict for verdict in verdicts if verdict.reason is not None]
    if not ended:
        return
    await queries.cancel_pending(
        connection, [(verdict.standing.account_id, verdict.standing.id) for verdict in ended], CANCELED_AT_ONCE
    )
    for verdict in ended:
        await audit.record(
            connection,
            actor="system:webhooks",
            action="webhook.disabled",
            subject=str(verdict.standing.id),
            account_id=verdict.standing.account_id,
            reason=verdict.reason,
        )


def report(verdicts: Sequence[Verdict]) -> None:
    """Tell the operator which endpoints were disabled; to be called once that is committed."""
    for verdict in verdicts:
        if verdict.reason is not None:
            _disabled.labels(verdict.reason).inc()
            log.warning(
                "webhook_disabled",
                endpoint_id=str(verdict.standing.id),
                account_id=str(verdict.standing.account_id),
                reason=verdict.reason,
            )
