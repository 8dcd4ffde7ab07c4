"""`make bench-events`: events a second from an outbox to a consumer, by NATS JetStream beside PostgreSQL.

python -m benchmarks.deep.event_rate [--events 100000] [--rounds 5] [--consumers 1]. Events of messages' size lie in the
outbox of messages; by turns each carrier brings all of them to consumers that do nothing with them. Relay and consumers
run in this process; PostgreSQL and the NATS server, which is started for it, are processes of their own.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.measuring import cpu_s, postgres_cpu_s
from ghasi.contract.values import new_id
from ghasi.processes.logs import configure_logs
from ghasi.storage import embedded
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.jetstream import JetStreamEvents
from ghasi.storage.events.link import Link
from ghasi.storage.events.outbox import Event
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.events.stream import Streams
from ghasi.storage.migrate import migrate
from ghasi.storage.pool import Connection, Pool, open_pool
from ghasi.webhooks.examples import example_data
from tests.engines import Engine, nats_server

SOURCE = "messages"
CONSUMERS = ("billing", "webhooks")
DATA = example_data("message.delivered")
PRIVATE = '{"credential":"0199f3a0-0000-7000-8000-000000000001","api_key":true,"carrier":"north"}'
CARRIERS = ("PostgreSQL", "NATS")
AT_A_TIME = 1000
console = Console(width=None if sys.stdout.isatty() else 120)


async def fill(pool: Pool, count: int) -> None:
    """Write events to the outbox of messages, as its ledger does."""
    account = new_id()
    for start in range(0, count, AT_A_TIME):
        now = datetime.now(UTC)
        events = [
            Event(new_id(), "message.delivered", account, new_id(), 2, now, DATA, private=PRIVATE)
            for _ in range(min(AT_A_TIME, count - start))
        ]
        async with pool.acquire() as connection, connection.transaction():
            await outbox.append(connection, SOURCE, events)


async def carry(events: Events, count: int, consumers: Sequence[str]) -> None:
    """Let consumers read all that lies in the outbox."""
    left = dict.fromkeys(consumers, count)
    done = asyncio.Event()

    async def take(consumer: str, batch: Sequence[Event]) -> None:
        left[consumer] -= len(batch)
        if not any(left.values()):
            done.set()

    def handler(consumer: str) -> outbox.Handler:
        async def handle(_: Connection, batch: Sequence[Event]) -> None:
            await take(consumer, batch)

        return handle

    loops = [asyncio.create_task(events.relay(SOURCE))]
    loops += [asyncio.create_task(events.follow(SOURCE, consumer, handler(consumer))) for consumer in consumers]
    await done.wait()
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def measure(
    folder: Path, url: str, nats: Engine, options: argparse.Namespace, progress: Progress
) -> dict[str, list[dict[str, float]]]:
    """Measure both carriers by turns."""
    assert nats.process is not None
    pool = await open_pool(url)
    figures: dict[str, list[dict[str, float]]] = {carrier: [] for carrier in CARRIERS}
    task = progress.add_task("rounds", total=2 * options.rounds)
    consumers = CONSUMERS[: options.consumers]
    for number in range(options.rounds):
        for carrier in CARRIERS:
            await pool.execute("TRUNCATE messages.outbox, messages.positions, billing.positions, webhooks.positions")
            await fill(pool, options.events)
            bells, link = Bells(pool), Link(nats.url)
            events: Events = PostgresEvents(pool, bells)
            if carrier == "NATS":
                events = JetStreamEvents(pool, bells, link, Streams(prefix=f"bench-{number}"))
            began, own, database = time.perf_counter(), time.process_time(), postgres_cpu_s(folder)
            server = cpu_s(nats.process.pid)
            await carry(events, options.events, consumers)
            figures[carrier].append(
                {
                    "events_s": options.events / (time.perf_counter() - began),
                    "own_us": (time.process_time() - own) * 1e6 / options.events,
                    "database_us": (postgres_cpu_s(folder) - database) * 1e6 / options.events,
                    "nats_us": (cpu_s(nats.process.pid) - server) * 1e6 / options.events,
                }
            )
            await link.close()
            progress.advance(task)
    await pool.close()
    return figures


def show(figures: dict[str, list[dict[str, float]]]) -> None:
    """Print the medians, and their ratio."""
    table = Table(box=None, pad_edge=False)
    for column in ("carried by", "events/s", "relay and consumers, CPU us", "PostgreSQL, CPU us", "NATS, CPU us"):
        table.add_column(column, justify="left" if column == "carried by" else "right")
    medians = {
        carrier: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for carrier, rounds in figures.items()
    }
    for carrier, median in medians.items():
        values = [f"{median['events_s']:,.0f}"] + [
            f"{median[name]:.1f}" for name in ("own_us", "database_us", "nats_us")
        ]
        table.add_row(carrier, *values)
    console.print(table)
    ratio = medians["NATS"]["events_s"] / medians["PostgreSQL"]["events_s"]
    console.print(f"NATS carries {ratio:.2f} of the events that PostgreSQL does")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--consumers", type=int, default=1, choices=(1, 2))
    options = parser.parse_args()
    configure_logs("bench", "error")
    folder = Path(tempfile.mkdtemp(prefix="ghasi-bench-"))
    folder.chmod(0o711)
    try:
        url = embedded.start(folder).url
        asyncio.run(migrate(url))
        with nats_server() as nats, Progress(console=Console(stderr=True), transient=True) as progress:
            show(asyncio.run(measure(folder, url, nats, options, progress)))
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
