"""reads: a list of 50 messages and one message in detail through the gateway, beside a no-op route."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.comparing import Comparison, Contenders
from benchmarks.instruments.load import Order
from benchmarks.measuring import NOOP, RAISED, bearer, load, loaded, noop
from tests.end_to_end.customer import Customer, signed_up
from tests.end_to_end.deployment import Deployment, together

LIST, DETAIL = "list of 50", "detail"
SENDING_S, SETTLED_S = 1.0, 60.0


async def fill(ghasi: Deployment, customer: Customer) -> list[str]:
    """Send messages, wait until the latest are delivered, and return the ids of a page of them."""
    order = Order(f"{ghasi.api}/v1/messages", SENDING_S, 16, headers=bearer(customer.token))
    await asyncio.to_thread(load, order)
    async with asyncio.timeout(SETTLED_S):
        while True:
            page = (await customer.good("GET", "/v1/messages?limit=50"))["data"]
            if all(message["price"] and message["status"] == "delivered" for message in page):
                return [message["id"] for message in page]
            await asyncio.sleep(0.2)


def gets(url: str, paths: list[str], headers: dict[str, str], options: argparse.Namespace) -> Order:
    """Return a load of GETs of these paths in turn."""
    return Order(url, options.seconds, options.connections, "get", headers, paths)


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Run Ghasi with some messages in it, and the no-op route."""
    with together(**RAISED) as ghasi, noop() as (noop_url, noop_id):
        async with signed_up(ghasi) as customer:
            ids, headers = await fill(ghasi, customer), bearer(customer.token)
            parts, data = {"API": ghasi.child("api")}, ghasi.folder / "data"
            nothing = gets(noop_url, ["/"], headers, options)
            lists = gets(ghasi.api, ["/v1/messages?limit=50"], headers, options)
            details = gets(ghasi.api, [f"/v1/messages/{one}" for one in ids], headers, options)
            yield {
                NOOP: lambda: loaded(nothing, {"no-op": noop_id}),
                LIST: lambda: loaded(lists, parts, data),
                DETAIL: lambda: loaded(details, parts, data),
            }


READS = Comparison(
    "reads",
    "a list of 50 and a detail with a JWT through the gateway, beside a no-op route",
    "requests/s",
    opened,
    {LIST: (NOOP,), DETAIL: (NOOP,)},
)
