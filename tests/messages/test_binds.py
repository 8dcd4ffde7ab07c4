"""The leases of carriers' binds, among several workers of one process, each with a fleet and a name of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from msgspec import structs

from ghasi.carriers.carrier import Carrier, InboundPart, Receipt
from ghasi.carriers.configuration import open_carrier, simulator_configuration
from ghasi.carriers.fleet import Fleet
from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.carriers.smpp.configuration import SmppConfiguration
from ghasi.messages.dispatch import bind_queries, binds
from ghasi.messages.dispatch.binds import BindKeeper
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from tests.messages.test_hardening import Relay, relay, until  # noqa: F401 - a fixture

# shorter than in use, and longer than what a busy machine needs for a renewal
LEASE_S = 2.5


def nothing(carrier: Carrier, words: Sequence[Receipt] | Sequence[InboundPart]) -> None:
    carrier.acknowledge(words, accepted=True)


@dataclass
class Holder:
    """A worker as far as binds go; it renews when the test says so."""

    name: str
    fleet: Fleet[SmppConfiguration]
    keeper: BindKeeper

    async def renew(self) -> None:
        """Renew, and take what that shows to be free."""
        await self.fleet.tend()
        while await self.keeper.renew():
            pass

    def held(self) -> set[tuple[str, int]]:
        return self.fleet.held()

    def count(self) -> int:
        return len(self.fleet.held())

    def links(self, name: str = "a") -> int:
        return self.fleet.members[name].carrier.state().links


Join = Callable[..., Awaitable[Holder]]


@pytest.fixture
async def smsc() -> AsyncIterator[Simulator]:
    smsc = await serve_simulator(behaviour=Behaviour())
    yield smsc
    await smsc.close()


def configured(smsc: Simulator, **counts: int) -> list[SmppConfiguration]:
    return [
        structs.replace(simulator_configuration("127.0.0.1", smsc.port, name=name), binds=count)
        for name, count in counts.items()
    ]


@pytest.fixture
async def join(pool: Pool, smsc: Simulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Join]:
    """Starts a worker with carriers of so many binds; it takes what is free."""
    monkeypatch.setattr(binds, "SETTLES_S", 0.0)
    monkeypatch.setattr(binds, "LET_GO_EVERY_S", 0.0)
    joined: list[Holder] = []

    async def join(name: str, **counts: int) -> Holder:
        fleet: Fleet[SmppConfiguration] = Fleet(open_carrier, nothing, nothing, leased=True)
        await fleet.apply(configured(smsc, **counts))
        holder = Holder(name, fleet, BindKeeper(pool, Bells(pool), fleet, name))
        joined.append(holder)
        await holder.keeper.begin()
        return holder

    yield join
    for holder in joined:
        await holder.fleet.stop()


async def settled(*holders: Holder) -> None:
    """Let all renew until nothing moves any more; no bind is ever with two."""
    still = 0
    before: list[set[tuple[str, int]]] = []
    async with asyncio.timeout(20):
        while still < 3:
            for holder in holders:
                await holder.renew()
            now = [holder.held() for holder in holders]
            assert len(set().union(*now)) == sum(map(len, now))
            still = still + 1 if now == before and not any(one.keeper._leaving for one in holders) else 0
            before = now
            await asyncio.sleep(0.02)


async def test_binds_are_shared_by_those_that_come_and_taken_over_from_those_that_go(
    join: Join, smsc: Simulator
) -> None:
    x = await join("x", a=3, b=1, c=1)
    assert x.count() == 5, "one worker has all, at once"
    await until(lambda: x.links() == 3)
    y = await join("y", a=3, b=1, c=1)
    z = await join("z", a=3, b=1, c=1)
    assert y.count() == 0
    await settled(x, y, z)
    assert sorted(one.count() for one in (x, y, z)) == [1, 2, 2]
    assert [len([bind for bind in one.held() if bind[0] == "a"]) for one in (x, y, z)] == [1, 1, 1]
    await until(lambda: len(smsc.sessions) == 5)
    # in order: what y had is free as soon as its carriers have ended
    await y.fleet.stop()
    await y.keeper.leave()
    await settled(x, z)
    assert sorted((x.count(), z.count())) == [2, 3]
    await until(lambda: len(smsc.sessions) == 5)


async def test_what_a_dead_worker_held_is_taken_when_its_lease_is_over(
    join: Join, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binds, "LEASE_S", LEASE_S)
    dead = await join("dead", a=2)
    began = asyncio.get_running_loop().time()
    heir = await join("heir", a=2)
    while not heir.count():
        await heir.renew()
        # its own clock has ended the lease before: the sockets are closed when another may have them
        assert not (heir.count() and dead.held())
        await asyncio.sleep(0.02)
    took_s = asyncio.get_running_loop().time() - began
    assert LEASE_S - 0.5 < took_s < LEASE_S + 2
    assert not dead.held()
    assert await bind_queries.list_holders(pool) == [("a", "heir", 2, 0)]
    # it comes to itself, and has its share again when the other gives it
    await settled(dead, heir)
    assert (dead.count(), heir.count()) == (1, 1)


async def test_the_next_worker_of_a_run_has_at_once_what_the_dead_one_held(join: Join) -> None:
    dead = await join("host:run", a=2)
    await dead.fleet.stop()  # as the system closes a killed process's sockets
    assert (await join("host:run", a=2)).count() == 2


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_a_worker_cut_off_from_the_database_lets_go_in_time_and_sits_out_a_short_while(
    pool: Pool,
    smsc: Simulator,
    relay: tuple[Relay, Pool],  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(binds, "LEASE_S", LEASE_S)
    monkeypatch.setattr(binds, "RENEWED_EVERY_S", 0.1)
    monkeypatch.setattr(binds, "ANSWERED_WITHIN_S", 0.3)
    way, far = relay
    fleet: Fleet[SmppConfiguration] = Fleet(open_carrier, nothing, nothing, leased=True)
    await fleet.apply(configured(smsc, a=1))
    keeper = BindKeeper(far, Bells(far), fleet, "x")
    await keeper.begin()
    keeping = asyncio.create_task(keeper.keep())

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        if how == "cut":
            way.cut()
            yield
            way.restore()
        else:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("LOCK TABLE messages.carrier_binds IN ACCESS EXCLUSIVE MODE")
                yield

    async def is_free() -> bool:
        return await pool.fetchval("SELECT valid_until <= clock_timestamp() FROM messages.carrier_binds")  # type: ignore[no-any-return]

    try:
        await until(lambda: fleet.usable("a"))
        (session,) = smsc.sessions
        async with away():
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.5)
        assert smsc.sessions == {session}
        async with away():
            await until(lambda: not smsc.sessions and not fleet.held())
            assert not fleet.usable("a")
            if how == "cut":  # nobody can look while the table is locked
                assert not await is_free(), "it has unbound before anybody else may bind"
                await until(is_free)
        await until(lambda: fleet.usable("a"))
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await fleet.stop()


async def test_a_carrier_bound_elsewhere_is_up(join: Join) -> None:
    x = await join("x", a=1)
    y = await join("y", a=1)
    assert not y.fleet.up("a")
    await until(lambda: x.links() == 1)
    await settled(x, y)
    assert (x.fleet.up("a"), y.fleet.up("a"), y.fleet.usable("a")) == (True, True, False)
    assert y.fleet.members["a"].away_s() < 0.1
    # while it moves it is expected, and nobody's messages take another way
    await x.fleet.stop()
    await x.keeper.leave()
    await y.keeper.renew()
    assert y.fleet.up("a")
    y.fleet.set_modes({"a": "paused"})
    assert not y.fleet.up("a")
    y.fleet.set_modes({})
    await settled(y)
    await until(lambda: y.links() == 1)


async def test_a_drained_carrier_is_nobodys(join: Join, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.carriers.fleet.RECEIPTS_LINGER_S", 0.0)
    x, y = await join("x", a=2), await join("y", a=2)
    await settled(x, y)
    for one in (x, y):
        one.fleet.set_modes({"a": "draining"})
    await settled(x, y)
    assert (x.count(), y.count()) == (0, 0)
    assert await bind_queries.list_holders(pool) == []
    for one in (x, y):
        one.fleet.set_modes({})
    await settled(x, y)
    assert (x.count(), y.count()) == (1, 1)


async def test_a_changed_file_changes_what_is_shared(join: Join, pool: Pool, smsc: Simulator) -> None:
    x, y = await join("x", a=1), await join("y", a=1)
    await settled(x, y)
    for one in (x, y):
        await one.fleet.apply(configured(smsc, a=4))
    await settled(x, y)
    assert (x.count(), y.count()) == (2, 2)
    for one in (x, y):
        await one.fleet.apply(configured(smsc, a=2))
    await settled(x, y)
    assert (x.count(), y.count()) == (1, 1)
    assert {number for _, number in x.held() | y.held()} == {1, 2}
    # one that knows the file of before takes what it alone knows, and no more of the rest than its share
    await y.fleet.apply(configured(smsc, a=3))
    await settled(x, y)
    assert {number for _, number in x.held() | y.held()} == {1, 2, 3}


async def test_a_newcomer_is_given_binds_one_by_one(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    x = await join("x", a=4)
    monkeypatch.setattr(binds, "LET_GO_EVERY_S", 60.0)
    monkeypatch.setattr(binds, "SETTLES_S", 0.3)
    await x.renew()
    y = await join("y", a=4)
    began = asyncio.get_running_loop().time()
    while not y.count():
        await x.renew()
        await y.renew()
        await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began >= 0.25, "one that may be gone again at once draws nothing to it"
    await settled(x, y)
    assert (x.count(), y.count()) == (3, 1)


async def test_renewing_goes_on_by_itself_and_at_once_when_a_bind_is_given_back(join: Join) -> None:
    x = await join("x", a=1)
    y = await join("y", a=1)
    listening = [asyncio.create_task(one.keeper.keep()) for one in (x, y)]
    await asyncio.sleep(0.3)
    await x.fleet.stop()
    listening[0].cancel()
    began = asyncio.get_running_loop().time()
    await x.keeper.leave()
    y.keeper._bell.set()  # as the other process's bell does
    await until(lambda: y.count() == 1)
    assert asyncio.get_running_loop().time() - began < 0.5
    listening[1].cancel()
    await asyncio.gather(*listening, return_exceptions=True)
