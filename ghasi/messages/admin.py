"""What operators see of messages and carriers."""

from typing import Any

from ghasi.storage.pool import Pool


async def list_carriers(pool: Pool) -> list[dict[str, Any]]:
    """Return the carriers as the worker that holds them last wrote them down, at most a second or two ago."""
    rows = await pool.fetch(
        """
        SELECT name, kind, bound AND seen_at > now() - interval '10 seconds' AS bound, window_size, outstanding,
               submitted, resubmitted, detail, seen_at
        FROM messages.carriers ORDER BY name
        """
    )
    return [dict(row) for row in rows]
