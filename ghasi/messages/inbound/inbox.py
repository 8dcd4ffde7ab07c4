"""Takes what phones send: committed first, then acknowledged; whole messages go to the account whose number it is.

Owns the only transaction in which a message is received: its parts, its row, its event, and what its text asks for
(opting out and in) change together. What is for nobody's number is counted, acknowledged and forgotten. Texts never
reach the logs.
"""

import asyncio
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from ghasi.carriers.carrier import InboundPart
from ghasi.contract.errors import Problem
from ghasi.contract.shapes import Message
from ghasi.contract.values import id_time, new_id, rfc3339
from ghasi.messages.inbound import queries, reassembly
from ghasi.messages.inbound.queries import Received
from ghasi.messages.inbound.reassembly import Desk, HeldPart, Key, Whole
from ghasi.messages.model import private_part
from ghasi.messages.numbers import Recipient, parse_recipient
from ghasi.messages.senders import opt_out_queries
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders.opt_out_queries import StoredOptOut
from ghasi.storage.batch import Batcher, commit_apart, write_whole_or_apart
from ghasi.storage.bells import Bells
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import UNAVAILABLE, Connection, Pool

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START_WORDS = frozenset({"START", "UNSTOP"})
KEPT = timedelta(hours=1)
"""How long it is remembered what was taken: longer than the database is away while a commit is in doubt."""
MOST_LATE, MOST_FORGOTTEN = 500, 10_000
_CONVERSATION_LOCKS = 256
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_LONGEST_WORD = 40
log = structlog.get_logger("ghasi.messages")
_parts = Counter("ghasi_inbound_parts_total", "Short messages from phones, by what became of them", ["result"])
_messages = Counter("ghasi_inbound_messages_total", "Messages received from phones", ["whole"])

Wish = tuple[UUID, str, str, bool]
"""Account, sender, recipient, and whether they opt out (or in again)."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Inbox:
    """The batches being written; all else is in the database, so that any worker goes on where another ended."""

    pool: Pool
    bells: Bells
    clock: Callable[[], datetime] = _now
    class_of: Callable[[str], str | None] = lambda _: None
    batcher: Batcher[Sequence[HeldPart], None] = field(init=False)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self._write, name="inbound parts", most=100, attempts=None)

    def put(self, parts: Sequence[InboundPart], acknowledge: Callable[[bool], None]) -> None:
        """Queue parts, and acknowledge them after the commit; not True where they were not written."""
        arrived_at = self.clock()
        self.batcher.put_told([reassembly.held(part, arrived_at) for part in parts], acknowledge)

    async def tend(self) -> None:
        """End messages whose last parts do not come, and forget what is over; to be called once a second."""
        now = self.clock()
        while late := await queries.list_late(self.pool, now - reassembly.WHOLE_WITHIN, MOST_LATE):
            try:
                await self._end(late)
            except UNAVAILABLE:
                raise
            except asyncpg.PostgresError:
                await commit_apart(late, self._end, _refused)
                break
        while await queries.forget_parts(self.pool, now - KEPT, MOST_FORGOTTEN) == MOST_FORGOTTEN:
            await asyncio.sleep(0)

    async def _end(self, late: Sequence[Key]) -> None:
        await self._commit([], late)

    async def drain(self) -> None:
        """Wait until all that was put is written."""
        await self.batcher.drain()

    async def _write(self, entries: Sequence[Sequence[HeldPart]], again: bool) -> Sequence[None]:
        return await write_whole_or_apart(entries, self._commit, _dropped, again=again)

    async def _commit(self, parts: Sequence[HeldPart], late: Sequence[Key] = ()) -> None:
        """Take parts, and end the messages of late keys, in one transaction."""
        now = self.clock()
        desk, received = Desk(), list[Received]()
        async with self.pool.acquire() as connection, connection.transaction():
            owners = await _find_owners(connection, {part.recipient for part in parts} | {key[2] for key in late})
            taken = [replace(part, committed_at=now) for part in parts if part.recipient in owners]
            keys = {part.key for part in taken} | set(late)
            if keys:
                await queries.lock_conversations(connection, [_lock_of(key) for key in keys])
                earliest = min((part.arrived_at for part in taken), default=now)
                desk.know(await queries.list_parts(connection, keys, earliest - reassembly.REPEATED_WITHIN))
                for part in taken:
                    desk.take(part)
                for key in late:
                    if desk.is_late(key, now):
                        desk.close(key)
                received = [_receive(whole, *owners[whole.recipient], self.class_of) for whole in desk.whole
                            if whole.recipient in owners]  # fmt: skip
                await _store(connection, desk, received, now)
        strays = [part for whole in desk.whole if whole.recipient not in owners for part in whole.parts]
        self._tell(desk, received, [*strays, *(part for part in parts if part.recipient not in owners)])

    def _tell(self, desk: Desk, received: Sequence[Received], unmatched: Sequence[HeldPart]) -> None:
        """Wake who reads the outbox, and count; after the commit."""
        if received:
            self.bells.ring("messages")
        for whole in desk.whole:
            _messages.labels("yes" if len(whole.parts) == whole.segments else "no").inc()
        _parts.labels("taken").inc(len(desk.fresh))
        _parts.labels("repeated").inc(desk.repeated)
        if unmatched:
            _parts.labels("unmatched").inc(len(unmatched))
            for carrier, recipient in sorted({(part.carrier, part.recipient) for part in unmatched}):
                log.warning("inbound_for_nobody", carrier=carrier, recipient=recipient[:40])


def _lock_of(key: Key) -> int:
    """Return the lock of a person's words to a number: what decides about them happens one after the other."""
    return zlib.crc32("\0".join(key[:3]).encode()) % _CONVERSATION_LOCKS


async def _find_owners(connection: Connection, recipients: Iterable[str]) -> dict[str, tuple[UUID, str]]:
    """Return the account and the address, as it is listed, of each recipient that is somebody's."""
    spellings = {recipient: _spellings(recipient) for recipient in recipients}
    owners = await sender_queries.list_owners(connection, {one for all_of in spellings.values() for one in all_of})
    found: dict[str, tuple[UUID, str]] = {}
    for recipient, candidates in spellings.items():
        address = next((one for one in candidates if one in owners), None)
        if address is not None:
            found[recipient] = (owners[address], address)
    return found


def _spellings(text: str) -> list[str]:
    """Return what a carrier may mean by a number, the likeliest first: with +, without it, with 00 in its place."""
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()):
        return []
    spellings = [text, digits, f"+{digits}"]
    return [*spellings, f"+{digits[2:]}"] if digits.startswith("00") else spellings


def _read_number(text: str) -> Recipient:
    """Read who sent a message: E.164 where it can be one, else as it came, and of no country."""
    for spelling in _spellings(text):
        try:
            return parse_recipient(spelling)
        except Problem:
            continue
    return Recipient(text, None)


def _receive(whole: Whole, account_id: UUID, address: str, class_of: Callable[[str], str | None]) -> Received:
    """Make the message of parts: received when it is whole, or will not be any more."""
    text = reassembly.read_text(whole.parts)
    person = _read_number(whole.parts[0].sender)
    return Received(
        id=whole.message_id, account_id=account_id, recipient=address, sender=person.number, body=text,
        encoding=reassembly.encoding_of(whole.parts, text), segments=whole.segments, country=person.country,
        carrier=whole.parts[0].carrier, carrier_class=class_of(whole.parts[0].carrier), at=id_time(whole.message_id),
    )  # fmt: skip


async def _store(connection: Connection, desk: Desk, received: Sequence[Received], now: datetime) -> None:
    if desk.fresh:
        await queries.insert_parts(connection, desk.fresh)
    if desk.ended:
        await queries.end_parts(connection, desk.ended, now)
    if received:
        await queries.insert_received(connection, received)
        await outbox.append(connection, "messages", [_event(message) for message in received])
        await _obey(connection, [wish for message in received if (wish := read_wish(message)) is not None])


def _event(message: Received) -> Event:
    at = rfc3339(message.at)
    data = Message(
        id=str(message.id), direction="inbound", to=message.recipient, sender=message.sender or None,
        body=message.body, encoding=message.encoding, segments=message.segments, status="received", price=None,
        error=None, reference=None, country=message.country, created_at=at, send_at=None, sent_at=None, completed_at=at,
    )  # fmt: skip
    return Event(
        id=new_id(), type="message.received", account_id=message.account_id, subject_id=message.id, sequence=1,
        at=message.at, data=outbox.to_json(data), private=private_part(None, message.carrier, message.carrier_class),
    )  # fmt: skip


def read_wish(message: Received) -> Wish | None:
    """Return whether a message asks for no more messages, or for messages again; the keyword is the whole text.

    Case, and punctuation and space around it, do not matter. Only a number can be written to, and so opt out.
    """
    if len(message.body) > _LONGEST_WORD or not message.sender.startswith("+"):
        return None
    word = _EDGES.sub("", message.body).upper()
    if word not in STOP_WORDS | START_WORDS:
        return None
    return (message.account_id, message.recipient, message.sender, word in STOP_WORDS)


async def _obey(connection: Connection, wishes: Sequence[Wish]) -> None:
    """Keep the opt-outs of keywords: of several by the same person each in its turn, others' at the same time."""
    rounds: list[list[Wish]] = []
    turns: dict[tuple[UUID, str], int] = {}
    for wish in wishes:
        who = (wish[0], wish[2])
        turn = turns[who] = turns.get(who, -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(wish)
    for turn_wishes in rounds:
        if outs := [wish for wish in turn_wishes if wish[3]]:
            opt_outs = [StoredOptOut(new_id(), account, to, sender, "keyword") for account, sender, to, _ in outs]
            await opt_out_queries.insert_opt_outs(connection, opt_outs)
        if ins := [(account, sender, to) for account, sender, to, out in turn_wishes if not out]:
            await opt_out_queries.delete_opt_outs(connection, ins)


def _dropped(part: HeldPart, error: asyncpg.PostgresError) -> None:
    log.error("inbound_part_dropped", carrier=part.carrier, error=type(error).__name__, exc_info=error)


def _refused(late: Key, error: asyncpg.PostgresError) -> None:
    """Note a message that stays, to be tried again."""
    log.error("inbound_message_refused", carrier=late[0], error=type(error).__name__, exc_info=error)
