"""Events between services go over NATS, as real processes have them, whatever becomes of the NATS server."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.end_to_end.customer import receiving, signed_up
from tests.end_to_end.deployment import Deployment, together, until
from tests.engines import Engine, nats_server


@pytest.fixture(scope="module")
def nats() -> Iterator[Engine]:
    with nats_server() as engine:
        yield engine


@pytest.fixture(scope="module")
def deployment(nats: Engine) -> Iterator[Deployment]:
    with together(GHASI_NATS_URL=nats.url, GHASI_LIMIT_SENDS="1000") as deployment:
        yield deployment


async def test_messages_are_charged_and_told_while_nats_dies_hangs_and_forgets(
    deployment: Deployment, nats: Engine
) -> None:
    async with signed_up(deployment) as customer, receiving() as receiver:
        hook = {"url": receiver.url, "events": ["message.delivered"]}
        receiver.secret = (await customer.good("POST", "/v1/webhooks", hook))["secret"]
        sent: list[str] = []

        async def send(count: int) -> None:
            for _ in range(count):
                message = {"to": "+93701234567", "body": "x"}
                sent.append((await customer.good("POST", "/v1/messages", message))["id"])

        async def arrived() -> bool:
            usage = await customer.good("GET", "/v1/billing/usage")
            priced = {one["id"] for one in (await customer.good("GET", "/v1/messages"))["data"] if one["price"]}
            told = receiver.of("message.delivered")
            return usage["totals"]["messages"] == len(sent) and told == priced == set(sent)

        await send(5)
        await until(arrived)
        nats.kill()
        await send(5)
        nats.start()
        await until(arrived, within_s=10)
        nats.pause()
        await send(5)
        await asyncio.sleep(3)
        nats.resume()
        await until(arrived, within_s=10)
        nats.kill()
        nats.wipe()
        await send(5)
        nats.start()
        await until(arrived, within_s=10)
        # what came again was neither charged nor told again
        assert len(receiver.ids) == len(sent)
        listed = deployment.admin("events", "list")
        assert {one["carried_by"] for one in listed} == {"NATS"}
        assert len([one for one in listed if one["consumer"] == "relay"]) == 3
