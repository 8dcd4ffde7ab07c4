"""A prepaid account of a running Ghasi: it may send while it has money, and a little longer, as the docs say."""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal

import pytest

from tests.end_to_end.customer import Customer, receiving, signed_up
from tests.end_to_end.deployment import Deployment, together, until

PRICE, MESSAGES, SENDERS = Decimal("0.045"), 60, 8
WITHIN_S = 2.0
"""How long after the money is used up, or is there again, messages may not know it: docs/billing.md."""


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    many = {f"GHASI_LIMIT_{group}": "1000000" for group in ("AUTH", "SENDS", "READS", "WRITES")}
    with together(**many) as deployment:
        yield deployment


@dataclass
class Sender:
    """A customer who sends, and knows when each message was accepted."""

    customer: Customer
    times: list[float] = field(default_factory=list)

    async def send(self) -> str | None:
        """Send a message; return why it was refused, if it was."""
        answer = await self.customer.call("POST", "/v1/messages", {"to": "+93701234567", "body": "Hi"})
        if answer.status == 202:
            self.times.append(time.monotonic())
            return None
        assert answer.status == 402, answer.json
        return str(answer.json["code"])

    async def until_answered(self, expected: str | None) -> None:
        async def answered() -> bool:
            return await self.send() == expected

        await until(answered, within_s=WITHIN_S)

    async def until_refused(self) -> str:
        while (why := await self.send()) is None:
            pass
        return why

    async def settled(self) -> Decimal:
        """Wait until all that was accepted is charged, and return what that came to."""
        spent = len(self.times) * PRICE

        async def charged() -> bool:
            balance = await self.customer.good("GET", "/v1/billing/balance")
            return (Decimal(balance["spent"]), Decimal(balance["held"])) == (spent, 0)

        await until(charged)
        return spent


async def test_a_prepaid_balance_is_not_outspent_and_a_top_up_opens_the_way_again(deployment: Deployment) -> None:
    async with receiving() as receiver, signed_up(deployment) as customer:
        account, sender = customer.session["account"]["id"], Sender(customer)
        made = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["billing.*"]})
        receiver.secret = made["secret"]
        deployment.run("admin", "plans", "set", "ahead", "--payment", "prepaid")
        deployment.run("admin", "accounts", "plan", account, "ahead")
        await sender.until_answered("insufficient_balance")

        spent = await sender.settled()  # what went out before messages knew
        paid = (MESSAGES * PRICE + spent).quantize(Decimal("0.01"), ROUND_UP)
        top_up = ("admin", "accounts", "top-up", account, str(paid), "--reference", "bank 1")
        assert deployment.run(*top_up).startswith("the balance is ")
        assert deployment.run(*top_up).startswith("bank 1 was done before; the balance is ")
        sender.times.clear()
        await sender.until_answered(None)
        answers = await asyncio.gather(*(sender.until_refused() for _ in range(SENDERS)))
        assert set(answers) == {"insufficient_balance"}
        affordable = math.ceil((paid - spent) / PRICE)
        assert len(sender.times) >= affordable
        times = sorted(sender.times)
        assert times[-1] - times[affordable - 1] <= WITHIN_S

        sender.times += [0.0] * int(spent / PRICE)
        used = await sender.settled()
        assert Decimal((await customer.good("GET", "/v1/billing/balance"))["balance"]) == paid - used

        async def alerted() -> bool:
            return len(receiver.events) == 3

        await until(alerted)
        assert sorted(event["data"]["threshold_percent"] for event in receiver.events) == [50, 80, 100]
        assert deployment.run("admin", "ledger", "verify") == "the books are right\n"

        deployment.run("admin", "accounts", "top-up", account, "50", "--reference", "bank 2")
        await sender.until_answered(None)
        deployment.run("admin", "accounts", "spending-limit", account, "0.05")
        await sender.until_answered("spending_limit_reached")
        deployment.run("admin", "accounts", "spending-limit", account, "none")
        await sender.until_answered(None)
