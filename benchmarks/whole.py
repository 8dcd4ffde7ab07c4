"""All of Ghasi on this machine beside an SMSC and a receiver that cost next to nothing, and full cycles through it.

A full cycle is POST -> SMPP submit -> receipt -> one signed webhook, and rated usage.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparing import Figures
from benchmarks.instruments.load import Order
from benchmarks.instruments.stamps import (
    ANSWERED,
    DUE,
    RECEIPTED,
    SUBMITTED,
    TOLD,
    Stamps,
    delays,
    stamps_folder,
)
from benchmarks.latency import percentiles
from benchmarks.measuring import RAISED, bearer, beside, cpu_us, drained, load, sink, stats, used_s, wait_for
from benchmarks.processes import watched_memory
from tests.end_to_end.customer import Customer, signed_up
from tests.end_to_end.deployment import Deployment, together
from tests.ports import reserved_ports

WINDOW = 100
CARRIER = """\
[[carrier]]
name = "sink"
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "bench"
password = "bench"
window = {window}
default_sender = "Ghasi"
"""
STEPS = {
    "POST answered": (DUE, ANSWERED),
    "POST to submit_sm": (DUE, SUBMITTED),
    "receipt to webhook": (RECEIPTED, TOLD),
}
"""What is timed of a message, each between two stamps."""


@dataclass
class Whole:
    """A running Ghasi with a customer who has an endpoint, and what it is measured by."""

    ghasi: Deployment
    customer: Customer
    stamps: dict[str, Stamps]
    stamps_folder: Path
    receiver_port: int
    instruments: dict[str, int]
    """Process ids of SMSC and receiver."""
    sent: int = 0

    @property
    def supervisor(self) -> int:
        return self.ghasi.processes["up"].pid

    def parts(self) -> dict[str, int]:
        """Our own processes that do the work."""
        return {"API": self.ghasi.child("api"), "worker": self.ghasi.child("worker")}

    def order(self, seconds: float, connections: int, rate: float | None = None) -> Order:
        """Return a load of messages that nobody has sent yet."""
        return Order(
            f"{self.ghasi.api}/v1/messages", seconds, connections, headers=bearer(self.customer.token), rate=rate,
            first=self.sent + 1, stamps=str(self.stamps_folder),
        )  # fmt: skip

    async def cycles(self, order: Order) -> Figures:
        """Run a load until the last webhook of it has come, and return what that took."""
        await asyncio.to_thread(stats, self.receiver_port, "reset")
        parts, data = self.parts(), self.ghasi.folder / "data"
        before, others, began = used_s(parts, data), used_s(self.instruments), time.time()
        loaded = await asyncio.to_thread(load, order)
        messages = loaded["requests"]
        counted = await asyncio.to_thread(drained, self.receiver_port, messages)
        first, self.sent = self.sent + 1, self.sent + messages
        return {
            "messages": messages,
            "webhooks": counted["delivered"],
            "accepted_per_s": loaded["per_s"],
            "per_s": counted["delivered"] / (counted["last"] - began),
            **{name: loaded[name] for name in loaded if name.endswith("_ms")},
            "cpu_us": cpu_us(before, used_s(parts, data), messages),
            "beside_us": cpu_us(others, used_s(self.instruments), messages)
            | {"load": loaded["cpu_s"] * 1e6 / messages},
            "steps": self.steps(range(first, self.sent + 1)),
        }

    async def cycles_with_memory(self, order: Order) -> Figures:
        """Do the same, and watch the memory of all our processes meanwhile."""
        async with watched_memory(self.supervisor) as memory:
            figures = await self.cycles(order)
        return figures | {"memory": memory}

    def steps(self, numbers: range) -> dict[str, dict[str, float]]:
        """Return percentiles of what was timed of messages with these numbers."""
        return {
            name: percentiles(delays(self.stamps[before], self.stamps[after], numbers))
            for name, (before, after) in STEPS.items()
        }

    async def billed(self) -> int:
        """Return how many messages have been rated, once all are or it takes too long."""
        usage = {"totals": {"messages": 0}}
        for _ in range(50):
            usage = await self.customer.good("GET", "/v1/billing/usage")
            if usage["totals"]["messages"] == self.sent:
                break
            await asyncio.sleep(0.2)
        return int(usage["totals"]["messages"])


@asynccontextmanager
async def whole() -> AsyncIterator[Whole]:
    """Start all of it; everything ends with the block."""
    with (
        stamps_folder() as folder,
        tempfile.TemporaryDirectory(prefix="ghasi-bench-") as configuration,
        sink(receipts=True, stamps=folder) as (smsc_port, smsc_id),
        reserved_ports(1) as (port,),
        beside("benchmarks.instruments.receiver", str(port), "--stamps", str(folder)) as receiver,
    ):
        carriers = Path(configuration) / "carriers.toml"
        carriers.write_text(CARRIER.format(port=smsc_port, window=WINDOW))
        wait_for(f"http://127.0.0.1:{port}/stats")
        with together(**RAISED, GHASI_CARRIERS=str(carriers)) as ghasi:
            async with signed_up(ghasi) as customer:
                hook = {"url": f"http://127.0.0.1:{port}/", "events": ["message.delivered"]}
                await customer.good("POST", "/v1/webhooks", hook)
                stamps = {name: Stamps(folder, name) for name in (DUE, ANSWERED, SUBMITTED, RECEIPTED, TOLD)}
                instruments = {"SMSC": smsc_id, "receiver": receiver.pid}
                yield Whole(ghasi, customer, stamps, folder, port, instruments)
