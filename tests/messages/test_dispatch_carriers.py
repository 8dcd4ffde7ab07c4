"""Several carriers over real SMPP: hand-over that never sends twice, modes, and carriers that come and go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.carriers.smpp import statuses
from ghasi.messages import worker
from ghasi.messages.dispatch import admin
from ghasi.settings import Settings
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.carrying import all_bound, carriers_toml
from tests.messages.conftest import Customer, Running
from tests.messages.test_hardening import make_mute, numbers, until
from tests.ports import reserved_ports

FAILOVER = """
[[route]]
name = "all"
to = ["a", "b"]
"""
REFUSES = Behaviour(receipt_delay_s=0.01, refuse={statuses.ESME_RINVDSTADR: 1.0})
SUBMIT_SM = 0x4


@dataclass
class Site:
    """Two SMSCs, a carriers.toml, and a worker that reads it."""

    a: Simulator
    b: Simulator
    file: Path
    resources: Resources
    pool: Pool
    running: Running | None = None

    def write(self, routes: str = FAILOVER, **carriers: tuple[int, int]) -> None:
        """Write carriers.toml; by default both carriers, with windows of 50."""
        self.file.write_text(carriers_toml(routes, **(carriers or {"a": (self.a.port, 50), "b": (self.b.port, 50)})))

    def start(self) -> Running:
        settings = Settings(carriers=self.file)
        own = replace(self.resources, settings=settings, stopping=asyncio.Event())
        self.running = Running(own.stopping, asyncio.create_task(worker.work(own)))
        return self.running

    async def bound(self, **wanted: bool) -> None:
        """Wait until carriers are bound, or not."""
        await self.until_carriers(lambda found: all(found[name]["bound"] is value for name, value in wanted.items()))

    async def until_carriers(self, is_true: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        async def look() -> bool:
            found = {carrier["name"]: carrier for carrier in await admin.list_carriers(self.pool)}
            try:
                return is_true(found)
            except KeyError:
                return False

        await until(look)

    async def mode(self, name: str, mode: Any) -> None:
        await admin.set_carrier_mode(self.pool, name, mode, actor="operator:test")

    async def is_idle(self) -> None:
        await until(lambda: self.pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))


@pytest.fixture
async def site(resources: Resources, pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    behaviour = Behaviour(receipt_delay_s=0.01)
    with reserved_ports(2) as ports:  # which stay theirs while they are away
        a, b = [await serve_simulator(port=port, behaviour=behaviour) for port in ports]
        site = Site(a, b, tmp_path / "carriers.toml", resources, pool)
        site.write()
        with pytest.MonkeyPatch.context() as quicker:
            quicker.setattr(worker, "TICK_S", 0.1)
            yield site
        if site.running is not None:
            site.running.stopping.set()
            await asyncio.wait_for(asyncio.gather(site.running.task, return_exceptions=True), 10)
        for smsc in (site.a, site.b):  # a test may have put others in the place of the first two
            await smsc.close()


Sends = Callable[..., Awaitable[list[dict[str, Any]]]]


async def is_mended(pool: Pool) -> bool:
    return await admin.find_file_fault(pool) is None


async def send_many(customer: Customer, count: int, body: str = "Hello") -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(customer.send(number, body) for number in numbers(count))))


async def all_delivered(customer: Customer, sent: list[dict[str, Any]], within_s: float = 30) -> None:
    for message in sent:
        await customer.until(message["id"], "delivered", within_s=within_s)


@pytest.mark.parametrize("body", ["Hello", "long " * 100])
async def test_what_one_refuses_another_delivers_once(customer: Customer, site: Site, body: str) -> None:
    site.a.behaviour = REFUSES
    site.start()
    await site.bound(a=True, b=True)
    sent = await send_many(customer, 20, body)
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.duplicates) == (0, 0)
    message = await customer.get(sent[0]["id"])
    assert [event["detail"] for event in message["events"]][1] == "taken by b"
    assert site.b.accepted == 20 * message["segments"]
    assert not await site.pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")
    await site.until_carriers(lambda found: found["a"]["refused"] >= 20 and found["b"]["delivery_rate"] == 1.0)
    await until(lambda: REGISTRY.get_sample_value("ghasi_carrier_links", {"carrier": "a"}) == 1)
    assert REGISTRY.get_sample_value("ghasi_carrier_window", {"carrier": "a"}) == 50
    assert REGISTRY.get_sample_value("ghasi_carrier_mode", {"carrier": "a", "mode": "active"}) == 1
    assert REGISTRY.get_sample_value("ghasi_carrier_mode", {"carrier": "a", "mode": "paused"}) == 0
    assert REGISTRY.get_sample_value("ghasi_carrier_queue", {"carrier": "a"}) == 0
    assert REGISTRY.get_sample_value("ghasi_carrier_outstanding", {"carrier": "a"}) is not None
    handed_over = REGISTRY.get_sample_value("ghasi_messages_handed_over_total", {"carrier": "b"})
    assert handed_over is not None
    assert handed_over >= 20


async def test_refused_by_all_fails_with_the_last_refusal(customer: Customer, site: Site) -> None:
    site.a.behaviour = replace(REFUSES, refuse={statuses.ESME_RINVSRCADR: 1.0})
    site.b.behaviour = REFUSES
    site.start()
    await site.bound(a=True, b=True)
    message = await customer.until((await customer.send())["id"], "failed")
    assert message["error"]["code"] == statuses.failed_submit(statuses.ESME_RINVDSTADR).error_code
    assert [event["status"] for event in message["events"]] == ["accepted", "failed"]
    await site.is_idle()


async def test_a_carrier_that_is_away_is_passed_over_and_comes_back(customer: Customer, site: Site) -> None:
    port = site.a.port
    await site.a.close()
    site.start()
    await site.bound(a=False, b=True)
    await all_delivered(customer, await send_many(customer, 20))
    assert site.b.accepted == 20
    site.a = await serve_simulator(port=port, behaviour=Behaviour(receipt_delay_s=0.01))
    await site.bound(a=True)
    await all_delivered(customer, await send_many(customer, 20))
    assert (site.a.accepted, site.b.accepted) == (20, 20)


async def test_what_is_in_doubt_never_goes_to_another_carrier(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write(a=(site.a.port, 500), b=(site.b.port, 500))
    heard = make_mute(monkeypatch, site.a, SUBMIT_SM)
    site.start()
    await site.bound(a=True, b=True)
    sent = await send_many(customer, 500)
    await until(lambda: len(heard) == 500)
    monkeypatch.undo()
    await site.a.close()
    # they lie aside for the one that may have them, and what comes now goes the other way
    await until(
        lambda: site.pool.fetchval("SELECT count(*) = 500 FROM messages.dispatch WHERE held_for = 'a' AND in_doubt")
    )
    await all_delivered(customer, [await customer.send("+46700001500")])
    assert site.b.accepted == 1
    site.a = await serve_simulator(port=site.a.port, behaviour=Behaviour(receipt_delay_s=0.01))
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (500, 1)
    assert await site.pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted") == 500
    await site.is_idle()


async def test_after_a_crash_what_is_in_doubt_stays_with_its_carrier(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = make_mute(monkeypatch, site.a, SUBMIT_SM)
    first = site.start()
    await site.bound(a=True, b=True)
    sent = await send_many(customer, 30)
    await until(lambda: len(heard) == 30)
    await first.kill()  # it gives nothing back: like kill -9, its claims have no end
    monkeypatch.undo()
    port = site.a.port
    await site.a.close()
    await site.pool.execute("UPDATE messages.dispatch SET due_at = now(), in_doubt = true, carrier = 'a'")
    site.start()
    await site.bound(a=False, b=True)
    await until(lambda: site.pool.fetchval("SELECT count(*) = 30 FROM messages.dispatch WHERE held_for = 'a'"))
    assert site.b.accepted == 0
    site.a = await serve_simulator(port=port, behaviour=Behaviour(receipt_delay_s=0.01))
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (30, 0)


async def test_a_claim_without_a_carrier_was_never_submitted(customer: Customer, site: Site) -> None:
    sent = await send_many(customer, 5)
    # a crash between the claim and its carrier being written down
    await site.pool.execute("UPDATE messages.dispatch SET in_doubt = true, claims = 1")
    site.start()
    await all_delivered(customer, sent)
    assert not await site.pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")


async def test_a_dead_carrier_holds_up_no_other(customer: Customer, site: Site) -> None:
    await site.a.close()
    site.write(
        """
        [[route]]
        name = "north"
        prefixes = ["4671"]
        to = "a"

        [[route]]
        name = "rest"
        to = "b"
        """,
        a=(site.a.port, 50),
        b=(site.b.port, 50),
    )
    account, user = customer.account_id, customer.user_id
    await site.pool.execute(
        """
        WITH made AS (
            INSERT INTO messages.messages (id, account_id, user_id, credential, recipient, body, encoding, segments,
                                           country, status)
            SELECT (to_char(0, 'FM') || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7000'
                    || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
                   $1, $2, 'user', '+4671' || lpad(n::text, 7, '0'), 'x', 'gsm7', 1, 'SE', 'accepted'
            FROM generate_series(11000, 13999) AS n RETURNING id
        )
        INSERT INTO messages.dispatch (message_id, due_at, expires_at)
        SELECT id, now(), now() + interval '1 day' FROM made
        """,
        account,
        user,
    )
    site.start()
    await site.bound(a=False, b=True)
    sent = await send_many(customer, 200)
    await all_delivered(customer, sent)
    await until(lambda: site.pool.fetchval("SELECT count(*) = 3000 FROM messages.dispatch WHERE held_for = 'a'"))
    claims = await site.pool.fetchval("SELECT sum(claims) FROM messages.dispatch")
    assert claims < 3200, "each was put aside once"
    await site.until_carriers(lambda found: found["a"]["queue"] == 3000)
    # others have their full rate, and nobody touches what lies aside
    await all_delivered(customer, await send_many(customer, 200))
    assert await site.pool.fetchval("SELECT sum(claims) FROM messages.dispatch") == claims
    # one whose validity ends meanwhile expires on time
    late = await site.pool.fetchval(
        "UPDATE messages.dispatch SET expires_at = now(), due_at = now() "
        "WHERE message_id = (SELECT message_id FROM messages.dispatch ORDER BY message_id DESC LIMIT 1) "
        "RETURNING message_id"
    )
    await customer.until(str(late), "expired")
    site.a = await serve_simulator(port=site.a.port, behaviour=Behaviour(receipt_delay_s=0.01))
    await site.is_idle()
    assert (site.a.accepted, site.a.duplicates) == (2999, 0)


async def test_a_slow_carrier_holds_up_no_other(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write(
        '[[route]]\nname = "north"\nprefixes = ["46700001"]\nto = "a"\n[[route]]\nname = "rest"\nto = "b"\n',
        a=(site.a.port, 1),
        b=(site.b.port, 50),
    )
    heard = make_mute(monkeypatch, site.a, SUBMIT_SM)
    site.start()
    await site.bound(a=True, b=True)
    stuck = await send_many(customer, 400)
    await until(lambda: heard)
    others = await asyncio.gather(*(customer.send(f"+4672000{number:04}") for number in range(1000, 1100)))
    await all_delivered(customer, list(others))
    assert site.b.accepted == 100
    monkeypatch.undo()
    site.a.drop_links()
    await all_delivered(customer, stuck)
    assert site.b.accepted == 100


async def test_a_throttled_message_stays_with_its_carrier(customer: Customer, site: Site) -> None:
    site.start()
    await site.bound(a=True, b=True)
    await all_delivered(customer, [await customer.send("+46700000004")])
    assert (site.a.accepted, site.b.accepted) == (1, 0)


async def test_messages_end_by_rules(customer: Customer, site: Site) -> None:
    site.write(
        '[[route]]\nname = "no"\nprefixes = ["4672"]\nreject = true\n'
        '[[route]]\nname = "some"\nprefixes = ["4670"]\nto = "b"\n'
    )
    site.start()
    await site.bound(b=True)
    rejected, unrouted, fine = (
        await customer.send("+46720000010"),
        await customer.send("+46730000010"),
        (await customer.send()),
    )
    assert (await customer.until(rejected["id"], "failed"))["error"]["code"] == "not_permitted"
    assert (await customer.until(unrouted["id"], "failed"))["error"]["code"] == "no_route"
    await all_delivered(customer, [fine])
    assert (site.a.accepted, site.b.accepted) == (0, 1)


async def test_pausing_draining_and_resuming_lose_nothing(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.fleet.RECEIPTS_LINGER_S", 0.2)
    site.start()
    await site.bound(a=True, b=True)
    sent: list[dict[str, Any]] = []
    stop = asyncio.Event()

    async def traffic() -> None:
        number = 1000
        while not stop.is_set():
            sent.append(await customer.send(f"+4670000{number:04}", f"m{len(sent)}"))
            number = number + 1 if number < 9999 else 1000

    sending = [asyncio.create_task(traffic()) for _ in range(4)]
    try:
        await site.mode("a", "paused")
        await site.until_carriers(lambda found: (found["a"]["mode"], found["a"]["bound"]) == ("paused", True))
        before = site.a.accepted
        reached = len(sent)
        await until(lambda: len(sent) > reached + 50)
        assert site.a.accepted == before
        await site.mode("a", "active")
        await until(lambda: site.a.accepted > before)
        await site.mode("a", "draining")
        await site.until_carriers(lambda found: (found["a"]["mode"], found["a"]["bound"]) == ("drained", False))
        before = site.a.accepted
        await site.mode("b", "paused")  # nobody takes anything now
        await site.until_carriers(lambda found: found["b"]["mode"] == "paused")
        await site.mode("a", "active")
        await until(lambda: site.a.accepted > before)
        await site.mode("b", "active")
    finally:
        stop.set()
        await asyncio.gather(*sending)
    await all_delivered(customer, sent)
    await site.is_idle()
    assert site.a.accepted + site.b.accepted == len(sent)
    actions = await site.pool.fetch("SELECT action FROM storage.audit_log WHERE subject = 'a' ORDER BY id")
    assert [row["action"] for row in actions] == [
        "carrier.paused", "carrier.resumed", "carrier.drained", "carrier.resumed"
    ]  # fmt: skip


async def test_carriers_are_added_changed_and_removed_while_messages_flow(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghasi.carriers.fleet.RECEIPTS_LINGER_S", 0.5)
    site.write("", a=(site.a.port, 50))
    site.start()
    await site.bound(a=True)
    sent: list[dict[str, Any]] = []
    stop = asyncio.Event()

    async def traffic() -> None:
        while not stop.is_set():
            sent.append(await customer.send(f"+4670000{1000 + len(sent) % 8000:04}", f"m{len(sent)}"))

    sending = [asyncio.create_task(traffic()) for _ in range(4)]
    try:
        site.write("", b=(site.b.port, 50), a=(site.a.port, 50))  # added, and first
        await site.bound(a=True, b=True)
        await until(lambda: site.b.accepted > 20)
        site.write("", b=(site.b.port, 20), a=(site.a.port, 50))  # changed
        await site.until_carriers(lambda found: found["b"]["window_size"] == 20 and found["b"]["bound"])
        before = site.b.accepted
        await until(lambda: site.b.accepted > before + 20)
        site.file.write_text("[[carrier]]\nname = 'b'\nkind = 'smpp'\npassword = 'secret'\nwindow = 'many'\n")  # broken
        await until(lambda: admin.find_file_fault(site.pool))
        fault = await admin.find_file_fault(site.pool)
        assert fault is not None
        assert "secret" not in fault
        before = site.b.accepted
        await until(lambda: site.b.accepted > before + 20)  # what runs goes on
        assert (await admin.list_carriers(site.pool))[0]["file_fault"] == fault
        site.write("", a=(site.a.port, 50))  # removed
        await until(lambda: all_bound(site.pool, 1))
        await until(lambda: is_mended(site.pool))
        before = site.a.accepted
        await until(lambda: site.a.accepted > before + 20)
    finally:
        stop.set()
        await asyncio.gather(*sending)
    await all_delivered(customer, sent)
    await site.is_idle()
    assert site.a.accepted + site.b.accepted == len(sent)
    await until(lambda: not site.b.sessions)


async def test_what_is_in_doubt_at_a_removed_carrier_is_unknown(customer: Customer, site: Site) -> None:
    doubtful, begun = await customer.send(), await customer.send(body="long " * 100)
    await site.pool.execute("UPDATE messages.dispatch SET in_doubt = true, carrier = 'gone', claims = 1")
    await site.pool.execute("UPDATE messages.dispatch SET in_doubt = false WHERE message_id = $1", UUID(begun["id"]))
    await site.pool.execute(
        "INSERT INTO messages.submissions (message_id, part, carrier, carrier_message_id, state, at, parts) "
        "VALUES ($1, 1, 'gone', 'x', 'accepted', now(), 4)",
        UUID(begun["id"]),
    )
    site.start()
    assert (await customer.until(doubtful["id"], "unknown"))["error"]["code"] == "no_answer"
    assert (await customer.until(begun["id"], "failed"))["error"]["code"] == "no_route"
    assert site.a.accepted + site.b.accepted == 0


async def test_a_stop_between_two_carriers_gives_the_message_back(
    customer: Customer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.a.behaviour = REFUSES
    site.write(a=(site.a.port, 50), b=(site.b.port, 1))
    heard = make_mute(monkeypatch, site.b, SUBMIT_SM)
    first = site.start()
    await site.bound(a=True, b=True)
    sent = await send_many(customer, 5)
    # all refused, one of them with b, the others waiting for its window
    await site.until_carriers(lambda found: found["a"]["refused"] == 5 and found["b"]["outstanding"] == 1)
    await until(lambda: heard)
    first.stopping.set()
    await asyncio.wait_for(first.task, 10)
    monkeypatch.undo()
    assert [(await customer.get(message["id"]))["status"] for message in sent] == ["accepted"] * 5
    site.start()
    await all_delivered(customer, sent)
    assert (site.a.accepted, site.b.accepted) == (0, 5)


async def test_a_half_sent_message_goes_on_where_it_began(customer: Customer, site: Site) -> None:
    begun = await customer.send(body="a" * 400)
    await site.pool.execute("UPDATE messages.dispatch SET claims = 1")
    await site.pool.execute(
        "INSERT INTO messages.submissions (message_id, part, carrier, carrier_message_id, state, at, parts) "
        "VALUES ($1, 1, 'b', 'x', 'delivered', now(), 3)",
        UUID(begun["id"]),
    )
    site.start()
    await all_delivered(customer, [begun])
    assert (site.a.accepted, site.b.accepted) == (0, 2)
