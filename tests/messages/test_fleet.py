"""The fleet by itself, over real SMPP: what starts, goes on, is replaced and ends. No database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import msgspec
import pytest

from ghasi.carriers.carrier import Carrier, InboundPart, Receipt, Segment
from ghasi.carriers.configuration import open_carrier, simulator_configuration
from ghasi.carriers.fleet import Fleet
from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.carriers.smpp.configuration import SmppConfiguration
from tests.messages.test_hardening import until


@pytest.fixture
async def smsc() -> AsyncIterator[Simulator]:
    smsc = await serve_simulator(behaviour=Behaviour(receipt_delay_s=0.01, latency_s=0.2))
    yield smsc
    await smsc.close()


def nothing(carrier: Carrier, words: Sequence[Receipt] | Sequence[InboundPart]) -> None:
    carrier.acknowledge(words, accepted=True)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet[SmppConfiguration]]:
    fleet: Fleet[SmppConfiguration] = Fleet(open_carrier, nothing, nothing)
    yield fleet
    await fleet.stop()


def configured(smsc: Simulator, *names: str, window: int = 10) -> list[SmppConfiguration]:
    return [simulator_configuration("127.0.0.1", smsc.port, name=name, window=window) for name in names]


async def tended(fleet: Fleet[SmppConfiguration]) -> bool:
    await fleet.tend()
    return True


HELLO = Segment(to="+46700000010", sender=None, encoding="gsm7", payload=b"Hello")


async def test_what_does_not_change_goes_on_untouched(fleet: Fleet[SmppConfiguration], smsc: Simulator) -> None:
    assert await fleet.apply(configured(smsc, "a", "b"))
    await until(lambda: fleet.usable("a") and fleet.usable("b"))
    kept = fleet.members["a"]
    assert not await fleet.apply(configured(smsc, "a", "b"))
    assert await fleet.apply(configured(smsc, "b", "a"))
    assert list(fleet.members) == ["b", "a"]
    assert await fleet.apply(configured(smsc, "a"))
    assert fleet.sole == "a"
    assert fleet.members["a"] is kept
    assert kept.usable
    assert [member.name for member in fleet.leaving] == ["b"]


async def test_a_changed_carrier_gets_its_answers_and_then_ends(
    fleet: Fleet[SmppConfiguration], smsc: Simulator
) -> None:
    smsc.behaviour = replace(smsc.behaviour, latency_s=1.0)  # long enough for all that comes before it
    await fleet.apply(configured(smsc, "a"))
    await until(lambda: fleet.usable("a"))
    old = fleet.members["a"]
    answer = old.carrier.submit(HELLO)
    await fleet.apply(configured(smsc, "a", window=5))
    new = fleet.members["a"]
    assert new is not old
    assert not old.usable
    await fleet.tend()
    assert fleet.leaving == [old]  # its answer is not there
    assert (await answer).carrier_message_id
    await until(lambda: new.usable)
    await fleet.tend()
    assert fleet.leaving == []
    await until(lambda: not old.carrier.state().bound)
    assert new.usable


async def test_a_drained_carrier_waits_for_messages_that_are_begun(
    fleet: Fleet[SmppConfiguration], smsc: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.fleet.RECEIPTS_LINGER_S", 0.0)
    await fleet.apply(configured(smsc, "a"))
    await until(lambda: fleet.usable("a"))
    member = fleet.members["a"]
    member.begun = 1
    fleet.set_modes({"a": "draining"})
    await fleet.tend()
    assert (member.mode, member.room() > 0, member.usable) == ("draining", True, False)
    member.begun = 0
    await fleet.tend()
    assert member.mode == "drained"
    await until(lambda: not member.carrier.state().bound)
    fleet.set_modes({})
    assert not member.usable
    await until(lambda: tended(fleet))
    await until(lambda: member.usable)


async def test_a_drained_carrier_lingers_for_receipts(fleet: Fleet[SmppConfiguration], smsc: Simulator) -> None:
    await fleet.apply(configured(smsc, "a"))
    await until(lambda: fleet.usable("a"))
    fleet.set_modes({"a": "draining"})
    await fleet.tend()
    await fleet.tend()
    member = fleet.members["a"]
    assert (member.mode, member.carrier.state().bound) == ("draining", True)
    fleet.set_modes({"a": "paused"})
    assert (member.mode, member.carrier.state().bound, member.usable) == ("paused", True, False)


async def test_a_carrier_that_can_not_start_stops_no_other(
    fleet: Fleet[SmppConfiguration], smsc: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.fleet.STARTED_AGAIN_S", 0.0)
    (good,) = configured(smsc, "good")
    bad = msgspec.structs.replace(good, name="bad", tls=True, tls_ca_file="/nowhere/ca.pem")
    await fleet.apply([bad, good])
    await until(lambda: fleet.usable("good"))
    state = fleet.members["bad"].state()
    assert not state.bound
    assert "can't start" in state.detail
    await fleet.tend()  # it is tried again
    assert not fleet.usable("bad")


async def test_modes_are_there_before_the_carriers(fleet: Fleet[SmppConfiguration], smsc: Simulator) -> None:
    fleet.set_modes({"a": "draining", "b": "paused"})
    await fleet.apply(configured(smsc, "a", "b"))
    await fleet.tend()
    assert fleet.members["a"].mode == "drained"
    await until(lambda: fleet.members["b"].carrier.state().bound)
    assert fleet.members["b"].mode == "paused"
    assert not fleet.members["a"].carrier.state().bound
    assert len(smsc.sessions) == 1


async def test_all_end_together(smsc: Simulator) -> None:
    fleet: Fleet[SmppConfiguration] = Fleet(open_carrier, nothing, nothing)
    await fleet.apply(configured(smsc, "a", "b"))
    await until(lambda: fleet.usable("a") and fleet.usable("b"))
    await fleet.apply(configured(smsc, "a"))
    await asyncio.wait_for(fleet.stop(), 10)
    await until(lambda: not smsc.sessions)
