"""`make bench-webhooks`: deliveries a second of one worker, beside a bare aiohttp loop; and a backlog's memory.

python -m benchmarks.webhook_rate [--deliveries 20000] [--rounds 5] [--backlog 1000000] [--only rate]. The worker is
`ghasi work webhooks` over an embedded PostgreSQL of its own; receiver and loop are processes of their own too. Every
endpoint is another account's and has an address of its own in 127.0.0.0/8, so that none shares a connection.

- rate: events are written to the messages outbox, all at once, and followed, fed, claimed, sent and written down. The
  loop sends as many of the same bodies to the same hosts, as many at once as the worker has places.
- backlog: deliveries that are due lie in webhooks.pending; the worker's resident memory is watched while it drains.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import beside, cpu_s, keep, postgres_cpu_s, stats, wait_for
from benchmarks.receiver import address_of
from ghasi.processes.lifetime import allow_many_files
from ghasi.processes.logs import configure_logs
from ghasi.storage import embedded
from ghasi.storage.migrate import migrate
from ghasi.storage.sealing import Sealer, new_secret_key
from ghasi.webhooks.delivering.signing import new_secret
from ghasi.webhooks.examples import example_data
from ghasi.webhooks.model import Pace
from tests.ports import reserved_ports

DATA = example_data("message.delivered")
BODY = f'{{"type":"message.delivered","timestamp":"2026-01-01T00:00:02.000Z","data":{DATA}}}'
PACE = Pace()
CASES = (1, 100, 5000)
SMALL_BACKLOG = 10_000
SAMPLE_S = 0.5
BACKLOG_ENDPOINTS = 1000
STALLED_S = 60.0
console = Console(width=None if sys.stdout.isatty() else 120)


def id_of(case: int, number: int) -> UUID:
    """Return the id of an endpoint, and of its account."""
    return UUID(f"00000000-0000-7000-{0x8000 + case % 0x1000:04x}-{number:012x}")


_ID_OF = "('00000000-0000-7000-' || to_hex(32768 + $2::int % 4096) || '-' || lpad(to_hex({}), 12, '0'))::uuid"
_OUTBOX = f"""
INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data)
SELECT uuidv7(), 'message.delivered', {_ID_OF.format("n % $2")}, uuidv7(), 2, now(), $3::text::json
FROM generate_series(1, $1::int) AS n
"""
_BACKLOG = f"""
WITH new AS (
    INSERT INTO webhooks.events (id, account_id, message_id, type, at, body)
    SELECT uuidv7(), {_ID_OF.format("n % $2")}, uuidv7(), 'message.delivered', now(), $3
    FROM generate_series(1, $1::int) AS n RETURNING id, account_id
)
INSERT INTO webhooks.pending (endpoint_id, event_id, due_at) SELECT account_id, id, now() FROM new
"""


@dataclass
class Bench:
    """A database, a receiver, and where both are."""

    folder: Path
    url: str
    port: int
    connection: asyncpg.Connection
    sealer: Sealer
    secret_key: str

    async def add_endpoints(self, case: int) -> None:
        """Make so many endpoints, one an account."""
        now = datetime.now(UTC)
        rows = [
            (
                id_of(case, number), id_of(case, number), f"http://{address_of(number)}:{self.port}/hook",
                ["message.*"], True, self.sealer.seal(new_secret().encode()), now, now,
            )
            for number in range(case)
        ]  # fmt: skip
        columns = ("id", "account_id", "url", "events", "enabled", "secret", "created_at", "updated_at")
        await self.connection.copy_records_to_table("endpoints", schema_name="webhooks", records=rows, columns=columns)
        await self.connection.execute("ANALYZE webhooks.endpoints")

    @contextlib.contextmanager
    def working(self) -> Iterator[int]:
        """Run a worker, once it is ready; gives its process id."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}
        settings = {"GHASI_DEV": "true", "GHASI_DATABASE_URL": self.url, "GHASI_SECRET_KEY": self.secret_key}
        output = self.folder / "worker.out"
        with output.open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "ghasi", "work", "webhooks"],
                env=inherited | settings, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            while b"ready" not in output.read_bytes():
                assert worker.poll() is None, output.read_text()
                time.sleep(0.05)
            yield worker.pid
        finally:
            worker.terminate()
            worker.wait()

    async def over(self, expected: int) -> dict[str, float]:
        """Wait until so many deliveries have come and are written down; return what the receiver counted."""
        counted, since = stats(self.port), time.monotonic()
        while counted["all"] < expected:
            assert time.monotonic() < since + STALLED_S, f"{counted['all']} of {expected} deliveries have come"
            await asyncio.sleep(0.25)
            now = stats(self.port)
            if now["all"] > counted["all"]:
                since = time.monotonic()
            counted = now
        while await self.connection.fetchval("SELECT EXISTS (SELECT FROM webhooks.pending)"):
            await asyncio.sleep(0.05)
        return counted

    async def rate(self, worker: int, case: int, deliveries: int) -> dict[str, float]:
        """Write events of which each reaches one of `case` endpoints, and measure until all are delivered."""
        os.kill(worker, signal.SIGSTOP)
        try:
            await self.connection.execute(_OUTBOX, deliveries, case, DATA)
            stats(self.port, "reset")
            before, database = cpu_s(worker), postgres_cpu_s(self.folder)
        finally:
            os.kill(worker, signal.SIGCONT)
        counted = await self.over(deliveries)
        return {
            "per_s": deliveries / (counted["last"] - counted["first"]),
            "cpu_us": (cpu_s(worker) - before) * 1e6 / deliveries,
            "database_us": (postgres_cpu_s(self.folder) - database) * 1e6 / deliveries,
            "again": counted["all"] - deliveries,
            "connections": counted["connections"],
        }

    def loop(self, case: int, deliveries: int) -> dict[str, float]:
        """Let the bare loop send as many, with as many at once."""
        concurrency = min(PACE.most_in_flight, case * PACE.most_window)
        command = [
            sys.executable,
            "-m",
            "benchmarks.webhook_loop",
            *map(str, (self.port, case, deliveries, concurrency)),
        ]
        stats(self.port, "reset")
        spent = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return {
            "per_s": deliveries / spent["seconds"],
            "cpu_us": spent["cpu_s"] * 1e6 / deliveries,
            "connections": stats(self.port)["connections"],
        }

    async def drain(self, backlog: int) -> dict[str, Any]:
        """Let a worker begin with a backlog; watch its memory until nothing is left."""
        await self.connection.execute("TRUNCATE webhooks.events, webhooks.pending, webhooks.deliveries")
        await self.connection.execute(_BACKLOG, backlog, BACKLOG_ENDPOINTS, BODY)
        await self.connection.execute("VACUUM ANALYZE webhooks.pending, webhooks.events")
        stats(self.port, "reset")
        database = postgres_cpu_s(self.folder)
        with self.working() as worker:
            before = cpu_s(worker)
            draining = asyncio.create_task(self.over(backlog))
            memory, arrived = [], []
            while not draining.done():
                memory.append(resident_mb(worker))
                arrived.append(stats(self.port)["all"])
                await asyncio.wait((draining,), timeout=SAMPLE_S)
            counted = draining.result()
            cpu = cpu_s(worker) - before
        tenth = max(1, len(arrived) // 10)
        return {
            "backlog": backlog,
            "per_s": backlog / (counted["last"] - counted["first"]),
            "per_s_by_tenth": [
                round((arrived[min(at + tenth, len(arrived) - 1)] - arrived[at]) / tenth / SAMPLE_S)
                for at in range(0, len(arrived) - 1, tenth)
            ],
            "cpu_us": cpu * 1e6 / backlog,
            "database_us": (postgres_cpu_s(self.folder) - database) * 1e6 / backlog,
            "again": counted["all"] - backlog,
            "connections": counted["connections"],
            "memory_mb": {"first": memory[0], "median": statistics.median(memory), "most": max(memory)},
        }


def resident_mb(process_id: int) -> float:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    """Start a database and a receiver of this run's own."""
    folder = Path(tempfile.mkdtemp(prefix="ghasi-bench-"))
    folder.chmod(0o711)
    key = new_secret_key()
    try:
        url = embedded.start(folder).url
        await migrate(url)
        connection = await asyncpg.connect(url, command_timeout=3600)
        with reserved_ports(1) as (port,), beside("benchmarks.receiver", str(port), str(max(CASES))):
            wait_for(f"http://127.0.0.1:{port}/stats")
            yield Bench(folder, url, port, connection, Sealer(key), key)
        await connection.close()
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


Rounds = dict[int, list[dict[str, dict[str, float]]]]


async def measure_rates(bench: Bench, deliveries: int, rounds: int) -> Rounds:
    """Let the loop and the worker send by turns, to each number of endpoints."""
    rows: Rounds = {case: [] for case in CASES}
    for case in CASES:
        await bench.add_endpoints(case)
    with bench.working() as worker:
        for number in range(rounds):
            for case in CASES:
                bare = await asyncio.to_thread(bench.loop, case, deliveries)
                own = await bench.rate(worker, case, deliveries)
                rows[case].append({"loop": bare, "ghasi": own})
                told = (
                    f"{name} {one['per_s']:,.0f}/s, CPU {one['cpu_us']:.0f} us, {one['connections']:,.0f} connections"
                    for name, one in rows[case][-1].items()
                )
                console.print(f"  round {number + 1}, endpoints {case:,}: {'; '.join(told)}")
    return rows


def median(rows: list[dict[str, dict[str, float]]], who: str, figure: str) -> float:
    return statistics.median(row[who][figure] for row in rows)


def report_rates(rows: Rounds) -> Table:
    """Make a table of medians."""
    table = Table(
        "endpoints", "loop/s", "Ghasi/s", "ratio", "loop CPU us", "Ghasi CPU us", "CPU ratio", "PostgreSQL us"
    )
    for case, rounds in rows.items():
        ratios = {
            figure: statistics.median(row["ghasi"][figure] / row["loop"][figure] for row in rounds)
            for figure in ("per_s", "cpu_us")
        }
        table.add_row(
            f"{case:,}", f"{median(rounds, 'loop', 'per_s'):,.0f}", f"{median(rounds, 'ghasi', 'per_s'):,.0f}",
            f"{ratios['per_s']:.2f}", f"{median(rounds, 'loop', 'cpu_us'):.0f}",
            f"{median(rounds, 'ghasi', 'cpu_us'):.0f}", f"{1 / ratios['cpu_us']:.2f}",
            f"{median(rounds, 'ghasi', 'database_us'):.0f}",
        )  # fmt: skip
    return table


def report_backlogs(backlogs: list[dict[str, Any]]) -> Table:
    """Make a table of what a worker needs for a small and for a large backlog."""
    table = Table(
        "backlog", "deliveries/s", "CPU us", "PostgreSQL us", "MB at first", "MB median", "MB at most", "again"
    )
    for one in backlogs:
        memory = one["memory_mb"]
        table.add_row(
            f"{one['backlog']:,}", f"{one['per_s']:,.0f}", f"{one['cpu_us']:.0f}", f"{one['database_us']:.0f}",
            *(f"{memory[name]:.0f}" for name in ("first", "median", "most")), f"{one['again']:.0f}",
        )  # fmt: skip
    return table


async def main() -> None:
    """Measure, print tables; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.webhook_rate")
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("rate", "backlog"))
    arguments = parser.parse_args()
    configure_logs("bench", "warning")
    allow_many_files()
    results: dict[str, Any] = {}
    async with opened() as bench:
        if arguments.only != "backlog":
            results["rates"] = await measure_rates(bench, arguments.deliveries, arguments.rounds)
            console.print(report_rates(results["rates"]))
        if arguments.only != "rate":
            await bench.connection.execute("TRUNCATE webhooks.endpoints, webhooks.paces, messages.outbox")
            await bench.add_endpoints(BACKLOG_ENDPOINTS)
            results["backlogs"] = [await bench.drain(backlog) for backlog in (SMALL_BACKLOG, arguments.backlog)]
            console.print(report_backlogs(results["backlogs"]))
            console.print(f"deliveries/s over the time: {results['backlogs'][-1]['per_s_by_tenth']}")
    console.print(f"raw figures: {keep('webhooks', **results)}")


if __name__ == "__main__":
    asyncio.run(main())
