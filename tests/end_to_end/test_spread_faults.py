"""Services on databases of their own that meet over NATS, while their processes, NATS and PostgreSQL die or hang.

Nothing accepted is lost, each message's events come in order, and nothing is billed twice.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

import aiohttp
import pytest

from tests.end_to_end.customer import Customer, Receiver, receiving, signed_up
from tests.end_to_end.deployment import UPSTREAMS, WORK, Deployment, spread, until
from tests.end_to_end.test_faults import RAISED, agreed, all_ended, postmaster

PACE_S = 0.02
AWAY_S = 3.0
STATUSES = ("accepted", "sent", "delivered")

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with spread(**RAISED) as deployment:
        yield deployment


class Load:
    """A customer who sends without pause and tries again until each message is accepted, as one with a queue does."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.accepted: set[str] = set()
        self.refused = 0
        self._number = 0
        self._stopping = asyncio.Event()
        self._sending: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        while not self._stopping.is_set():
            self._number += 1
            self._sending.append(asyncio.create_task(self._send(self._number)))
            await asyncio.sleep(PACE_S)
        await asyncio.gather(*self._sending)

    def stop(self) -> None:
        self._stopping.set()

    async def _send(self, number: int) -> None:
        body = {"to": f"+4670{1_001_000 + number}", "body": f"message {number}"}
        for _ in range(600):
            try:
                answer = await self.customer.call("POST", "/v1/messages", body, Idempotency_Key=f"message-{number}")
            except (aiohttp.ClientError, TimeoutError):
                self.refused += 1
            else:
                if answer.status == 202:
                    self.accepted.add(answer.json["id"])
                    return
                assert answer.status in {409, 500, 502, 503, 504}, answer
                self.refused += 1
            await asyncio.sleep(0.1)
        raise AssertionError("it was never accepted")


async def in_order(receiver: Receiver) -> None:
    seen: defaultdict[str, list[str]] = defaultdict(list)
    for event in receiver.events:
        seen[event["data"]["id"]].append(event["type"].removeprefix("message."))
    for message_id, statuses in seen.items():
        assert statuses == sorted(statuses, key=STATUSES.index), (message_id, statuses)


async def billed_once(deployment: Deployment, customer: Customer) -> None:
    """Closed twice, there is one invoice, and it counts what usage counts; the books agree with the messages."""
    period = datetime.now(UTC).strftime("%Y-%m")
    usage = (await customer.good("GET", "/v1/billing/usage"))["totals"]
    for _ in range(2):
        await asyncio.to_thread(deployment.run, "admin", "invoices", "close", "--period", period, "--early")
    invoices = (await customer.good("GET", "/v1/billing/invoices"))["data"]
    assert len(invoices) == 1
    lines = (await customer.good("GET", f"/v1/billing/invoices/{invoices[0]['id']}"))["line_items"]
    assert sum(line["messages"] for line in lines) == usage["messages"]
    await asyncio.to_thread(deployment.run, "admin", "usage", "verify", "--period", period)


async def while_sending(deployment: Deployment, *faults: Callable[[], Awaitable[None]]) -> None:
    """Let faults happen one after the other under load, and then look whether everything came right."""
    async with receiving() as receiver, signed_up(deployment) as customer:
        made = await customer.good(
            "POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"], "fifo": {"by": "message"}}
        )
        receiver.secret = made["secret"]
        load = Load(customer)
        sending = asyncio.create_task(load.run())
        try:
            for fault in faults:
                await asyncio.sleep(0.5)
                await fault()
        finally:
            load.stop()
            await sending
        messages = await all_ended(customer, load.accepted)
        assert messages.keys() == load.accepted
        await agreed(customer, receiver, messages)
        await in_order(receiver)
        await billed_once(deployment, customer)


def killed(deployment: Deployment, name: str) -> Callable[[], Awaitable[None]]:
    async def fault() -> None:
        await asyncio.to_thread(deployment.stop, name, signal.SIGKILL)
        await asyncio.to_thread(deployment.restart, name)

    return fault


async def test_nothing_is_lost_and_nothing_is_billed_twice_whatever_dies(deployment: Deployment) -> None:
    """One load over all of it, so that what one fault left behind meets the next."""
    nats, redis, way = deployment.engines["nats"], deployment.engines["redis"], deployment.way_to_nats
    assert way is not None

    async def nats_dies() -> None:
        nats.kill()
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(nats.start)

    async def nats_hangs() -> None:
        nats.pause()
        await asyncio.sleep(AWAY_S)
        nats.resume()

    async def nats_is_cut_off() -> None:
        way.cut()
        await asyncio.sleep(AWAY_S)
        way.mend()

    async def redis_dies() -> None:
        redis.kill()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(redis.start)

    async def postgresql_restarts() -> None:
        before = postmaster(deployment)
        os.kill(before, signal.SIGINT)  # a fast shutdown; `ghasi database` starts it again

        async def is_back() -> bool:
            return postmaster(deployment) not in {0, before}

        await until(is_back)

    # not the simulator: it plays the carrier, and one that dies forgets the receipts that it owes
    names = ("gateway", *UPSTREAMS, *WORK, "portal", "identity")
    killed_in_turn = [killed(deployment, name) for name in names]
    await while_sending(
        deployment, *killed_in_turn, nats_dies, nats_hangs, nats_is_cut_off, redis_dies, postgresql_restarts
    )
