"""`make bench-billing`: a month of messages through rating, its closing, its recount, and what customers ask of it.

python -m benchmarks.deep.billing_month [--messages 1000000] [--requests 200] [--only accounts|one]. Events are made as
messages writes them (accepted, sent, delivered, each behind the ones before) and given to the rater in batches of 500,
each a transaction, in an embedded PostgreSQL of this run's own. CPU is that of rating alone: making the events is not
in it. First for 200 accounts, then for one that has all of the messages. 2 GB of disk while it runs.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from asyncpg.pgproto import pgproto
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from benchmarks.latency import quantile
from benchmarks.measuring import keep, postgres_cpu_s
from ghasi.billing.invoices import closing
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.routes import serve
from ghasi.billing.usage.rating import Rater
from ghasi.billing.usage.verifying import begin_recount
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import first_id, rfc3339
from ghasi.processes.logs import configure_logs
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.bells import Bells
from ghasi.storage.events.outbox import Event
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.migrate import migrate
from ghasi.storage.pool import Pool, open_pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, new_secret_key
from tests.asgi import request

BATCH = 500


def make_id(number: int) -> Any:
    """Make an id as asyncpg reads them, which hashes quicker than Python's own."""
    return pgproto.UUID(str(UUID(int=number)))


START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
SENT_BEHIND, DELIVERED_BEHIND = 300, 1500
"""How many messages later a message is sent, and delivered."""
COUNTRIES = [("AF", "+9370"), ("PK", "+92300"), ("DE", "+49151"), ("US", "+1202"), ("SE", "+4670")]
SENDERS = ["Bakery", "72100", "+46700001000"]
CAMPAIGNS = 60
PERIOD = f"{START:%Y-%m}"
GROUPINGS = (None, "country", "status", "direction", "sender", "api_key", "reference")
PERIODS = (("day", "UTC"), ("day", "Asia/Kabul"), ("month", "UTC"), ("hour", "UTC"))
console = Console(width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True, slots=True)
class Made:
    """A message of the month."""

    id: Any
    account_id: Any
    at: datetime
    number: int
    draw: int

    def event(self, sequence: int, status: str) -> Event:
        """Make one of its events, as messages writes it."""
        country, prefix = COUNTRIES[self.draw % len(COUNTRIES)]
        sent_at = rfc3339(self.at + timedelta(seconds=1)) if sequence > 1 else None
        ended_at = rfc3339(self.at + timedelta(seconds=3)) if sequence > 2 else None
        data = {
            "id": str(self.id), "direction": "outbound", "to": f"{prefix}{self.number % 10**7:07}",
            "from": SENDERS[self.draw % 7 % len(SENDERS)], "body": "Your order is on its way. Thank you!",
            "encoding": "gsm7", "segments": 1 + (self.draw % 10 == 0), "status": status, "price": None, "error": None,
            "reference": self.reference, "country": country, "created_at": rfc3339(self.at), "send_at": None,
            "sent_at": sent_at, "completed_at": ended_at,
        }  # fmt: skip
        private = {"credential": str(make_id(self.account_id.int + 1 + self.draw % 3)), "api_key": True}
        if sequence > 1:
            private |= {"carrier": "north", "carrier_class": "premium"}
        at = self.at + timedelta(seconds=sequence - 1)
        event_id = make_id(self.id.int + sequence)
        return Event(
            event_id, f"message.{status}", self.account_id, self.id, sequence, at, json.dumps(data),
            private=json.dumps(private),
        )  # fmt: skip

    @property
    def reference(self) -> str | None:
        """A third belong to a campaign, which runs for a day or two, a tenth to an order of their own."""
        if self.draw % 3 == 0:
            day = self.at.day
            return f"campaign-{day}-{self.draw % (CAMPAIGNS // 31 + 1)}"
        return f"order-{self.number}" if self.draw % 10 == 1 else None


def month(messages: int, accounts: int) -> Iterator[Made]:
    """Make the messages of the month in the order of their acceptance; few accounts have most of them."""
    chance = random.Random(1)
    ids = [make_id((0x01A2 << 112) | 7 << 76 | 2 << 62 | (number << 8)) for number in range(accounts)]
    weights = [1 / (rank + 3) for rank in range(accounts)]
    step = (END - START) / messages
    draws = chance.choices(ids, weights, k=messages)
    for number, account_id in enumerate(draws):
        at = START + number * step
        made = make_id(first_id(at).int | chance.getrandbits(62) & ~0xF)
        yield Made(made, account_id, at, number, chance.randrange(1 << 30))


def stream(messages: int, accounts: int) -> Iterator[Event]:
    """Make all events, in the order in which a busy platform writes them."""
    behind: list[Made] = []
    for made in month(messages, accounts):
        behind.append(made)
        yield made.event(1, "accepted")
        if len(behind) > SENT_BEHIND:
            yield behind[-SENT_BEHIND].event(2, "sent")
        if len(behind) > DELIVERED_BEHIND:
            yield behind.pop(0).event(3, "delivered")
    for made in behind[-SENT_BEHIND + 1 :]:
        yield made.event(2, "sent")
    for made in behind:
        yield made.event(3, "delivered")


async def rate(pool: Pool, folder: Path, messages: int, accounts: int, progress: Progress) -> dict[str, float]:
    """Give all events to the rater; return seconds and CPU a message."""
    rater, events = Rater(), stream(messages, accounts)
    task = progress.add_task(f"{messages:,} messages of {accounts:,} accounts", total=3 * messages)
    spent = spent_cpu = 0.0
    database = postgres_cpu_s(folder)
    async with pool.acquire() as connection:
        while batch := list(islice(events, BATCH)):
            began, began_cpu = time.perf_counter(), time.process_time()
            async with connection.transaction():
                await rater.apply(connection, batch)
            spent += time.perf_counter() - began
            spent_cpu += time.process_time() - began_cpu
            progress.advance(task, len(batch))
    return {
        "messages": messages,
        "accounts": accounts,
        "seconds": spent,
        "rating_us": spent_cpu * 1e6 / messages,
        "database_us": (postgres_cpu_s(folder) - database) * 1e6 / messages,
    }


async def close(pool: Pool) -> float:
    """Close the month; return the seconds that took."""
    began = time.perf_counter()
    events = PostgresEvents(pool, Bells(pool))
    await closing.close_period(pool, events, PERIOD, early=True, actor="operator:bench")
    return time.perf_counter() - began


async def recount(pool: Pool) -> float:
    """Check billing's sums against the charges; return the seconds that took."""
    began = time.perf_counter()
    checked = await begin_recount(pool, PERIOD, None, set())
    await checked.check_sums(pool)
    assert not checked.found, checked.found[:3]
    return time.perf_counter() - began


async def ask(pool: Pool, url: str, requests: int, progress: Progress) -> dict[str, list[float]]:
    """Ask for the month's usage of any account and of the busiest, by each grouping; return p50 and p95 in ms."""
    accounts = [row[0] for row in await pool.fetch("SELECT account_id FROM billing.accounts")]
    busiest = await pool.fetchval(
        "SELECT account_id FROM billing.usage_quarters GROUP BY account_id ORDER BY sum(messages) DESC LIMIT 1"
    )
    bells = Bells(pool)
    resources = Resources(Settings(dev=True), url, pool, Sealer(new_secret_key()), bells, PostgresEvents(pool, bells))
    figures: dict[str, list[float]] = {}
    task = progress.add_task("asking", total=len(GROUPINGS) * requests)
    async with serve(resources) as handlers:
        app = ServiceApp(handlers)
        for group_by in GROUPINGS:
            taken: dict[str, list[float]] = {"any": [], "busiest": []}
            for number in range(requests + 10):
                granularity, zone = PERIODS[number % len(PERIODS)]
                query = {"from": rfc3339(START), "to": rfc3339(END), "granularity": granularity, "time_zone": zone}
                if group_by is not None:
                    query["group_by"] = group_by
                for whose, account_id in (("any", random.choice(accounts)), ("busiest", busiest)):
                    began = time.perf_counter()
                    headers = {"x-account-id": str(account_id), "x-user-id": str(account_id)}
                    answer = await request(app, "GET", "/v1/billing/usage?" + urlencode(query), headers=headers)
                    if number >= 10:
                        taken[whose].append((time.perf_counter() - began) * 1000)
                    assert answer.status == 200, answer.body
                progress.advance(task)
            figures[group_by or "none"] = [
                quantile(sorted(taken[whose]), share) for whose in ("any", "busiest") for share in (0.5, 0.95)
            ]
    return figures


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[tuple[Pool, str]]:
    """Start a PostgreSQL of this run's own, with Ghasi's tables and rates, empty."""
    folder.mkdir(mode=0o711)
    try:
        url = embedded.start(folder).url
        await migrate(url)
        pool = await open_pool(url, size=4)
        lines = "".join(f"{country},0.0{number + 2}\n" for number, (country, _) in enumerate(COUNTRIES))
        await rate_admin.import_rates(pool, "country,amount\n" + lines, "operator:bench")
        try:
            yield pool, url
        finally:
            await pool.close()
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


async def measure(root: Path, arguments: argparse.Namespace, accounts: int, progress: Progress) -> dict[str, Any]:
    """Rate a month, ask, recount and close; return the figures."""
    folder = root / f"of-{accounts}"
    async with database(folder) as (pool, url):
        figures: dict[str, Any] = await rate(pool, folder, arguments.messages, accounts, progress)
        await pool.execute("VACUUM ANALYZE billing.usage_quarters, billing.usage_groups, billing.outcome_quarters")
        figures["asked"] = await ask(pool, url, arguments.requests, progress)
        figures["recount_s"] = await recount(pool)
        figures["closing_s"] = await close(pool)
        figures["invoices"] = await pool.fetchval("SELECT count(*) FROM billing.invoices")
        figures["bytes"] = await pool.fetchval("SELECT pg_database_size(current_database())")
        for table in ("usage_quarters", "usage_groups", "outcome_quarters"):
            figures[table] = await pool.fetchval(f"SELECT count(*) FROM billing.{table}")
    return figures


def report(runs: list[dict[str, Any]]) -> None:
    columns = ("accounts", "messages/s", "rating us", "database us", "closing s", "recount s", "bytes a message")
    table = Table(*(Column(name, justify="right", no_wrap=True) for name in columns), title="a month", box=None)
    for run in runs:
        table.add_row(
            f"{run['accounts']:,}", f"{run['messages'] / run['seconds']:,.0f}", f"{run['rating_us']:.0f}",
            f"{run['database_us']:.0f}", f"{run['closing_s']:.2f}", f"{run['recount_s']:.1f}",
            f"{run['bytes'] / run['messages']:.0f}",
        )  # fmt: skip
    console.print(table)
    heads = [f"{whose} {share}" for run in runs for whose in (f"any of {run['accounts']}", "busiest")
             for share in ("p50", "p95")]  # fmt: skip
    table = Table(Column("ms, by"), *(Column(head, justify="right") for head in heads), title="usage", box=None)
    for group_by in GROUPINGS:
        name = group_by or "none"
        table.add_row(name, *(f"{figure:.1f}" for run in runs for figure in run["asked"][name]))
    console.print(table)
    console.print(f"raw figures: {keep('billing', load=os.getloadavg(), runs=runs)}")


async def main() -> None:
    """Measure both, and print; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.deep.billing_month")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--only", choices=("accounts", "one"))
    arguments = parser.parse_args()
    random.seed(1)
    configure_logs("bench", "warning")
    accounts = {"accounts": [200], "one": [1]}.get(arguments.only, [200, 1])
    root = Path(tempfile.mkdtemp(prefix="ghasi-bench-"))
    root.chmod(0o711)
    try:
        with Progress(console=console) as progress:
            runs = [await measure(root, arguments, number, progress) for number in accounts]
    finally:
        shutil.rmtree(root)
    report(runs)


if __name__ == "__main__":
    asyncio.run(main())
