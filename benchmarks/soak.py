"""`make soak MINUTES=20`: steady load at half of the saturated rate, and whether anything grows meanwhile.

python -m benchmarks.soak [--minutes 20] [--every 60] [--rate 0]. An open loop of full cycles; a line every minute with
memory, hot tables, the age of the oldest due row, latencies and cycles a second. At the end the last third is held
against the first, and the exit status is 1 when something is not flat, or a message was lost.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.flatness import Verdict, judge
from benchmarks.instruments.stamps import ANSWERED, DUE, MOST, RECEIPTED, TOLD, delays
from benchmarks.latency import percentiles
from benchmarks.measuring import drained, end_what_was_started, folder_of_today, keep, load, stats
from benchmarks.plots import draw
from benchmarks.processes import memory_of
from benchmarks.whole import Whole, whole
from ghasi.storage import embedded

SATURATING_S = 8.0
QUEUES = ("dispatch", "awaited", "pending")
"""Tables that turn over completely, all the time, and so should keep their size."""
KEPT = ("submissions", "outbox")
"""Tables of which rows go when they are old enough: these grow for as long as that takes."""
_TABLES = """
SELECT schemaname || '.' || relname AS name, n_live_tup AS live, n_dead_tup AS dead,
       pg_total_relation_size(relid) AS size
FROM pg_stat_user_tables WHERE relname = ANY($1) ORDER BY 1
"""
_QUEUE_AGE = """
SELECT greatest(0, extract(epoch FROM now() - least(
    (SELECT min(due_at) FROM messages.dispatch), (SELECT min(due_at) FROM webhooks.pending))))::float8
"""
console = Console(width=None if sys.stdout.isatty() else 160)


class Soak:
    """A running load and what is seen of it."""

    def __init__(self, running: Whole, connection: asyncpg.Connection, rate: float) -> None:
        self.running, self.connection, self.rate = running, connection, rate
        self.first = self.next = running.sent + 1
        self.rows: list[dict[str, Any]] = []

    async def minute(self, began: float, every_s: float) -> dict[str, Any]:
        """Look at everything, and at the messages that were due since the last look."""
        now = time.monotonic()
        stamps = self.running.stamps
        numbers = range(self.next, self.first + int((now - began) * self.rate))
        while numbers and not stamps[DUE].moments[numbers[-1]]:  # the load began later than it was asked to
            numbers = numbers[:-1]
        self.next = numbers.stop
        posted = percentiles(delays(stamps[DUE], stamps[ANSWERED], numbers, now))
        told = percentiles(delays(stamps[RECEIPTED], stamps[TOLD], numbers, now))
        tables = {row["name"]: dict(row) for row in await self.connection.fetch(_TABLES, [*QUEUES, *KEPT])}
        memory = memory_of(self.running.supervisor)
        counted = await asyncio.to_thread(stats, self.running.receiver_port, "reset")
        row = {
            "minute": round((now - began) / 60, 2),
            "rss_mib": memory["all"]["rss_mib"],
            "memory": memory,
            "tables": tables,
            "queues_mib": size_of(tables, QUEUES),
            "kept_mib": size_of(tables, KEPT),
            "dead_tuples": sum(table["dead"] for table in tables.values()),
            "queue_age_s": await self.connection.fetchval(_QUEUE_AGE) or 0.0,
            "post_p99_ms": posted.get("p99_ms", 0.0),
            "webhook_p99_ms": told.get("p99_ms", 0.0),
            "per_s": counted["delivered"] / every_s,
            "webhooks": counted["delivered"],
        }
        self.rows.append(row)
        return row


def size_of(tables: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> float:
    """Return the MiB of tables of these names in any schema, indexes included."""
    return sum(table["size"] for name, table in tables.items() if name.partition(".")[2] in names) / 2**20


def line(row: dict[str, Any]) -> str:
    """Say what one minute saw."""
    parts = ", ".join(f"{part} {one['rss_mib']:.0f}" for part, one in row["memory"].items() if part != "all")
    return (
        f"{row['minute']:5.1f} min: {row['per_s']:,.0f} cycles/s, POST p99 {row['post_p99_ms']:.1f} ms, "
        f"webhook p99 {row['webhook_p99_ms']:.1f} ms, oldest due {row['queue_age_s']:.2f} s, "
        f"{row['rss_mib']:.0f} MiB ({parts}), queues {row['queues_mib']:.1f} MiB, "
        f"outboxes {row['kept_mib']:.0f} MiB, {row['dead_tuples']:,} dead"
    )


async def saturated_rate(running: Whole, connections: int) -> float:
    """Return the cycles a second of a closed loop."""
    return float((await running.cycles(running.order(SATURATING_S, connections)))["per_s"])


async def soak(options: argparse.Namespace) -> tuple[Soak, bool]:
    """Run it; return what was seen, and whether every message has its webhook and its charge."""
    async with whole() as running:
        console.print("how fast it goes ...")
        rate = options.rate or await saturated_rate(running, options.connections) / 2
        # a JWT ends after a quarter of an hour
        key = await running.customer.good("POST", "/v1/api-keys", {"name": "soak"})
        running.customer.token = key["key"]
        address = embedded.running(running.ghasi.folder / "data")
        assert address is not None
        connection = await asyncpg.connect(address.url)
        seen = Soak(running, connection, rate)
        seconds = options.minutes * 60
        if running.sent + rate * seconds >= MOST:
            sys.exit(f"at {rate:,.0f} a second numbers last for {(MOST - running.sent) / rate / 60:,.0f} minutes")
        console.print(f"{rate:,.0f} messages a second for {options.minutes:g} minutes")
        await asyncio.to_thread(stats, running.receiver_port, "reset")
        began = time.monotonic()
        loading = asyncio.create_task(asyncio.to_thread(load, running.order(seconds, options.connections, rate)))
        for number in range(1, int(seconds / options.every) + 1):
            await asyncio.wait((loading,), timeout=began + number * options.every - time.monotonic())
            console.print(line(await seen.minute(began, options.every)), highlight=False, soft_wrap=True)
        loaded = await loading
        before = sum(row["webhooks"] for row in seen.rows)
        counted = await asyncio.to_thread(drained, running.receiver_port, loaded["requests"] - before)
        running.sent += loaded["requests"]
        billed = await running.billed()
        await connection.close()
    webhooks = before + counted["delivered"]
    console.print(f"{loaded['requests']:,} messages, {webhooks:,} webhooks; {billed:,} of {running.sent:,} billed")
    return seen, webhooks >= loaded["requests"] and billed == running.sent


def report(verdicts: Sequence[Verdict]) -> Table:
    """Make a table of the first third against the last."""
    table = Table("medians of a third", "first", "last", "at most", "", box=None)
    for verdict in verdicts:
        table.add_row(
            verdict.name, f"{verdict.first:,.1f}", f"{verdict.last:,.1f}", f"{verdict.bound:,.1f}",
            "flat" if verdict.is_flat else "[bold red]not flat[/]",
        )  # fmt: skip
    return table


def main() -> None:
    """Run, report, keep; exit 1 when something is not flat."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines")
    parser.add_argument("--rate", type=float, default=0, help="messages a second; default half of the most")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    seen, complete = asyncio.run(soak(options))
    verdicts = judge(seen.rows)
    console.print(report(verdicts))
    judged = [verdict.figures() for verdict in verdicts]
    file = keep("soak", rate=seen.rate, complete=complete, minutes=seen.rows, verdicts=judged)
    plots = draw(file, folder_of_today(), prefix=f"{file.stem}-")
    console.print(f"figures: {file}\nplots: {', '.join(plot.name for plot in plots)}")
    if not complete:
        sys.exit("messages were lost: not every one has its webhook and its charge")
    if not all(verdict.is_flat for verdict in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    end_what_was_started()
    main()
