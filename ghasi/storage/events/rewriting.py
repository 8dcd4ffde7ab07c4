"""Takes out of a stream what customers have deleted: an event is published again without it, then its message erased.

A stream cannot be changed in place, and a consumer may not have read the event yet: so it comes again first, under its
own id, behind what followed it. Consumers need no order, and know the id. A stream has no index by message: what an
account's stream holds since a message came to be is read through, type by type. For a pattern the server would look at
every message of all accounts, 2 us each, and nobody could publish meanwhile; what has one name it finds at once.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace
from nats.js.errors import NotFoundError

from ghasi.contract.values import id_time, new_id
from ghasi.storage.events.link import Connection
from ghasi.storage.events.reader import Message, Reader, since
from ghasi.storage.events.stream import (
    MESSAGE_ID,
    TRANSACTION,
    Streams,
    created_at,
    find_stream,
    read_payload,
    write_payload,
)

Change = Callable[[str], str | None]
"""Returns what an event's data shall be instead, or None where it may stay."""
_AT_A_TIME = 500


async def rewrite(
    connection: Connection, streams: Streams, source: str, subjects: Mapping[UUID, UUID], change: Change
) -> int:
    """Change the data of subjects' events, given with their accounts; return how many there were. Safe to repeat."""
    info = await find_stream(connection, streams.name(source))
    if info is None:
        return 0
    by_account: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for subject_id, account_id in subjects.items():
        by_account[account_id].append(subject_id)
    rewritten = 0
    for account_id, wanted in by_account.items():
        rewriter = _Rewriter(connection, streams, source, change)
        rewritten += await rewriter.go_through(created_at(info), account_id, frozenset(wanted))
    return rewritten


class _Rewriter:
    def __init__(self, connection: Connection, streams: Streams, source: str, change: Change) -> None:
        self._connection, self._streams, self._source, self._change = connection, streams, source, change

    async def go_through(self, stream: datetime, account_id: UUID, wanted: frozenset[UUID]) -> int:
        """Read an account's messages and rewrite those of the subjects."""
        name, ours = self._streams.name(self._source), self._streams.subject(self._source, account_id, ">")
        info = await self._connection.ask(self._connection.jetstream.stream_info(name, subjects_filter=ours))
        rewritten = 0
        for published_on in info.state.subjects or ():
            rewritten += await self._go_through(Reader(self._connection, name, stream), published_on, wanted)
        return rewritten

    async def _go_through(self, reader: Reader, published_on: str, wanted: frozenset[UUID]) -> int:
        try:
            await reader.open(since(min(map(id_time, wanted))) | {"filter_subject": published_on})
            left, rewritten = reader.pending, 0
            while left > 0:
                messages = await reader.fetch(_AT_A_TIME)
                for message in messages:
                    rewritten += await self._rewrite(message, wanted)
                left = left - len(messages) if messages else 0
        finally:
            reader.close()
        return rewritten

    async def _rewrite(self, message: Message, wanted: frozenset[UUID]) -> bool:
        event = read_payload(message.payload)
        data = self._change(event.data) if event.subject_id in wanted else None
        if data is None:
            return False
        jetstream = self._connection.jetstream
        subject = self._streams.subject(self._source, event.account_id, event.type)
        headers = {MESSAGE_ID: str(new_id()), TRANSACTION: str(message.xid)}
        await self._connection.ask(
            jetstream.publish(subject, write_payload(replace(event, data=data)), headers=headers)
        )
        with contextlib.suppress(NotFoundError):  # its age came first
            await self._connection.ask(jetstream.delete_msg(self._streams.name(self._source), message.sequence))
        return True
