"""What is JetStream's alone: what is in the stream, and that nothing is lost whatever becomes of the NATS server."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import nats as nats_client
import pytest
from msgspec.structs import replace
from nats.js.api import RawStreamMsg, StreamInfo
from prometheus_client import REGISTRY

from ghasi.contract.values import new_id
from ghasi.storage.events import jetstream, positions, reader
from ghasi.storage.events.carrier import CarrierAwayError
from ghasi.storage.events.jetstream import JetStreamEvents
from ghasi.storage.events.link import Link
from ghasi.storage.events.outbox import Event
from ghasi.storage.events.stream import Streams, write_payload
from ghasi.storage.pool import Connection, Pool
from tests.engines import Engine
from tests.storage.events.conftest import (
    CONSUMER,
    OTHER,
    QUICK,
    SOURCE,
    Collector,
    Process,
    Start,
    append,
    applied_in,
    event,
    starting,
    until,
)

PREFIX = "faults"
STREAM = "FAULTS-MESSAGES"


@pytest.fixture
async def start(pool: Pool, nats: Engine) -> AsyncIterator[Start]:
    async with starting(pool, "jetstream", nats.url, PREFIX) as start:
        try:
            yield start
        finally:
            if nats.process is None:
                nats.start()
            nats.resume()
    async with Asking(nats) as asking:
        for stream in await asking.streams_info():
            await asking.delete_stream(stream.config.name)


class Asking:
    """JetStream, as another client sees it."""

    def __init__(self, nats: Engine) -> None:
        self._url = nats.url

    async def __aenter__(self) -> nats_client.js.JetStreamContext:
        self._client = await nats_client.connect(self._url, connect_timeout=5)
        return self._client.jetstream()

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def stream_of(nats: Engine) -> tuple[StreamInfo, list[RawStreamMsg]]:
    async with Asking(nats) as asking:
        info = await asking.stream_info(STREAM)
        numbers = range(info.state.first_seq, info.state.last_seq + 1)
        return info, [await asking.get_msg(STREAM, number) for number in numbers]


async def both(start: Start, seen: Collector) -> Process:
    process = start()
    process.relay()
    process.follow(seen)
    return process


def lag(consumer: str) -> float:
    return REGISTRY.get_sample_value("ghasi_outbox_lag_seconds", {"source": SOURCE, "consumer": consumer}) or 0.0


async def test_a_stream_holds_each_event_once_in_its_order(pool: Pool, nats: Engine, start: Start) -> None:
    written, seen = [event() for _ in range(3)], Collector()
    await append(pool, *written)
    process = await both(start, seen)
    await until(lambda: len(seen.applied) == 3)
    # a relay that dies between publishing and moving its position publishes again
    await pool.execute(f"UPDATE {SOURCE}.positions SET xid = '0' WHERE source = '{SOURCE}'")
    more = event()
    await append(pool, more)
    await until(lambda: len(seen.applied) == 4)
    info, messages = await stream_of(nats)
    assert [message.headers["Nats-Msg-Id"] for message in messages] == [str(one.id) for one in (*written, more)]
    assert [message.subject for message in messages] == [
        f"{PREFIX}.{SOURCE}.{one.account_id}.message.accepted" for one in (*written, more)
    ]
    body = json.loads(messages[0].data)
    assert list(body)[:7] == ["id", "type", "account_id", "subject_id", "sequence", "at", "data"]
    assert body["data"] == {"to": "+93", "b": "سلام"}
    assert (info.config.max_age, info.config.num_replicas) == (timedelta(days=3).total_seconds(), 1)
    assert process.link is not None


async def test_what_is_set_of_a_stream_is_changed_and_what_else_was_set_stays(pool: Pool, nats: Engine) -> None:
    async with starting(pool, "jetstream", nats.url, PREFIX) as start:
        seen = Collector()
        await append(pool, event())
        first = await both(start, seen)
        await until(lambda: seen.applied)
        await first.kill()
        async with Asking(nats) as asking:
            info = await asking.stream_info(STREAM)
            await asking.update_stream(info.config.evolve(max_bytes=10_000_000))
        link = Link(nats.url)
        events = JetStreamEvents(pool, first.bells, link, Streams(timedelta(days=5), prefix=PREFIX), **QUICK)
        second = Process(events, first.bells, link)
        second.relay()
        await append(pool, event())
        await asyncio.sleep(0.5)
        await second.kill()
        info, messages = await stream_of(nats)
        assert (info.config.max_age, info.config.max_bytes) == (timedelta(days=5).total_seconds(), 10_000_000)
        assert len(messages) == 2
        async with Asking(nats) as asking:
            await asking.delete_stream(STREAM)


async def test_a_relay_that_cannot_move_its_position_publishes_nothing_twice(
    pool: Pool, nats: Engine, start: Start
) -> None:
    await pool.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON {SOURCE}.positions FOR EACH ROW
            WHEN (NEW.source = '{SOURCE}' AND NEW.xid > '0') EXECUTE FUNCTION refuse()
        """
    )
    seen, written = Collector(), [event(sequence=number) for number in range(30)]
    await append(pool, *written)
    await both(start, seen)
    await until(lambda: len(seen.applied) == 30)  # published it was
    await append(pool, *(more := [event(sequence=number) for number in range(30, 40)]))
    await asyncio.sleep(0.6)
    await pool.execute(f"DROP TRIGGER refuse ON {SOURCE}.positions")
    await append(pool, last := event())
    await until(lambda: last.id in seen.ids)
    assert seen.ids == [one.id for one in (*written, *more, last)]
    _, messages = await stream_of(nats)
    assert len(messages) == 41


async def test_one_relay_at_a_time_and_another_when_it_ends(pool: Pool, start: Start, database_url: str) -> None:
    holder = await asyncpg.connect(database_url)
    transaction = holder.transaction()
    await transaction.start()
    assert await holder.fetchval(f"SELECT pg_try_advisory_xact_lock(hashtextextended('events.relay:{SOURCE}', 0))")
    seen = Collector()
    await both(start, seen)
    await append(pool, event())
    await asyncio.sleep(0.6)
    assert not seen.applied
    holder.terminate()  # as a killed process
    await until(lambda: seen.applied)


async def test_what_others_publish_is_passed_over_and_does_not_stop_the_relay(
    pool: Pool, nats: Engine, start: Start
) -> None:
    seen = Collector()
    await both(start, seen)
    await append(pool, event())
    await until(lambda: len(seen.applied) == 1)
    async with Asking(nats) as asking:
        await asking.publish(f"{PREFIX}.{SOURCE}.nonsense", b"what is this?")
    for number in range(2, 5):
        await append(pool, event())
        await until(lambda number=number: len(seen.applied) == number)
    assert len(set(seen.ids)) == 4


async def test_nothing_is_lost_when_nats_dies_or_hangs(
    pool: Pool, nats: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "TOLD_WITHIN_S", 1.0)
    seen, written = Collector(), []

    async def write(count: int = 20) -> None:
        for _ in range(count):
            written.append(event())
            await append(pool, written[-1])

    def all_applied() -> bool:
        return seen.ids == [one.id for one in written]

    process = await both(start, seen)
    await write()
    await until(all_applied)
    nats.kill()
    await write()
    await until(lambda: lag("relay") > 1.0)
    nats.start()
    await until(all_applied, within_s=2.5)
    await until(lambda: lag("relay") == lag(CONSUMER) == 0.0)
    nats.pause()
    await write()
    await asyncio.sleep(6)  # longer than anything waits for an answer
    await until(lambda: lag("relay") > 3.0 and lag(CONSUMER) > 3.0)
    nats.resume()
    await until(all_applied, within_s=2.5)
    nats.pause()  # a moment that nobody notices
    await write()
    nats.resume()
    await until(all_applied, within_s=2.5)
    # killed while it is busy
    for _ in range(3):
        writing = asyncio.create_task(write(60))
        await asyncio.sleep(0.05)
        nats.kill()
        nats.start()
        await writing
    await until(all_applied, within_s=5)
    now = datetime.now(UTC)
    await until(lambda: process.events.has_read_until(SOURCE, CONSUMER, now))


async def test_a_stream_that_was_lost_is_filled_again(pool: Pool, nats: Engine, start: Start) -> None:
    seen, first, second = Collector(), [event() for _ in range(5)], [event() for _ in range(5)]
    await both(start, seen)
    await append(pool, *first)
    await until(lambda: len(seen.applied) == 5)
    nats.kill()
    nats.wipe()
    await append(pool, *second)
    nats.start()
    await until(lambda: {one.id for one in second} <= set(seen.ids))
    await append(pool, last := event())
    await until(lambda: seen.ids[-1] == last.id)
    assert seen.ids[:5] == [one.id for one in first]
    assert seen.ids[-6:] == [one.id for one in (*second, last)]


async def test_a_stream_that_lost_its_tail_is_filled_again(pool: Pool, nats: Engine, start: Start) -> None:
    seen, kept = Collector(), nats.folder.parent / f"{nats.folder.name}-kept"
    process = await both(start, seen)
    await append(pool, *(event() for _ in range(5)))
    await until(lambda: len(seen.applied) == 5)
    nats.kill()
    shutil.copytree(nats.folder, kept)
    nats.start()
    await append(pool, *(event() for _ in range(5)))
    await until(lambda: _applied(pool, 10))
    await process.kill()  # nobody is there who could see the sequence go back
    nats.kill()
    nats.wipe()
    shutil.copytree(kept, nats.folder, dirs_exist_ok=True)
    shutil.rmtree(kept)
    nats.start()
    written = [event() for _ in range(12)]
    await append(pool, *written)
    relaying = start()
    relaying.relay()
    await until(lambda: _relayed(pool))  # further than the consumer had come
    again = Collector()
    relaying.follow(again)
    await until(lambda: {one.id for one in written} <= set(again.ids))


async def _relayed(pool: Pool) -> bool:
    position = await positions.find(pool, SOURCE, SOURCE)
    last = await pool.fetchval(f"SELECT id FROM {SOURCE}.outbox ORDER BY xid DESC, id DESC LIMIT 1")
    return position is not None and position.message == last


async def test_a_stream_that_is_deleted_while_it_is_used_is_made_again(pool: Pool, nats: Engine, start: Start) -> None:
    seen = Collector()
    await both(start, seen)
    await append(pool, event())
    await until(lambda: len(seen.applied) == 1)
    async with Asking(nats) as asking:
        await asking.delete_stream(STREAM)
    await append(pool, last := event())
    await until(lambda: last.id in seen.ids)


async def test_a_stream_that_somebody_else_makes_anew_is_filled_again(pool: Pool, nats: Engine, start: Start) -> None:
    """As an operator does, or one who restores it, while the relay is connected and has nothing to publish."""
    relaying, seen = start(), Collector()
    relaying.relay()
    await append(pool, first := event())
    await until(lambda: _relayed(pool))
    async with Asking(nats) as asking:
        info = await asking.stream_info(STREAM)
        await asking.delete_stream(STREAM)
        await asking.add_stream(info.config)
    await append(pool, second := event())
    relaying.follow(seen)
    await until(lambda: second.id in seen.ids)
    assert seen.ids == [first.id, second.id]
    now = datetime.now(UTC)
    await until(lambda: relaying.events.has_read_until(SOURCE, CONSUMER, now))


async def test_what_a_stream_lacks_before_what_it_has_is_published(pool: Pool, nats: Engine, start: Start) -> None:
    """That the last of a batch had been stored before says nothing of the others."""
    relaying = start()
    relaying.relay()
    await append(pool, event())
    await until(lambda: _relayed(pool))
    written = [event(sequence=number) for number in range(4)]
    async with Asking(nats) as asking:
        for one in (written[0], written[3]):
            payload, headers = write_payload(one), {"Nats-Msg-Id": str(one.id), "Ghasi-Transaction": "1"}
            await asking.publish(f"{PREFIX}.{SOURCE}.{one.account_id}.{one.type}", payload, headers=headers)
    await append(pool, *written)
    await until(lambda: _read_by_relay(pool, written[-1]))
    info, messages = await stream_of(nats)
    assert {message.headers["Nats-Msg-Id"] for message in messages} >= {str(one.id) for one in written}
    position = await positions.find(pool, SOURCE, SOURCE)
    assert position is not None
    assert (position.sequence, str(position.message)) == (info.state.last_seq, messages[-1].headers["Nats-Msg-Id"])
    await append(pool, last := event())
    await until(lambda: _read_by_relay(pool, last))


async def _read_by_relay(pool: Pool, last: Event) -> bool:
    position = await positions.find(pool, SOURCE, SOURCE)
    return position is not None and position.id == last.id


async def test_a_consumer_behind_one_that_hangs_goes_on_elsewhere(pool: Pool, start: Start) -> None:
    """One process holds the position; it is not waited for once its transaction is over."""
    holds, released, seen = asyncio.Event(), asyncio.Event(), Collector()

    async def hang(connection: Connection, events: Sequence[Event]) -> None:
        holds.set()
        await released.wait()
        await seen(connection, events)

    first, second = start(), start()
    first.relay()
    first.follow(hang)
    await append(pool, event())
    await holds.wait()
    second.follow(seen)
    await asyncio.sleep(0.5)
    assert not seen.applied
    released.set()
    await until(lambda: seen.applied)
    await append(pool, event())
    await until(lambda: len(seen.applied) == 2)
    await asyncio.sleep(0.3)
    assert len(seen.applied) == 2


async def _applied(pool: Pool, count: int) -> bool:
    return len(await applied_in(pool)) == count


async def test_what_a_stream_no_longer_had_is_counted(pool: Pool, nats: Engine, start: Start) -> None:
    seen = Collector()
    process = await both(start, seen)
    await append(pool, event())
    await until(lambda: _applied(pool, 1))
    await process.kill()
    relaying = start()
    relaying.relay()
    await append(pool, *(event() for _ in range(4)))
    await until(lambda: _relayed(pool))
    async with Asking(nats) as asking:
        await asking.purge_stream(STREAM, seq=4)  # as age does
    missed = REGISTRY.get_sample_value("ghasi_outbox_missed_total", {"source": SOURCE}) or 0.0
    relaying.follow(seen)
    await until(lambda: _applied(pool, 3))
    assert (REGISTRY.get_sample_value("ghasi_outbox_missed_total", {"source": SOURCE}) or 0.0) == missed + 2


async def test_a_consumer_that_jetstream_refuses_leaves_nothing_behind(pool: Pool, nats: Engine, start: Start) -> None:
    seen, late = Collector(), Collector()
    async with Asking(nats) as asking:
        wanted = Streams(prefix=PREFIX).config(SOURCE)
        await asking.add_stream(wanted.evolve(max_consumers=1))
    await append(pool, event())
    await both(start, seen)
    await until(lambda: seen.applied)
    process = start()
    assert process.link is not None
    connection = await process.link.connection()
    tried = _failures(OTHER)
    process.follow(late, consumer=OTHER)
    await until(lambda: _failures(OTHER) >= tried + 3)
    # one is nats-py's own, for answers
    await until(lambda: len(connection.client._subs) <= 1, within_s=0.2)
    assert connection.is_open


def _failures(consumer: str) -> float:
    return REGISTRY.get_sample_value("ghasi_outbox_failures_total", {"source": SOURCE, "consumer": consumer}) or 0.0


async def test_what_is_deleted_is_taken_out_of_the_stream(pool: Pool, nats: Engine, start: Start) -> None:
    seen, secret, stripped = Collector(), '{"id":"1","body":"nobody shall know"}', '{"id":"1","body":null}'
    process = await both(start, seen)
    first = event(data=secret)
    told = [first, *(replace(event(sequence=number, data=secret), account_id=first.account_id) for number in (2, 3))]
    told = [replace(one, subject_id=first.subject_id) for one in told]
    others = [event(data='{"body":"others"}'), replace(event(data='{"body":"mine"}'), account_id=first.account_id)]
    for one in (told[0], others[0], told[1], others[1], told[2]):
        await append(pool, one)
    await until(lambda: len(seen.applied) == 5)
    assert _stored(nats, "nobody shall know")

    def without(data: str) -> str | None:
        return stripped if "nobody" in data else None

    for _ in range(2):  # the second time there is nothing left to do
        await process.events.rewrite(SOURCE, {first.subject_id: first.account_id}, without)
    assert not _stored(nats, "nobody shall know")
    assert _stored(nats, "others")
    await until(lambda: len(seen.applied) == 8)
    assert seen.applied[5:] == [replace(one, data=stripped) for one in told]
    await append(pool, last := event())
    await until(lambda: seen.ids[-1] == last.id)
    async with Asking(nats) as asking:
        assert (await asking.stream_info(STREAM)).state.messages == 6
    late = Collector()
    process.follow(late, consumer=OTHER)
    await until(lambda: len(late.applied) == 6)
    assert set(late.ids) == set(seen.ids)


async def test_what_is_deleted_is_found_among_all_that_others_wrote(
    pool: Pool, nats: Engine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits while NATS looks at others' messages one by one: at a million of them it would be seconds."""
    process, secret, stripped = start(), '{"body":"nobody shall know"}', '{"body":null}'
    process.relay()
    await append(pool, first := event(data=secret))
    await until(lambda: _relayed(pool))
    client = await nats_client.connect(nats.url)
    for number in range(500_000):
        await client.publish(f"{PREFIX}.{SOURCE}.{UUID(int=number % 5000)}.message.sent", bytes(100))
        if number % 20_000 == 0:
            await client.flush(30)
    await client.flush(30)
    await client.close()
    await append(pool, replace(first, id=new_id(), sequence=2))
    await until(lambda: _relayed(pool))
    monkeypatch.setattr(reader, "WAIT_S", 0.2)
    for _ in range(2):  # a moment is short on a busy machine
        with contextlib.suppress(CarrierAwayError):
            await process.events.rewrite(SOURCE, {first.subject_id: first.account_id}, lambda _: stripped)
            break
    assert not _stored(nats, "nobody shall know")


def _stored(nats: Engine, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in nats.folder.glob("jetstream/**/*") if file.is_file())
