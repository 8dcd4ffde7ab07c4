"""peers: full cycles of Ghasi beside Kannel's, by turns, on the same SMSC, load and receiver, each fresh every time.

A full cycle of Ghasi is POST with a JWT, limits, a durable commit, SMPP submit, receipt, a signed webhook and rated
usage; of Kannel it is a GET with a password, its file store, SMPP submit, receipt and an unsigned GET. Cycles a second
are webhooks over the time from the first request to the last webhook. All of it shares this machine.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from benchmarks.comparing import Comparison, Contenders, Figures
from benchmarks.instruments.kannel import kannel
from benchmarks.instruments.load import Order
from benchmarks.measuring import beside, cpu_us, drained, load, load_us, sink, used_s
from benchmarks.whole import whole
from tests.ports import reserved_ports

DELIVERED_OR_FAILED = 3
OURS, KANNEL = "Ghasi", "Kannel"


async def measure_ghasi(options: argparse.Namespace) -> Figures:
    """One run of all of Ghasi."""
    async with whole() as running:
        return await running.cycles(running.order(options.seconds, options.connections))


def measure_kannel(options: argparse.Namespace) -> Figures:
    """One run of Kannel."""
    with (
        sink(receipts=True) as (smsc_port, smsc_id),
        reserved_ports(1) as (port,),
        beside("benchmarks.instruments.receiver", str(port)) as receiver,
        kannel(smsc_port) as peer,
    ):
        parts = {"bearerbox": peer.bearerbox, "smsbox": peer.smsbox}
        instruments = {"SMSC": smsc_id, "receiver": receiver.pid}
        before, others, began = used_s(parts), used_s(instruments), time.time()
        told = quote(f"http://127.0.0.1:{port}/?status=%d", safe="")
        url = f"{peer.url}&dlr-mask={DELIVERED_OR_FAILED}&dlr-url={told}"
        loaded = load(Order(url, options.seconds, options.connections, "kannel"))
        messages = loaded["requests"]
        counted = drained(port, messages, counted_as="all")
        return {
            "messages": messages,
            "webhooks": counted["all"],
            "accepted_per_s": loaded["per_s"],
            "per_s": counted["all"] / (counted["last"] - began),
            **{name: loaded[name] for name in loaded if name.endswith("_ms")},
            "cpu_us": cpu_us(before, used_s(parts), messages),
            "beside_us": cpu_us(others, used_s(instruments), messages) | load_us(loaded),
        }


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Give both; neither runs while the other is measured."""
    yield {KANNEL: lambda: asyncio.to_thread(measure_kannel, options), OURS: lambda: measure_ghasi(options)}


PEERS = Comparison(
    "peers",
    "full cycles beside Kannel's: the same load, SMSC and receiver, each fresh every time",
    "cycles/s",
    opened,
    {OURS: (KANNEL,)},
)
