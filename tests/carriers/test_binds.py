"""A carrier of which this process holds some binds, for a time: over real sockets, and nothing after that time."""

import asyncio
import time
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.binds import LET_GO_S, part_of
from ghasi.carriers.carrier import Outcome
from ghasi.carriers.http.client import HttpCarrier
from ghasi.carriers.simulated_behaviour import Behaviour
from tests.carriers.aggregator import QUICK, configured, serve_aggregator
from tests.carriers.smsc import Client, Peer, StartClient, StartSimulator, eventually, text_to

FOR_LONG = 3600.0
TO = "+46700000010"


@given(st.integers(1, 500), st.integers(1, 64), st.data())
def test_the_parts_add_up_however_binds_are_spread(total: int, binds: int, data: st.DataObject) -> None:
    owners = [data.draw(st.integers(0, 3)) for _ in range(binds)]
    shares = [part_of(total, binds, [n + 1 for n, owner in enumerate(owners) if owner == who]) for who in range(4)]
    assert sum(shares) == pytest.approx(total)
    assert total < binds or all(share == int(share) for share in shares)
    assert part_of(total, binds, range(1, binds + 1)) == total


def hold(client: Client, binds: Collection[int], for_s: float = FOR_LONG) -> None:
    client.carrier.hold(binds, time.monotonic() + for_s)


async def test_binds_come_and_go(start_simulator: StartSimulator, start_client: StartClient) -> None:
    smsc = await start_simulator(Behaviour(receipt_delay_s=0.01, latency_s=0.1))
    client = await start_client(smsc.port, binds=3, window=4, throughput_per_s=900)
    await eventually(lambda: client.carrier.state().links == 3)
    hold(client, {2})
    assert client.carrier.state().window == 4
    assert client.carrier.state().throughput_per_s == 300
    assert set(client.carrier.held()) == {1, 2, 3}, "they are here until they are closed"
    await eventually(lambda: set(client.carrier.held()) == {2})
    assert len(smsc.sessions) == 1
    hold(client, {1, 2})
    await eventually(lambda: client.carrier.state().links == 2)
    # one that is let go gets its answers first, and what waits for its turn goes out
    waiting = [client.carrier.submit(text_to(TO, str(n))) for n in range(8)]
    hold(client, set())
    assert client.carrier.capacity() == 0
    assert client.carrier.submit(text_to(TO)).result().outcome is Outcome.UNSENT
    assert client.carrier.state().outstanding == 8
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {Outcome.ACCEPTED}
    await eventually(lambda: not client.carrier.held())
    assert (smsc.accepted, len(smsc.sessions)) == (8, 0)
    hold(client, {3})
    await client.bound()


async def test_a_lease_that_runs_out_closes_the_link_before_it_ends(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    smsc = await start_simulator(Behaviour(latency_s=FOR_LONG))
    client = await start_client(smsc.port, binds=2, window=4)
    await eventually(lambda: client.carrier.state().links == 2)
    until = time.monotonic() + LET_GO_S + 0.3
    client.carrier.hold({1, 2}, until)
    unanswered = client.carrier.submit(text_to(TO))
    await eventually(lambda: client.carrier.capacity() == 0)
    assert time.monotonic() < until
    assert not client.carrier.state().bound
    assert (await unanswered).outcome is Outcome.UNANSWERED
    assert time.monotonic() < until + 0.1
    await eventually(lambda: not smsc.sessions and not client.carrier.held())
    hold(client, {1, 2})  # it was renewed after all
    await client.bound()


async def test_a_process_that_was_stopped_writes_nothing_when_it_wakes(peer: Peer, start_client: StartClient) -> None:
    client = await start_client(peer.port, binds=1, window=4, throughput_per_s=20)
    link = await peer.accept()
    await client.bound()
    hold(client, {1}, LET_GO_S + 0.2)
    await asyncio.sleep(0)
    submitted = [client.carrier.submit(text_to(TO, str(n))) for n in range(3)]
    time.sleep(LET_GO_S + 0.3)  # noqa: ASYNC251 - as SIGSTOP does: the lease ends while nothing runs
    assert client.carrier.capacity() == 0
    assert client.carrier.submit(text_to(TO)).result().outcome is Outcome.UNSENT
    results = await asyncio.gather(*submitted)
    assert [result.outcome for result in results] == [Outcome.UNSENT] * 3
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await link.read()


async def test_a_share_of_the_throughput_is_kept(start_simulator: StartSimulator, start_client: StartClient) -> None:
    times: list[float] = []
    smsc = await start_simulator(Behaviour(), on_submit=lambda _: times.append(time.monotonic()))
    clients = [await start_client(smsc.port, binds=3, throughput_per_s=100) for _ in range(3)]
    for number, client in enumerate(clients, 1):
        hold(client, {number})
    for client in clients:
        await eventually(lambda client=client: set(client.carrier.held()) == {clients.index(client) + 1})
        await client.bound()

    async def submit(client: Client, until: float) -> None:
        while time.monotonic() < until:
            while client.carrier.capacity() > 0:
                client.carrier.submit(text_to(TO, str(len(times))))
            await asyncio.sleep(0.005)

    began = time.monotonic()
    sending = [asyncio.create_task(submit(client, began + 2.5)) for client in clients]
    await asyncio.sleep(1.0)
    hold(clients[0], set())  # it moves while they submit
    await eventually(lambda: not clients[0].carrier.held())
    hold(clients[1], {1, 2})
    await asyncio.gather(*sending)
    assert most_in_a_second(times) <= 100
    assert len(times) > 180


def most_in_a_second(times: list[float]) -> int:
    return max(sum(begun <= other < begun + 1 for other in times) for begun in times)


async def test_a_share_of_a_carrier_over_http() -> None:
    async with serve_aggregator() as aggregator:
        carrier = HttpCarrier(configured(aggregator.url, binds=4, window=10, throughput_per_s=40), QUICK)
        await carrier.start(lambda _: None, lambda _: None, binds=())
        assert (carrier.capacity(), carrier.state().bound) == (0, False)
        carrier.hold({1, 4}, time.monotonic() + FOR_LONG)
        await eventually(lambda: carrier.state().bound)
        state = carrier.state()
        assert (state.links, state.links_wanted, state.window, state.throughput_per_s) == (2, 2, 5, 20)
        assert carrier.capacity() == 5
        carrier.hold({4}, time.monotonic() + FOR_LONG)
        assert carrier.capacity() == 3
        assert set(carrier.held()) == {1, 4}, "what it sent in the last second was by its greater share"
        await eventually(lambda: set(carrier.held()) == {4})
        carrier.hold({4}, time.monotonic() + LET_GO_S)  # it is about to end
        assert (carrier.capacity(), carrier.state().bound) == (0, False)
        carrier.hold({4}, time.monotonic() + FOR_LONG)
        assert carrier.state().bound
        carrier.hold((), time.monotonic() + FOR_LONG)
        assert not carrier.state().bound
        await carrier.stop()
