"""Writes what carriers say: submit results and receipts, many messages in one transaction.

Owns the only transaction in which a message moves on after acceptance: its status, its segments, its place in the
queue and its events change together. A receipt is acknowledged after that commit, never before. It waits for a lost
database as long as it takes: what a carrier said cannot be asked again.
"""

import asyncio
import contextlib
from asyncio import Future
from collections import Counter as Counted
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct
from prometheus_client import Counter

from ghasi.carriers.carrier import Receipt
from ghasi.contract.shapes import MessageStatus
from ghasi.contract.values import new_id
from ghasi.messages.dispatch import queries
from ghasi.messages.dispatch.lifecycle import Part, advance, end, end_unreceipted
from ghasi.messages.dispatch.quality import QualityCounts
from ghasi.messages.model import Stored, status_event
from ghasi.storage.batch import Batcher, write_whole_or_apart
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import UNAVAILABLE, Connection, Pool

MOST_REMEMBERED = 50_000
RECEIPTS_WITHIN, REPETITION_KEPT = timedelta(hours=72), timedelta(minutes=1)
_NOTHING: tuple[UUID | None, int, int, bool] = (None, 0, 0, False)
log = structlog.get_logger("ghasi.messages")
_finals = Counter("ghasi_messages_ended_total", "Messages that reached a final status", ["status"])
_receipts = Counter("ghasi_receipts_total", "Receipts by what they matched", ["carrier", "match"])


class Retry(Struct, frozen=True):
    """Submit again after `delay_s`; `claims` says which claim ends so; `in_doubt`: its submit may have been taken."""

    claims: int
    delay_s: float
    throttled: bool = False
    in_doubt: bool = False


class Ending(Struct, frozen=True):
    """A final status that no carrier gave, for a message whose status is one of `of`."""

    status: MessageStatus
    error_code: str
    of: tuple[MessageStatus, ...] = ("accepted",)


class Submitted(Struct, frozen=True):
    """What became of one claim of a message: parts the carrier took or refused, with its ids, and what comes next."""

    message_id: UUID
    parts: Sequence[tuple[Part, str | None]] = ()
    resubmitted: bool = False
    retry: Retry | None = None
    ending: Ending | None = None


Entry = Sequence[Submitted | Receipt]


@dataclass(slots=True)
class Ledger:
    """The batches being written, and the newest submissions by (carrier, its message id), to match receipts by.

    `class_of` says which class a carrier is of.
    """

    pool: Pool
    bells: Bells
    class_of: Callable[[str], str | None] = lambda _: None
    batcher: Batcher[Entry, None] = field(init=False)
    recent: dict[tuple[str, str], tuple[UUID, int, int]] = field(default_factory=dict)
    early: dict[tuple[str, str], None] = field(default_factory=dict)
    """Receipts parked here because they came before their submit's answer was written, oldest first."""
    quality: QualityCounts = field(default_factory=QualityCounts)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self._write, name="carriers' words", most=100, queue_size=100_000, attempts=None)

    def put(self, entry: Entry) -> Future[None]:
        """Queue results or receipts; the future is done once they are committed. Raises QueueFullError."""
        return self.batcher.put(entry)

    def put_receipts(self, receipts: Sequence[Receipt], acknowledge: Callable[[bool], None]) -> None:
        """Queue receipts, and acknowledge them after the commit, or refuse them when they could not be written."""
        # behind the answers of the same read, which take a turn of the event loop to come here
        asyncio.get_running_loop().call_soon(self.batcher.put_told, receipts, acknowledge)

    async def _write(self, entries: Sequence[Entry], again: bool) -> Sequence[None]:
        return await write_whole_or_apart(entries, self._commit, _dropped, again=again)

    async def _commit(self, words: Sequence[Submitted | Receipt]) -> None:
        results = [one for one in words if isinstance(one, Submitted)]
        receipts = [one for one in words if isinstance(one, Receipt)]
        async with self.pool.acquire() as connection, connection.transaction():
            facts = await self._apply(connection, results, receipts)
        self._tell(facts)
        if facts.overtaken:
            with contextlib.suppress(*UNAVAILABLE):  # it is looked for once a second anyway
                await self.match_parked()
        await self.quality.flush_due(self.pool)

    async def match_parked(self, most: int = 500) -> int:
        """Apply parked receipts whose submission has become known since; return how many."""
        async with self.pool.acquire() as connection, connection.transaction():
            receipts = await queries.take_parked_receipts(connection, most)
            facts = await self._apply(connection, [], receipts) if receipts else _Facts()
        self._tell(facts)
        return len(receipts)

    def _tell(self, facts: "_Facts") -> None:
        """Wake who reads the outbox, and count; after the commit."""
        if facts.passed:
            self.bells.ring("messages")
        for status, times in Counted(facts.passed).items():
            if status != "sent":
                _finals.labels(status).inc(times)
        for carrier, country, again, latency_s in facts.ended:
            self.quality.ended(carrier, country, again=again, sent_to_delivered_s=latency_s)

    async def _apply(
        self, connection: Connection, results: Sequence[Submitted], receipts: Sequence[Receipt]
    ) -> "_Facts":
        """Write a batch; return what it said, with every status that some message passed."""
        facts = _Facts()
        for result in results:
            facts.take(result)
        if facts.submissions:
            await queries.write_submissions(connection, list(facts.submissions.values()))
            self._remember(facts)
        await self._match(connection, receipts, facts)
        if not facts.touched:
            return facts
        messages = await queries.lock_messages(connection, list(facts.touched))
        await self._complete_long(connection, messages, facts)
        changed, events = _advance(messages, facts, self.class_of)
        if changed:
            await queries.write_messages(connection, changed)
            await outbox.append(connection, "messages", events)
        settled = [one.id for one in messages.values() if one.id in facts.resulted and one.status != "accepted"]
        if settled:
            await queries.end_dispatch(connection, settled)
        retries = [row for row in facts.retries if row[0] in messages and messages[row[0]].status == "accepted"]
        if retries:
            await queries.retry_dispatch(connection, retries)
        return facts

    def _remember(self, facts: "_Facts") -> None:
        for message_id, part, carrier_message_id in facts.submissions.values():
            if carrier_message_id is not None:
                key = (part.carrier, carrier_message_id)
                self.recent[key] = (message_id, part.part, part.of or 0)
                if key in self.early:
                    del self.early[key]
                    facts.overtaken = True
        _forget_oldest(self.recent)

    async def _match(self, connection: Connection, receipts: Sequence[Receipt], facts: "_Facts") -> None:
        """Find the segments that receipts are about; park those that match none."""
        # the carrier's own date has whole minutes, and a clock of its own
        now = datetime.now(UTC)
        finals = [receipt for receipt in receipts if receipt.state != "accepted"]
        unknown = {(one.carrier, one.carrier_message_id) for one in finals} - self.recent.keys()
        known = await queries.find_submissions(connection, list(unknown)) if unknown else {}
        parked: list[tuple[Receipt, timedelta]] = []
        for receipt in finals:
            key = (receipt.carrier, receipt.carrier_message_id)
            message_id, number, of, is_open = (
                (*self.recent[key], True) if key in self.recent else known.get(key, _NOTHING)
            )
            if message_id is None or not is_open:
                # of an ended message it is a repetition, or the carrier reuses its ids and the answer of a submit is
                # still to be written: that takes seconds
                parked.append((receipt, RECEIPTS_WITHIN if message_id is None else REPETITION_KEPT))
                self.early[key] = None
                continue
            facts.receipt(
                message_id,
                Part(number, receipt.state, receipt.carrier, now, receipt.error_code, receipt.detail, of or None),
            )
        for receipt in finals:
            # carriers reuse ids: what has ended must not take the next message's receipt
            self.recent.pop((receipt.carrier, receipt.carrier_message_id), None)
        _forget_oldest(self.early)
        unmatched = Counted(receipt.carrier for receipt, _ in parked)
        for carrier, count in Counted(receipt.carrier for receipt in finals).items():
            _receipts.labels(carrier, "matched").inc(count - unmatched[carrier])
            _receipts.labels(carrier, "parked").inc(unmatched[carrier])
        if parked:
            await queries.park_receipts(
                connection,
                [new_id() for _ in parked],
                [receipt for receipt, _ in parked],
                [keep for _, keep in parked],
            )

    async def _complete_long(self, connection: Connection, messages: dict[UUID, Stored], facts: "_Facts") -> None:
        """For messages of several parts, write the receipts and take the state of all parts from the table."""
        long = [message_id for message_id, message in messages.items() if facts.may_be_long(message)]
        if not long:
            return
        received = [  # the last word on each part: an UPDATE takes any one of several rows
            (message_id, part)
            for message_id in long
            for part in {part.part: part for part in facts.received.get(message_id, ())}.values()
        ]
        if received:
            await queries.set_part_states(connection, received)
        for message_id, parts in (await queries.list_parts(connection, long)).items():
            facts.parts[message_id] = {part.part: part for part in parts}


class _Facts:
    """What a batch says of messages."""

    def __init__(self) -> None:
        self.submissions: dict[tuple[UUID, int], tuple[UUID, Part, str | None]] = {}
        self.parts: dict[UUID, dict[int, Part]] = {}
        self.received: dict[UUID, list[Part]] = {}
        self.resulted: set[UUID] = set()
        self.resubmitted: set[UUID] = set()
        self.endings: dict[UUID, Ending] = {}
        self.retries: list[tuple[UUID, int, float, bool, bool]] = []
        self.overtaken = False
        self.passed: list[str] = []
        self.ended: list[tuple[str, str | None, bool, float | None]] = []

    @property
    def touched(self) -> set[UUID]:
        return self.resulted | self.received.keys()

    def may_be_long(self, message: Stored) -> bool:
        """Whether a message has parts besides those of this batch."""
        parts = self.parts.get(message.id)
        if not parts:
            return message.segments > 1 or message.id in self.endings
        return (next(iter(parts.values())).of or message.segments) > 1

    def take(self, result: Submitted) -> None:
        self.resulted.add(result.message_id)
        for part, carrier_message_id in result.parts:
            self.submissions[result.message_id, part.part] = (result.message_id, part, carrier_message_id)
            self.parts.setdefault(result.message_id, {})[part.part] = part
        if result.resubmitted:
            self.resubmitted.add(result.message_id)
        if result.retry is not None:
            retry = result.retry
            self.retries.append((result.message_id, retry.claims, retry.delay_s, retry.throttled, retry.in_doubt))
        if result.ending is not None:
            self.endings[result.message_id] = result.ending

    def receipt(self, message_id: UUID, part: Part) -> None:
        """Take a receipt as its part's state; of two, a delivered one counts, and one that knows more than unknown."""
        parts = self.parts.setdefault(message_id, {})
        known = parts[part.part].state if part.part in parts else "accepted"
        if known != "delivered" and (part.state != "unknown" or known == "accepted"):
            parts[part.part] = part
            self.received.setdefault(message_id, []).append(part)

    def pass_to(self, message: Stored, was: MessageStatus, now: datetime) -> Event:
        """Note a status that a message has passed to, and return its event."""
        self.passed.append(message.status)
        if message.status != "sent" and message.carrier is not None and message.sent_at is not None:
            ended_at = message.completed_at
            took_s = None
            if message.status == "delivered" and ended_at is not None:
                took_s = (ended_at - message.sent_at).total_seconds()
            self.ended.append((message.carrier, message.country, was == "unknown", took_s))
        return status_event(message, now)


def _advance(
    messages: dict[UUID, Stored], facts: _Facts, class_of: Callable[[str], str | None]
) -> tuple[list[Stored], list[Event]]:
    """Move messages on by the facts; return those that changed, and the event of each status passed."""
    changed: list[Stored] = []
    events: list[Event] = []
    now = datetime.now(UTC)
    for message in messages.values():
        before = (message.sequence, message.resubmitted)
        message.resubmitted |= message.id in facts.resubmitted
        parts = list(facts.parts.get(message.id, {}).values())
        was = message.status
        while advance(message, parts):  # one status at a time, so that each event shows the message as it was then
            if message.status == "sent" and message.carrier is not None:
                message.carrier_class = class_of(message.carrier)
            events.append(facts.pass_to(message, was, now))
            was = message.status
        ending = facts.endings.get(message.id)
        if ending is not None and message.status in ending.of:
            if ending.status == "unknown":
                end_unreceipted(message, parts, at=now, error_code=ending.error_code)
            else:
                end(message, ending.status, at=now, error_code=ending.error_code, error_detail=None)
            events.append(facts.pass_to(message, was, now))
        if (message.sequence, message.resubmitted) != before:
            changed.append(message)
    return changed, events


def _forget_oldest(known: dict[tuple[str, str], Any]) -> None:
    while len(known) > MOST_REMEMBERED:
        del known[next(iter(known))]


def _dropped(word: Submitted | Receipt, error: asyncpg.PostgresError) -> None:
    of = word.message_id if isinstance(word, Submitted) else word.carrier_message_id[:64]
    log.error("carriers_word_dropped", kind=type(word).__name__, of=str(of), error=type(error).__name__, exc_info=error)
