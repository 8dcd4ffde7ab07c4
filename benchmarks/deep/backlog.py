"""`make bench-backlog`: what a webhook worker makes of a backlog, and the memory that it takes.

python -m benchmarks.deep.backlog [--backlog 1000000]. Deliveries that are due lie in webhooks.pending, to a
thousand endpoints; the resident memory of one worker, `ghasi work webhooks`, is watched while it drains them: first ten
thousand, then as many as asked for.
"""

import argparse
import asyncio
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import DATABASE, cpu_us, keep, stats, used_s
from benchmarks.webhook_worker import BODY, ID_OF, WebhookWorker, webhook_worker

SMALL_BACKLOG = 10_000
SAMPLE_S = 0.5
ENDPOINTS = 1000
console = Console(width=None if sys.stdout.isatty() else 120)

_BACKLOG = f"""
WITH new AS (
    INSERT INTO webhooks.events (id, account_id, message_id, type, at, body)
    SELECT uuidv7(), {ID_OF.format("n % $2")}, uuidv7(), 'message.delivered', now(), $3
    FROM generate_series(1, $1::int) AS n RETURNING id, account_id
)
INSERT INTO webhooks.pending (endpoint_id, event_id, due_at) SELECT account_id, id, now() FROM new
"""


async def drain(bench: WebhookWorker, backlog: int) -> dict[str, Any]:
    """Let a worker begin with a backlog; watch its memory until nothing is left."""
    await bench.connection.execute("TRUNCATE webhooks.events, webhooks.pending, webhooks.deliveries")
    await bench.connection.execute(_BACKLOG, backlog, ENDPOINTS, BODY)
    await bench.connection.execute("VACUUM ANALYZE webhooks.pending, webhooks.events")
    stats(bench.port, "reset")
    with bench.working() as worker:
        before = used_s({"worker": worker}, bench.folder)
        draining = asyncio.create_task(bench.over(backlog))
        memory, arrived = [], []
        while not draining.done():
            memory.append(resident_mb(worker))
            arrived.append(stats(bench.port)["all"])
            await asyncio.wait((draining,), timeout=SAMPLE_S)
        counted = draining.result()
        cost = cpu_us(before, used_s({"worker": worker}, bench.folder), backlog)
    tenth = max(1, len(arrived) // 10)
    return {
        "backlog": backlog,
        "per_s": backlog / (counted["last"] - counted["first"]),
        "per_s_by_tenth": [
            round((arrived[min(at + tenth, len(arrived) - 1)] - arrived[at]) / tenth / SAMPLE_S)
            for at in range(0, len(arrived) - 1, tenth)
        ],
        "cpu_us": cost,
        "again": counted["all"] - backlog,
        "connections": counted["connections"],
        "memory_mb": {"first": memory[0], "median": statistics.median(memory), "most": max(memory)},
    }


def resident_mb(process_id: int) -> float:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(backlogs: list[dict[str, Any]]) -> Table:
    """Make a table of what a worker needs for a small and for a large backlog."""
    table = Table(
        "backlog", "deliveries/s", "CPU us", "PostgreSQL us", "MB at first", "MB median", "MB at most", "again"
    )
    for one in backlogs:
        memory = one["memory_mb"]
        table.add_row(
            f"{one['backlog']:,}", f"{one['per_s']:,.0f}",
            f"{one['cpu_us']['worker']:.0f}", f"{one['cpu_us'][DATABASE]:.0f}",
            *(f"{memory[name]:.0f}" for name in ("first", "median", "most")), f"{one['again']:.0f}",
        )  # fmt: skip
    return table


async def main() -> None:
    """Measure, print a table; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.deep.backlog")
    parser.add_argument("--backlog", type=int, default=1_000_000)
    arguments = parser.parse_args()
    async with webhook_worker(ENDPOINTS) as bench:
        await bench.add_endpoints(ENDPOINTS)
        backlogs = [await drain(bench, backlog) for backlog in (SMALL_BACKLOG, arguments.backlog)]
    console.print(report(backlogs))
    console.print(f"deliveries/s over the time: {backlogs[-1]['per_s_by_tenth']}")
    console.print(f"raw figures: {keep('backlog', backlogs=backlogs)}")


if __name__ == "__main__":
    asyncio.run(main())
