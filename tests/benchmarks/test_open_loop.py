"""The open loop: its pacing, its latencies when a server stalls, and how a message's moments meet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.instruments.load import Load, Order
from benchmarks.instruments.receiver import Receiver
from benchmarks.instruments.stamps import ANSWERED, DUE, TOLD, Stamps, delays, number_in
from benchmarks.latency import Pacer, percentiles

STALL_S = 0.5


@contextlib.asynccontextmanager
async def stalling(at_request: int) -> AsyncIterator[str]:
    """A server that answers at once, save one request, for which everything waits."""
    free, seen = asyncio.Lock(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
                async with free:
                    seen += 1
                    await asyncio.sleep(STALL_S if seen == at_request else 0)
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/messages"


def test_requests_are_due_evenly_and_none_is_left_out_however_late_it_is() -> None:
    pacer = Pacer(rate=10, began=100.0, seconds=1)
    assert pacer.due(99.9) == []
    assert pacer.due(100.0) == [100.0]
    assert pacer.due(100.35) == pytest.approx([100.1, 100.2, 100.3])
    assert pacer.next_due == pytest.approx(100.4)
    assert pacer.due(200.0) == pytest.approx([100.4, 100.5, 100.6, 100.7, 100.8, 100.9])
    assert pacer.next_due is None


def test_percentiles() -> None:
    figures = percentiles(number / 1000 for number in range(1, 1001))
    assert (figures["p50_ms"], figures["p99_ms"], figures["max_ms"]) == pytest.approx((501, 991, 1000))
    assert percentiles([]) == {}


async def test_a_stall_is_counted_for_every_request_that_was_due_meanwhile(tmp_path: Path) -> None:
    async with stalling(at_request=20) as url:
        closed = await Load(Order(url, seconds=1, connections=4)).run()
    async with stalling(at_request=20) as url:
        order = Order(url, seconds=1, connections=4, rate=100, first=1, stamps=str(tmp_path))
        opened = await Load(order).run()
    assert opened["requests"] == 100
    assert closed["p90_ms"] < STALL_S * 1000 / 4  # four of many waited: a closed loop hardly saw it
    assert opened["p90_ms"] > STALL_S * 1000 / 2  # half of all requests were due during the stall
    stamped = delays(Stamps(tmp_path, DUE), Stamps(tmp_path, ANSWERED), range(1, 101))
    assert percentiles(stamped) == pytest.approx({name: opened[name] for name in percentiles(stamped)})


def test_of_two_stamps_the_first_counts_and_a_message_without_both_is_left_out(tmp_path: Path) -> None:
    before, after = Stamps(tmp_path, DUE), Stamps(tmp_path, TOLD)
    for number, moment in ((1, 10.0), (2, 11.0)):
        before.put(number, moment)
    after.put(1, 10.5)
    after.put(1, 12.0)
    assert delays(Stamps(tmp_path, DUE), Stamps(tmp_path, TOLD), range(1, 3)) == [0.5]


def test_the_number_of_a_message_is_found_in_its_text() -> None:
    assert number_in(b'{"data":{"body":"Hello n=0000042 this"}}') == 42
    assert number_in(b"no number") is None
    assert number_in(b"n=12 is too short") is None


async def test_the_receiver_stamps_a_webhook(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path, TOLD)
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(stamps), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        body = b'{"type":"message.delivered","data":{"body":"Hello n=0000007 this"}}'
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert b"204" in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert stamps.moments[7] > 0
    assert stamps.moments[6] == 0
