"""kill -9 while messages are under way: nothing accepted is lost, and what may have been sent twice is counted."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.customer import Customer, Receiver, receiving, signed_up
from tests.end_to_end.deployment import Deployment, together, until

RAISED = {f"GHASI_LIMIT_{group}": "1000000" for group in ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES")}
ENDED_S = 90.0
"""A lease is 30 s: what the killed worker had claimed goes again after that."""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with together(**RAISED) as deployment:
        yield deployment


async def hooked(customer: Customer, receiver: Receiver) -> None:
    made = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
    receiver.secret = made["secret"]


async def all_ended(customer: Customer, expected: set[str]) -> dict[str, dict[str, Any]]:
    """Wait until every expected message has a final state; return all of the account's messages."""

    async def read() -> dict[str, dict[str, Any]] | None:
        messages: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            page = await customer.good("GET", f"/v1/messages?limit=100{cursor}")
            messages |= {message["id"]: message for message in page["data"]}
            if not page["next_cursor"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert expected <= messages.keys(), "an accepted message is gone"
        return messages if all(message["completed_at"] for message in messages.values()) else None

    return await until(read, within_s=ENDED_S, every_s=0.5)


async def agreed(customer: Customer, receiver: Receiver, messages: dict[str, dict[str, Any]]) -> None:
    """Every final state has its webhook, and usage equals what was sent."""

    async def told() -> bool:
        return all(receiver.of(f"message.{one['status']}") >= {one["id"]} for one in messages.values())

    await until(told, within_s=60)
    assert receiver.forged == 0
    sent = sum(message["sent_at"] is not None for message in messages.values())

    async def billed() -> bool:
        return (await customer.good("GET", "/v1/billing/usage"))["totals"]["messages"] == sent

    await until(billed, within_s=15)


def unread(port: int) -> int:
    """How many octets have come to a port of this machine and were not read yet."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}"))


async def test_killing_the_worker_with_a_thousand_in_flight(deployment: Deployment) -> None:
    async with receiving() as receiver, signed_up(deployment) as customer:
        await hooked(customer, receiver)
        accepted: set[str] = set()

        async def send(number: int) -> None:
            body = {"to": f"+4670{1_001_000 + number}", "body": f"message {number}"}
            accepted.add((await customer.good("POST", "/v1/messages", body))["id"])

        async def has_submitted() -> bool:
            return unread(deployment.ports["smsc"]) > 1000

        sending = [asyncio.create_task(send(number)) for number in range(1000)]
        await asyncio.wait(sending[:400])
        carrier = deployment.child("simulator")
        os.kill(carrier, signal.SIGSTOP)  # from now on it answers nothing
        try:
            await until(has_submitted, within_s=30)
            os.kill(deployment.child("worker"), signal.SIGKILL)
        finally:
            os.kill(carrier, signal.SIGCONT)
        await asyncio.gather(*sending)
        messages = await all_ended(customer, accepted)
        assert len(messages) == 1000
        assert {message["status"] for message in messages.values()} == {"delivered"}
        await agreed(customer, receiver, messages)
        twice = deployment.admin("carriers", "list")[0]["resubmitted"]
        assert 0 < twice <= 1000, "a worker killed in the middle leaves some in doubt, and says how many"


async def test_killing_the_api_while_it_accepts(deployment: Deployment) -> None:
    async with receiving() as receiver, signed_up(deployment) as customer:
        await hooked(customer, receiver)
        accepted: set[str] = set()
        broken = 0

        async def send(number: int) -> None:
            nonlocal broken
            body = {"to": f"+4670{1_001_000 + number}", "body": f"message {number}"}
            for _ in range(200):
                try:
                    answer = await customer.call("POST", "/v1/messages", body, Idempotency_Key=f"message-{number}")
                except aiohttp.ClientError:
                    broken += 1
                    await asyncio.sleep(0.05)
                    continue
                if answer.status == 202:
                    accepted.add(answer.json["id"])
                    return
                assert answer.status in (502, 503), answer
                await asyncio.sleep(0.05)
            raise AssertionError("the API did not come back")

        sending = [asyncio.create_task(send(number)) for number in range(600)]
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        os.kill(deployment.child("api"), signal.SIGKILL)
        await asyncio.gather(*sending)
        assert broken, "the kill came too late to break anything"
        messages = await all_ended(customer, accepted)
        # a key is committed with its message or not at all: what was retried was not sent twice
        assert messages.keys() == accepted
        assert len(accepted) == 600
        await agreed(customer, receiver, messages)


def postmaster(deployment: Deployment) -> int:
    """The process id of the database that runs, or ran last; 0 while another begins."""
    file = deployment.folder / "data" / "postgres" / "postmaster.pid"
    with suppress(OSError, IndexError):
        return int(file.read_text().split()[0])
    return 0


async def test_killing_the_database(deployment: Deployment) -> None:
    async with receiving() as receiver, signed_up(deployment) as customer:
        await hooked(customer, receiver)
        accepted: set[str] = set()

        async def send(number: int) -> None:
            body = {"to": f"+4670{1_001_000 + number}", "body": f"message {number}"}
            answer = await customer.call("POST", "/v1/messages", body)
            if answer.status == 202:
                accepted.add(answer.json["id"])

        for number in range(200):
            await send(number)
        killed = postmaster(deployment)
        os.kill(killed, signal.SIGKILL)

        async def back() -> bool:
            async with aiohttp.ClientSession() as http, http.get(deployment.api + "/healthz") as response:
                return response.status == 200 and postmaster(deployment) not in {0, killed}

        await until(back, within_s=30)
        await asyncio.gather(*(send(number) for number in range(200, 300)))
        assert len(accepted) >= 300
        await agreed(customer, receiver, await all_ended(customer, accepted))
