"""`make bench-reads`: lists and details over ten thousand and over ten million stored messages, side by side.

python -m benchmarks.deep.reads [--large 10000000] [--small 10000] [--requests 300]. Fills two databases of one
server of its own (the embedded PostgreSQL, or GHASI_TEST_DATABASE_URL), then asks both by turns through message-store's
handlers, and removes them. Ten million messages take 6 GB of disk while it runs.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from benchmarks.latency import quantile
from benchmarks.measuring import keep
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import first_id
from ghasi.messages import routes
from ghasi.processes.logs import configure_logs
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.bells import Bells
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.migrate import migrate
from ghasi.storage.pool import Pool, open_pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, new_secret_key
from tests.asgi import request
from tests.conftest import named, run

ACCOUNTS = 1000
MONTHS = 12
LARGEST_ACCOUNT = 1_000_000
CHUNK = 250_000
BYTES_A_MESSAGE = 650
console = Console(width=None if sys.stdout.isatty() else 120)

_INSERT = """
INSERT INTO messages.messages
    (id, account_id, user_id, credential, direction, recipient, sender, body, encoding, segments, country, reference,
     validity_s, status, sequence, sent_at, completed_at, price_micros, currency, carrier)
SELECT (lpad(to_hex(at), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
       CASE WHEN n % $5 = 0 THEN $6::uuid
            ELSE ('00000000-0000-7000-8000-' || lpad(to_hex(spread % 1000), 12, '0'))::uuid END,
       '00000000-0000-7000-8000-000000000000', 'ghasi-user',
       CASE WHEN spread % 50 = 0 AND n % $5 <> 0 THEN 'inbound' ELSE 'outbound' END,
       '+467' || lpad((spread % 10000000)::text, 8, '0'),
       (ARRAY['Ghasi', '12345', 'Bakery', '+93701234567'])[1 + spread % 4], 'Your code is ' || spread || '. Thank you.',
       'gsm7', 1, 'SE', CASE WHEN spread % 3 = 0 THEN 'order-' || n END, NULL,
       CASE WHEN spread % 100 < 94 THEN 'delivered' WHEN spread % 100 < 98 THEN 'undelivered' ELSE 'failed' END,
       3, to_timestamp(at / 1000.0), to_timestamp(at / 1000.0 + 2), 45000, 'USD', 'north'
FROM (SELECT n, $1::bigint + (n * $2::float8)::bigint AS at, md5(n::text) AS hash,
             ('x' || substr(md5(n::text), 20, 7))::bit(28)::int AS spread
      FROM generate_series($3::bigint, $4::bigint) AS n) AS made
"""


@dataclass
class Store:
    """A database with so many messages, and what is asked of it."""

    messages: int
    name: str
    url: str
    largest: UUID = field(default_factory=uuid4)
    begin: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=30 * MONTHS))

    @property
    def every(self) -> int:
        """Each so-manieth message is of the largest account: half of a few, a million of many."""
        return max(2, self.messages // LARGEST_ACCOUNT)

    async def fill(self, progress: Progress) -> float:
        """Make the messages, in the order of their ids, then the indexes; return the seconds that took."""
        started = time.monotonic()
        await migrate(self.url)
        connection = await asyncpg.connect(self.url, command_timeout=3600)
        try:
            for month in range(MONTHS + 2):
                day = (self.begin.replace(day=1) + timedelta(days=31 * month)).date().replace(day=1)
                await connection.execute("SELECT messages.make_partition($1)", day)
            await connection.execute("SET synchronous_commit = off")
            await connection.execute("SET maintenance_work_mem = '256MB'")
            indexes = await connection.fetch(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'messages' AND tablename = 'messages'"
            )
            for index in indexes:
                if index["indexname"] != "messages_pkey":
                    await connection.execute(f"DROP INDEX messages.{index['indexname']}")
            step_ms = timedelta(days=30 * MONTHS).total_seconds() * 1000 / self.messages
            task = progress.add_task(f"{self.messages:,} messages", total=self.messages)
            for first in range(0, self.messages, CHUNK):
                last = min(first + CHUNK, self.messages) - 1
                begin_ms = int(self.begin.timestamp() * 1000)
                await connection.execute(_INSERT, begin_ms, step_ms, first, last, self.every, self.largest)
                progress.update(task, completed=last + 1)
            for index in indexes:
                if index["indexname"] != "messages_pkey":
                    progress.update(task, description=f"index {index['indexname']}")
                    await connection.execute(index["indexdef"].replace(" ON ONLY ", " ON "))
            progress.update(task, description="vacuum")
            await connection.execute("VACUUM ANALYZE messages.messages")
        finally:
            await connection.close()
        return time.monotonic() - started


@dataclass
class Reader:
    """Asks message-store of one database."""

    store: Store
    app: ServiceApp
    pool: Pool
    ids: list[tuple[UUID, UUID]]
    recipients: list[str]

    async def get(self, account_id: UUID, target: str) -> float:
        headers = {"x-account-id": str(account_id), "x-user-id": str(account_id), "x-consumer-username": "ghasi-user"}
        started = time.perf_counter()
        answer = await request(self.app, "GET", target, headers=headers)
        seconds = time.perf_counter() - started
        assert answer.status == 200, answer.body
        return seconds

    def moment(self) -> datetime:
        return self.store.begin + timedelta(days=30 * MONTHS) * random.random()


@asynccontextmanager
async def reading(store: Store) -> AsyncIterator[Reader]:
    """Serve messages over a store."""
    pool = await open_pool(store.url, size=4)
    try:
        sample = []
        for _ in range(500):
            at = store.begin + timedelta(days=30 * MONTHS) * random.random()
            row = await pool.fetchrow(
                "SELECT id, account_id FROM messages.messages WHERE id >= $1 ORDER BY id LIMIT 1", first_id(at)
            )
            if row is not None:
                sample.append((row["id"], row["account_id"]))
        bells, sealer = Bells(pool), Sealer(new_secret_key())
        resources = Resources(Settings(dev=True), store.url, pool, sealer, bells, PostgresEvents(pool, bells))
        async with routes.serve(resources) as handlers:
            recipients = await pool.fetch(
                "SELECT recipient FROM messages.messages WHERE account_id = $1 ORDER BY id DESC LIMIT 500",
                store.largest,
            )
            yield Reader(store, ServiceApp(handlers), pool, sample, [row["recipient"] for row in recipients])
    finally:
        await pool.close()


def listed(**filters: str) -> Callable[[Reader], tuple[UUID, str]]:
    """Ask for a page of the largest account's messages."""
    return lambda reader: (reader.store.largest, "/v1/messages?" + urlencode(filters))


def of_anyone(reader: Reader) -> tuple[UUID, str]:
    return random.choice(reader.ids)[1], "/v1/messages"


def detail(reader: Reader) -> tuple[UUID, str]:
    message_id, account_id = random.choice(reader.ids)
    return account_id, f"/v1/messages/{message_id}"


def of_two_months(reader: Reader) -> tuple[UUID, str]:
    begin = reader.moment()
    span = {"created_after": begin.isoformat(), "created_before": (begin + timedelta(days=60)).isoformat()}
    return reader.store.largest, "/v1/messages?" + urlencode(span)


def deep(reader: Reader) -> tuple[UUID, str]:
    return reader.store.largest, f"/v1/messages?created_before={quote(reader.moment().isoformat())}"


def to_someone(reader: Reader) -> tuple[UUID, str]:
    return reader.store.largest, f"/v1/messages?to={quote(random.choice(reader.recipients))}"


CASES: dict[str, Callable[[Reader], tuple[UUID, str]]] = {
    "list, any account": of_anyone,
    "list, largest account": listed(),
    "list, page from anywhere": deep,
    "detail": detail,
    "status=delivered": listed(status="delivered"),
    "status=failed (2 %)": listed(status="failed"),
    "status=canceled (none)": listed(status="canceled"),
    "to (one that is there)": to_someone,
    "to (never sent to)": listed(to="+4915112345678"),
    "from (a fourth)": listed(**{"from": "Ghasi"}),
    "from (never used)": listed(**{"from": "Nobody"}),
    "reference (never used)": listed(reference="no-such-order"),
    "direction=inbound (none)": listed(direction="inbound"),
    "created within 60 days": of_two_months,
    "from and status (none)": listed(**{"from": "Ghasi", "status": "canceled"}),
}


async def measure(readers: list[Reader], requests: int, progress: Progress) -> dict[str, list[list[float]]]:
    """Ask every case of every store by turns; return the seconds by case and store."""
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in readers] for name in CASES}
    task = progress.add_task("asking", total=len(CASES) * requests)
    for name, case in CASES.items():
        for number in range(requests + 20):
            for taken, reader in zip(seconds[name], readers, strict=True):
                spent = await reader.get(*case(reader))
                if number >= 20:
                    taken.append(spent)
        progress.advance(task, requests)
    return seconds


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Start a PostgreSQL of this run's own, unless one is given."""
    if given := os.environ.get("GHASI_TEST_DATABASE_URL"):
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="ghasi-bench-"))
    folder.chmod(0o711)
    try:
        yield embedded.start(folder).url
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


async def main() -> None:
    """Fill, ask, print; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.deep.reads")
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    random.seed(1)
    configure_logs("bench", "warning")
    wanted = arguments.large * BYTES_A_MESSAGE
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2 * wanted:
        raise SystemExit(f"{2 * wanted / 1e9:.0f} GB of free disk are wanted, there are {free / 1e9:.0f}")
    began = time.monotonic()
    async with server() as url:
        stores, sizes = [], []
        with Progress(console=console) as progress:
            try:
                for messages in (arguments.small, arguments.large):
                    name = f"bench_{uuid4().hex[:12]}"
                    await run(url, f"CREATE DATABASE {name}")
                    stores.append(Store(messages, name, named(url, name)))
                    await stores[-1].fill(progress)
                async with reading(stores[0]) as small, reading(stores[1]) as large:
                    sizes = [
                        await reader.pool.fetchval("SELECT pg_database_size(current_database())")
                        for reader in (small, large)
                    ]
                    seconds = await measure([small, large], arguments.requests, progress)
            finally:
                for store in stores:
                    await run(url, f"DROP DATABASE {store.name} WITH (FORCE)")
    report(arguments, seconds, sizes, time.monotonic() - began)


def report(
    arguments: argparse.Namespace, seconds: dict[str, list[list[float]]], sizes: list[int], took_s: float
) -> None:
    heads = [f"{n:,} {q}" for n in (arguments.small, arguments.large) for q in ("p50", "p99")]
    columns = [Column(head, no_wrap=True, justify="right") for head in (*heads, "p50 x", "p99 x")]
    table = Table(Column("ms", no_wrap=True), *columns, box=None)
    cases = {}
    for name, (small, large) in seconds.items():
        figures = [quantile(sorted(values), share) * 1000 for values in (small, large) for share in (0.5, 0.99)]
        ratios = (figures[2] / figures[0], figures[3] / figures[1])
        cases[name] = {"small_ms": figures[:2], "large_ms": figures[2:], "ratios": ratios}
        table.add_row(name, *(f"{figure:.2f}" for figure in figures), *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    worst = statistics.median(case["ratios"][1] for case in cases.values())
    console.print(f"median of the p99 ratios: {worst:.2f}; the run took {took_s:.0f} s; "
                  f"{sizes[1] / 1e9:.1f} GB, {sizes[1] / arguments.large:.0f} bytes a message")  # fmt: skip
    messages = [arguments.small, arguments.large]
    console.print(f"raw figures: {keep('reads', took_s=took_s, messages=messages, bytes=sizes, reads=cases)}")


if __name__ == "__main__":
    asyncio.run(main())
