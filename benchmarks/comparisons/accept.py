"""accept: POST /v1/messages with a durable commit, beside a no-op route and beside the INSERT alone."""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from benchmarks.comparing import Comparison, Contenders, Figures
from benchmarks.instruments.load import Order
from benchmarks.latency import percentiles
from benchmarks.measuring import NOOP, RAISED, bearer, cpu_us, loaded, noop, used_s
from ghasi.contract.values import new_id
from ghasi.messages.model import Draft
from ghasi.messages.sending import queries
from ghasi.storage import embedded
from tests.end_to_end.customer import Customer, signed_up
from tests.end_to_end.deployment import Deployment, together

ROUTE, INSERT = "accept", "INSERT batch"
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


class Accepting:
    """A Ghasi of which the worker stands still, so that accepting alone is measured."""

    def __init__(
        self, ghasi: Deployment, customer: Customer, connection: asyncpg.Connection, options: argparse.Namespace
    ) -> None:
        self.ghasi, self.customer, self.connection, self.options = ghasi, customer, connection, options
        self.rows_a_commit = options.connections

    def order(self, url: str) -> Order:
        """Return the load that route and ceiling get alike."""
        headers = bearer(self.customer.token)
        return Order(url, self.options.seconds, self.options.connections, headers=headers)

    async def accept(self) -> Figures:
        commits = await self.connection.fetchval(_COMMITS)
        order = self.order(f"{self.ghasi.api}/v1/messages")
        figures = await loaded(order, {"API": self.ghasi.child("api")}, self.ghasi.folder / "data")
        await asyncio.sleep(1.2)  # what a connection has counted it tells once a second
        made = max(1, await self.connection.fetchval(_COMMITS) - commits)
        self.rows_a_commit = figures["rows_a_commit"] = max(1, round(figures["requests"] / made))
        return figures

    async def insert(self) -> Figures:
        """Write the same rows by the same statement, in batches of as many as a group commit took."""
        account, user = (UUID(self.customer.session[name]["id"]) for name in ("account", "user"))
        parts = {"client": os.getpid()}
        before, began = used_s(parts, self.ghasi.folder / "data"), time.monotonic()
        rows, took_s = 0, []
        while (at := time.monotonic()) < began + self.options.seconds:
            drafts = [draft(account, user) for _ in range(self.rows_a_commit)]
            await queries.insert_messages(self.connection, drafts, [new_id() for _ in drafts])
            rows += len(drafts)
            took_s.append(time.monotonic() - at)
        per_s = rows / (time.monotonic() - began)
        cost = cpu_us(before, used_s(parts, self.ghasi.folder / "data"), rows)
        return {"requests": rows, "per_s": per_s, **percentiles(took_s), "cpu_us": cost}


def draft(account: UUID, user: UUID) -> Draft:
    """Make a message as accept would; its resource has the size of a real one."""
    response = b'{"id":"%b","body":"%b"}' % (b"0" * 36, b"x" * 400)
    text = "Hello n=0000000 this is a test message of sixty characters"
    return Draft(
        new_id(), account, user, "ghasi-user", "+46700101000", "12345", text, "gsm7", 1, "SE", None, None,
        response=response,
    )  # fmt: skip


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Run Ghasi and the no-op route."""
    with together(**RAISED) as ghasi, noop() as (noop_url, noop_id):
        running = embedded.running(ghasi.folder / "data")
        assert running is not None
        connection = await asyncpg.connect(running.url)
        worker = ghasi.child("worker")
        async with signed_up(ghasi) as customer:
            accepting = Accepting(ghasi, customer, connection, options)
            nothing = accepting.order(f"{noop_url}/noop")
            os.kill(worker, signal.SIGSTOP)
            try:
                yield {
                    NOOP: lambda: loaded(nothing, {"no-op": noop_id}),
                    ROUTE: accepting.accept,
                    INSERT: accepting.insert,
                }
            finally:
                os.kill(worker, signal.SIGCONT)
                await connection.close()


ACCEPT = Comparison(
    "accept",
    "POST /v1/messages, JWT verified, limits on, committed before the answer, beside a no-op route and the INSERT",
    "a second",
    opened,
    {ROUTE: (NOOP, INSERT)},
)
