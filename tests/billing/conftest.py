"""Messages as their outbox tells of them, billing reading it, and customers asking billing."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from ghasi.billing.routes import serve
from ghasi.billing.usage.rating import Rater
from ghasi.contract import shapes
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id, optional_rfc3339, rfc3339
from ghasi.storage.events import outbox, postgres
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.asgi import Answer, request

ACCOUNT = new_id()
LAST_MONTH = datetime(2026, 10, 15, 12, 30, tzinfo=UTC)
THE_END = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sms:
    """A message that passes accepted, then `passes`, a second each; one for `later` passes scheduled first.

    One that is received passes nothing else.
    """

    account_id: UUID = ACCOUNT
    country: str | None = "AF"
    segments: int = 1
    at: datetime = LAST_MONTH
    passes: Sequence[shapes.MessageStatus] = ("sent", "delivered")
    direction: str = "outbound"
    id: UUID = field(default_factory=new_id)
    to: str = "+93701234567"
    sender: str | None = None
    reference: str | None = None
    api_key_id: UUID | None = None
    carrier_class: str | None = None
    later: timedelta | None = None

    @property
    def statuses(self) -> Sequence[shapes.MessageStatus]:
        if self.passes == ("received",):
            return self.passes
        begun: Sequence[shapes.MessageStatus] = ("accepted",) if self.later is None else ("scheduled", "accepted")
        return (*begun, *self.passes) if self.passes != ("canceled",) else (begun[0], "canceled")

    @property
    def accepted_at(self) -> datetime:
        return self.at + (self.later or timedelta(0))

    @property
    def sent_at(self) -> datetime | None:
        return self.accepted_at + timedelta(seconds=1) if "sent" in self.passes else None

    def events(self) -> list[Event]:
        return [self._event(sequence, status) for sequence, status in enumerate(self.statuses, start=1)]

    def _event(self, sequence: int, status: shapes.MessageStatus) -> Event:
        passed = self.statuses[:sequence]
        at = (self.accepted_at if "accepted" in passed else self.at) + timedelta(
            seconds=sequence - 1 - ("scheduled" in passed)
        )
        sent_at = self.sent_at if "sent" in passed else None
        message = shapes.Message(
            id=str(self.id), direction=self.direction, to=self.to, sender=self.sender, body="Hi", encoding="gsm7",
            segments=self.segments, status=status, price=None, error=None, reference=self.reference,
            country=self.country, created_at=rfc3339(self.at),
            send_at=None if self.later is None else rfc3339(self.accepted_at), sent_at=optional_rfc3339(sent_at),
            completed_at=rfc3339(at) if status in (*shapes.FINAL_STATUSES, "received") else None,
        )  # fmt: skip
        private: dict[str, object] = {}
        if self.api_key_id is not None:
            private |= {"credential": str(self.api_key_id), "api_key": True}
        if (sent_at is not None or status == "received") and self.carrier_class is not None:
            private |= {"carrier": "north", "carrier_class": self.carrier_class}
        if self.later is not None and "accepted" in passed:
            private |= {"accepted_at": rfc3339(self.accepted_at)}
        return Event(
            new_id(), f"message.{status}", self.account_id, self.id, sequence, at, outbox.to_json(message),
            private=outbox.to_json(private),
        )  # fmt: skip


class Messages:
    """Writes events to the messages' outbox and lets billing read them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rater = Rater()

    async def write(self, *events: Event) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await outbox.append(connection, "messages", events)

    async def read(self, most: int = 500) -> None:
        """Read all that was written. A transaction of anybody's, a vacuum's too, may hide some of it for a moment."""
        read = True  # the first look at an outbox only makes the position
        while read or not await postgres.has_read_until(self._pool, "messages", "billing", THE_END):
            read = await postgres.consume(self._pool, "messages", "billing", self._rater.apply, most) > 0

    async def happen(self, *messages: Sms) -> None:
        await self.write(*(event for message in messages for event in message.events()))
        await self.read()


@pytest.fixture
def messages(pool: Pool) -> Messages:
    return Messages(pool)


@pytest.fixture
async def app(resources: Resources) -> AsyncIterator[ServiceApp]:
    async with serve(resources) as handlers:
        yield ServiceApp(handlers)


async def get(app: ServiceApp, target: str, account_id: UUID = ACCOUNT) -> Answer:
    headers = {"X-Account-Id": str(account_id), "X-User-Id": str(new_id()), "X-Consumer-Username": "ghasi-user"}
    return await request(app, "GET", f"/v1/billing/{target}", headers=headers)


async def ask(app: ServiceApp, what: str, account_id: UUID = ACCOUNT, **query: str) -> Any:
    """The usage or the summary."""
    answer = await get(app, f"{what}?{urlencode(query)}", account_id)
    assert answer.status == 200, answer.json
    return answer.json


OCTOBER = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
