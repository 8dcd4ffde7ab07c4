"""What operators see of carriers and tell them, in the database; a worker acts on it within a second."""

from typing import Any, Literal

from ghasi.contract.errors import Problem
from ghasi.messages.dispatch.bind_queries import list_holders
from ghasi.storage import audit
from ghasi.storage.pool import Pool

WORKERS_SEEN_WITHIN_S = 10
QUALITY_HOURS = 6


async def list_carriers(pool: Pool) -> list[dict[str, Any]]:
    """Return the carriers as their workers last wrote them down, at most a second or two ago, in the file's order.

    What several workers see is added up. `queue` counts messages that wait for the carrier, in a worker or aside; one
    that several carriers may take counts for each, and with a single carrier every message that waits is its.
    `delivery_rate` (0 to 1) and `latency_s` (mean, from sent to delivered) are of messages that ended in the last
    hours. `mode` is what the operator wants until a worker says what it is; `file_fault` why one refuses carriers.toml.
    """
    rows = await pool.fetch(
        """
        WITH seen AS (
            SELECT name, count(*) AS workers, bool_or(bound) AS bound, sum(links) AS links,
                   sum(links_wanted) AS links_wanted, sum(outstanding) AS outstanding, sum(window_size) AS window_size,
                   sum(waiting) AS waiting, sum(throughput_per_s) AS throughput_per_s,
                   sum(submitted_per_s) AS submitted_per_s, sum(refused_per_s) AS refused_per_s,
                   sum(receipts_per_s) AS receipts_per_s,
                   coalesce(string_agg(DISTINCT detail, '; ') FILTER (WHERE links_wanted > 0),
                            string_agg(DISTINCT detail, '; ')) AS detail, max(seen_at) AS seen_at,
                   CASE WHEN bool_and(mode = 'drained') THEN 'drained'
                        ELSE min(mode) FILTER (WHERE mode <> 'drained') END AS mode
            FROM messages.carrier_states WHERE seen_at > now() - make_interval(secs => $1) GROUP BY name
        ), held AS (
            SELECT name, count(*) AS messages
            FROM messages.dispatch CROSS JOIN LATERAL string_to_table(held_for, ' ') AS name
            WHERE held_for IS NOT NULL GROUP BY name
        ), quality AS (
            SELECT carrier, sum(messages)::float AS messages, sum(delivered)::float AS delivered,
                   sum(latency_s) AS latency_s
            FROM messages.quality WHERE hour > date_trunc('hour', now()) - make_interval(hours => $2) GROUP BY carrier
        )
        SELECT carriers.name, kind, coalesce(seen.mode, modes.mode, 'active') AS mode,
               coalesce(seen.bound, false) AS bound, coalesce(seen.links, 0) AS links,
               coalesce(seen.links_wanted, 0) AS links_wanted, coalesce(seen.outstanding, 0) AS outstanding,
               coalesce(seen.window_size, 0) AS window_size, seen.throughput_per_s,
               coalesce(CASE WHEN (SELECT count(*) FROM messages.carriers WHERE configured) = 1
                             THEN (SELECT count(*) FROM messages.dispatch) ELSE held.messages END, 0)
               + CASE WHEN (SELECT count(*) FROM messages.carriers WHERE configured) = 1
                      THEN 0 ELSE coalesce(seen.waiting, 0) END AS queue,
               coalesce(round(seen.submitted_per_s::numeric, 1), 0)::float AS submitted_per_s,
               coalesce(round(seen.refused_per_s::numeric, 1), 0)::float AS refused_per_s,
               coalesce(round(seen.receipts_per_s::numeric, 1), 0)::float AS receipts_per_s,
               round(CASE WHEN quality.messages > 0
                          THEN least(1, quality.delivered / quality.messages) END::numeric, 4)::float AS delivery_rate,
               round((quality.latency_s / nullif(quality.delivered, 0))::numeric, 1)::float AS latency_s,
               carriers.submitted, carriers.refused, carriers.receipts, carriers.resubmitted,
               coalesce(seen.workers, 0) AS workers,
               coalesce(seen.detail, 'no worker has it') AS detail, seen.seen_at
        FROM messages.carriers AS carriers
        LEFT JOIN seen USING (name) LEFT JOIN held USING (name)
        LEFT JOIN messages.carrier_modes AS modes USING (name)
        LEFT JOIN quality ON quality.carrier = carriers.name
        WHERE carriers.configured ORDER BY position, carriers.name
        """,
        float(WORKERS_SEEN_WITHIN_S),
        QUALITY_HOURS,
    )
    fault = await find_file_fault(pool)
    holders: dict[str, list[dict[str, Any]]] = {}
    for carrier, process, held, up in await list_holders(pool):
        holders.setdefault(carrier, []).append({"process": process, "binds": held, "up": up})
    return [dict(row) | {"file_fault": fault, "holders": holders.get(row["name"], [])} for row in rows]


async def find_file_fault(pool: Pool) -> str | None:
    """Return why a worker refuses carriers.toml, None when none does."""
    fault: str | None = await pool.fetchval(
        "SELECT min(fault) FROM messages.carrier_faults WHERE seen_at > now() - make_interval(secs => $1)",
        float(WORKERS_SEEN_WITHIN_S),
    )
    return fault


async def list_quality(pool: Pool) -> list[dict[str, Any]]:
    """Return carrier, country (None where the number tells none), messages, delivery_rate and latency_s of each."""
    rows = await pool.fetch(
        """
        SELECT carrier, nullif(country, '') AS country, sum(messages)::bigint AS messages,
               least(1, sum(delivered)::float / sum(messages)) AS delivery_rate,
               sum(latency_s) / nullif(sum(delivered), 0)::float AS latency_s
        FROM messages.quality WHERE hour > date_trunc('hour', now()) - make_interval(hours => $1)
        GROUP BY carrier, country HAVING sum(messages) > 0 ORDER BY carrier, country
        """,
        QUALITY_HOURS,
    )
    return [dict(row) for row in rows]


async def set_carrier_mode(pool: Pool, name: str, mode: Literal["active", "paused", "draining"], *, actor: str) -> None:
    """Pause, drain or resume a carrier; it may be told so again. Raises Problem not_found."""
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval("SELECT true FROM messages.carriers WHERE name = $1 AND configured", name):
            known = await connection.fetch(
                "SELECT name FROM messages.carriers WHERE configured ORDER BY position, name"
            )
            names = ", ".join(row["name"] for row in known)
            raise Problem("not_found", f"No worker has a carrier {name}; there are: {names or 'none'}.")
        before = await connection.fetchval("SELECT mode FROM messages.carrier_modes WHERE name = $1 FOR UPDATE", name)
        if (before or "active") == mode:
            return
        if mode == "active":
            await connection.execute("DELETE FROM messages.carrier_modes WHERE name = $1", name)
        else:
            await connection.execute(
                """
                INSERT INTO messages.carrier_modes (name, mode, changed_by) VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET mode = $2, changed_by = $3, changed_at = now()
                """,
                name,
                mode,
                actor,
            )
        action = {"active": "carrier.resumed", "paused": "carrier.paused", "draining": "carrier.drained"}[mode]
        await audit.record(connection, actor=actor, action=action, subject=name, mode=mode, before=before or "active")
