"""What must not be lost or sent twice when the database, the disk or an SMSC misbehaves."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import pytest

from ghasi.carriers.carrier import Receipt, ReceiptState
from ghasi.carriers.configuration import simulator_configuration
from ghasi.carriers.fleet import Fleet
from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulated_session import Mailbox, SimulatedSession
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing
from ghasi.messages import worker
from ghasi.messages.dispatch import claiming
from ghasi.messages.dispatch import queries as dispatch_queries
from ghasi.messages.dispatch.admin import list_carriers
from ghasi.messages.dispatch.choosing import Chooser
from ghasi.messages.dispatch.dispatching import Dispatcher
from ghasi.messages.dispatch.flights import Tally
from ghasi.messages.dispatch.ledger import Ledger, Retry, Submitted
from ghasi.messages.dispatch.lifecycle import Part
from ghasi.messages.keeping import retention
from ghasi.messages.model import Draft
from ghasi.messages.sending import queries
from ghasi.settings import Settings
from ghasi.storage.batch import Batcher
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Connection, Pool, open_pool
from ghasi.storage.resources import Resources
from tests.messages.carrying import all_bound, carriers_toml
from tests.messages.conftest import Customer, Worker

STOPS_WITHIN_S = 8.0
LONG_LEASE = timedelta(minutes=5)


def taken(message: dict[str, str], carrier_message_id: str, part: int = 1) -> Submitted:
    """The result of a submit that the carrier took."""
    return Submitted(
        UUID(message["id"]), [(Part(part, "accepted", "simulator", datetime.now(UTC)), carrier_message_id)]
    )


def receipt(carrier_message_id: str, state: ReceiptState = "delivered") -> Receipt:
    return Receipt("simulator", carrier_message_id, state, datetime.now(UTC), None, None, None)


async def until(is_true: Callable[[], Awaitable[object] | object], within_s: float = 30.0) -> None:
    """Poll until something is true; fail when it is not in time."""
    async with asyncio.timeout(within_s):
        while True:
            value = is_true()
            if await value if isinstance(value, Awaitable) else value:
                return
            await asyncio.sleep(0.01)


def numbers(count: int) -> list[str]:
    """Numbers that the simulator delivers to."""
    return [f"+4670000{number:04}" for number in range(1000, 1000 + count)]


class Relay:
    """A way to the database that can be cut, and restored."""

    def __init__(self, database_url: str) -> None:
        self._url = urlsplit(database_url)
        self._up = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self._url.query).get("host", [""])[0]
        if folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self._url.port or 5432}")
        return await asyncio.open_connection(self._url.hostname, self._url.port or 5432)

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        far_reader, far_writer = await self._open()
        self._writers |= {writer, far_writer}
        pumps = {
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        }
        self._pumps |= pumps
        await asyncio.wait(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        self._up = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def restore(self) -> None:
        self._up = True

    def url(self, port: int) -> str:
        credentials = self._url.netloc.rpartition("@")[0]
        return f"postgresql://{credentials}@127.0.0.1:{port}{self._url.path}?sslmode=disable"

    async def close(self) -> None:
        self.cut()
        if self._pumps:
            await asyncio.wait(self._pumps)


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[tuple[Relay, Pool]]:
    """A relay to the test's database, and a pool that goes through it."""
    relay = Relay(database_url)
    server = await asyncio.start_server(relay.on_connection, "127.0.0.1", 0)
    pool = await open_pool(relay.url(server.sockets[0].getsockname()[1]))
    yield relay, pool
    await pool.close()
    server.close()
    await relay.close()


StartOver = Callable[..., asyncio.Task[None]]


@pytest.fixture
async def work(resources: Resources, simulator: Simulator) -> AsyncIterator[tuple[StartOver, asyncio.Event]]:
    """Starts one worker that the test itself ends: over a pool, with the settings' carriers."""
    stopping = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    def start(pool: Pool, carriers: Path | None = None) -> asyncio.Task[None]:
        settings = Settings(dev=True, smsc_port=simulator.port, carriers=carriers)
        own = replace(resources, pool=pool, bells=Bells(pool), settings=settings, stopping=stopping)
        tasks.append(asyncio.create_task(worker.work(own)))
        return tasks[-1]

    yield start, stopping
    stopping.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 20)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "LEASE_S", 1.5)
    monkeypatch.setattr(claiming, "SUBMIT_WITHIN_S", 1.0)


@asynccontextmanager
async def results_held_up(pool: Pool) -> AsyncIterator[None]:
    """Nobody can write what a carrier answered meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE messages.submissions IN ACCESS EXCLUSIVE MODE")
        yield


def make_mute(monkeypatch: pytest.MonkeyPatch, smsc: Simulator, *commands: int) -> list[int]:
    """Have an SMSC take some commands and never answer them; return the list of those it got."""
    heard: list[int] = []
    handle = SimulatedSession._handle

    def mute(self: SimulatedSession, frame: pdu.Frame) -> None:
        if self._simulator is smsc and frame.command in commands:
            heard.append(frame.command)
        else:
            handle(self, frame)

    monkeypatch.setattr(SimulatedSession, "_handle", mute)
    return heard


@pytest.mark.usefixtures("short_lease")
async def test_an_outage_longer_than_the_lease_submits_nothing_twice(
    customer: Customer,
    pool: Pool,
    simulator: Simulator,
    relay: tuple[Relay, Pool],
    work: tuple[StartOver, asyncio.Event],
) -> None:
    way, far = relay
    sent = await asyncio.gather(*(customer.send(number) for number in numbers(60)))
    async with results_held_up(pool):
        work[0](far)
        await until(lambda: simulator.accepted == 60)
        way.cut()
        await until(lambda: pool.fetchval("SELECT bool_and(due_at < now()) FROM messages.dispatch"))
        way.restore()
        # the worker has claimed them again, and what became of the first claims is still not written
        await until(lambda: pool.fetchval("SELECT bool_and(claims > 1) FROM messages.dispatch"))
    for message in sent:
        await customer.until(message["id"], "delivered")
    await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))
    assert simulator.accepted == 60
    assert not await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")


async def test_a_full_disk_loses_no_result(
    customer: Customer, pool: Pool, start_worker: Worker, simulator: Simulator
) -> None:
    await pool.execute(
        """
        CREATE SEQUENCE refused;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('refused'); RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages.submissions FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    await start_worker()
    sent = await asyncio.gather(*(customer.send(number) for number in numbers(5)))
    # a sequence counts in spite of the rollback: it was tried together, and again
    await until(lambda: pool.fetchval("SELECT last_value >= 3 FROM refused"))
    await until(lambda: simulator.accepted == 5)
    await pool.execute("DROP TRIGGER refuse ON messages.submissions")
    for message in sent:
        await customer.until(message["id"], "delivered")
    await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))
    assert simulator.accepted == 5
    assert await pool.fetchval("SELECT count(*) FROM messages.submissions") == 5


async def test_an_overlong_message_id_harms_no_neighbour(
    customer: Customer, pool: Pool, start_worker: Worker, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, overlong = simulator.take, secrets.token_hex(1500)  # random, so that no index can compress it

    def take_with_a_long_id(mailbox: Mailbox, message: pdu.ShortMessage) -> tuple[int, str]:
        status, message_id = take(mailbox, message)
        return status, overlong if message.destination.value.endswith("1000") else message_id

    monkeypatch.setattr(simulator, "take", take_with_a_long_id)
    sent = await asyncio.gather(*(customer.send(number) for number in numbers(20)))
    await start_worker()
    await customer.until(sent[0]["id"], "sent")  # its receipt names another id
    for message in sent[1:]:
        await customer.until(message["id"], "delivered")
    await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))
    assert (simulator.accepted, simulator.duplicates) == (20, 0)
    assert overlong.startswith(await pool.fetchval("SELECT max(carrier_message_id) FROM messages.submissions "
                                                   "WHERE message_id = $1", UUID(sent[0]["id"])))  # fmt: skip


async def test_a_word_that_the_database_refuses_is_dropped_alone(customer: Customer, pool: Pool) -> None:
    good, bad, late = await customer.send(), await customer.send(), await customer.send()
    ledger = Ledger(pool, Bells(pool))
    poisonous = secrets.token_hex(3000)  # longer than an index takes
    await ledger.put([taken(good, "good"), taken(bad, poisonous), taken(late, "late")])
    statuses = [(await customer.get(message["id"]))["status"] for message in (good, bad, late)]
    assert statuses == ["sent", "accepted", "sent"]
    acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    ledger.put_receipts([receipt("good"), receipt("N\0L"), receipt("late")], acknowledged.set_result)
    assert await acknowledged
    statuses = [(await customer.get(message["id"]))["status"] for message in (good, bad, late)]
    assert statuses == ["delivered", "accepted", "delivered"]


async def test_a_receipt_before_its_submits_answer_waits_for_that_alone(customer: Customer, pool: Pool) -> None:
    sent = await customer.send()
    ledger = Ledger(pool, Bells(pool))
    acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    ledger.put_receipts([receipt("soon")], acknowledged.set_result)
    assert await acknowledged
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 1
    await ledger.put([taken(sent, "soon")])
    assert (await customer.get(sent["id"]))["status"] == "delivered"
    assert await pool.fetchval("SELECT count(*) FROM messages.parked_receipts") == 0
    assert not ledger.early


async def test_unanswered_submits_back_off(
    customer: Customer,
    pool: Pool,
    simulator: Simulator,
    work: tuple[StartOver, asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_mute(monkeypatch, simulator, pdu.SUBMIT_SM)
    timing = Timing(response_timeout_s=0.2, stop_timeout_s=0.1)
    monkeypatch.setattr(worker, "open_carrier", lambda configuration: SmppCarrier(configuration, timing))
    await pool.execute(
        """
        CREATE TABLE retries (claims int, delay_s float);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO retries VALUES (NEW.claims, extract(epoch FROM NEW.due_at - now())); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE UPDATE ON messages.dispatch FOR EACH ROW
            WHEN (NEW.claims = OLD.claims) EXECUTE FUNCTION note();
        """
    )
    for claims in (0, 3, 9, 500):
        sent = await customer.send()
        await pool.execute("UPDATE messages.dispatch SET claims = $1 WHERE message_id = $2", claims, UUID(sent["id"]))
    await pool.execute("TRUNCATE retries")  # the first UPDATE above changed nothing
    work[0](pool)
    # the second try of the first message comes after a second
    await until(lambda: pool.fetchval("SELECT array_agg(DISTINCT claims) @> '{1, 2, 4, 10, 501}' FROM retries"))
    delays = {row["claims"]: row["delay_s"] for row in await pool.fetch("SELECT * FROM retries WHERE claims <> 3")}
    assert delays == {1: 1.0, 2: 2.0, 4: 8.0, 10: 60.0, 501: 60.0}


async def test_counts_of_claims_and_throttles_never_overflow(
    customer: Customer, pool: Pool, start_worker: Worker
) -> None:
    sent, throttled = await customer.send(), await customer.send("+46700000004")
    await pool.execute("UPDATE messages.dispatch SET claims = 32767, throttles = 32767")
    await start_worker()
    await customer.until(sent["id"], "delivered")
    await until(
        lambda: pool.fetchval(
            "SELECT throttles > 32767 AND due_at > now() + interval '50 s' FROM messages.dispatch "
            "WHERE message_id = $1",
            UUID(throttled["id"]),
        )
    )


async def test_housekeeping_goes_on_until_nothing_old_is_left(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    fresh = await customer.call("POST", "/v1/messages", {"to": "+46700000010", "body": "x"}, idempotency_key="fresh")
    await Ledger(pool, Bells(pool)).put([taken(fresh.json, "fresh")])
    await pool.execute(
        """
        INSERT INTO messages.submissions
        SELECT (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, 1, 'simulator', n::text, 'accepted', NULL,
               NULL, now() - interval '13 days' FROM generate_series(1, 11000) AS n;
        INSERT INTO messages.parked_receipts
        SELECT gen_random_uuid(), 'simulator', n::text, 'delivered', NULL, NULL, now() - interval '6 days',
               now() - interval '3 days'
        FROM generate_series(1, 5001) AS n;
        INSERT INTO messages.parked_receipts
        VALUES (gen_random_uuid(), 'simulator', 'n', 'delivered', NULL, NULL, now(), now() + interval '3 days');
        INSERT INTO messages.idempotency_keys
        SELECT gen_random_uuid(), 'r', n::text, '', '', now() - interval '25 hours' FROM generate_series(1, 5001) AS n;
        INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data)
        SELECT gen_random_uuid(), 't', gen_random_uuid(), gen_random_uuid(), 1, now() - interval '25 hours', '{}'
        FROM generate_series(1, 20001) AS n;
        INSERT INTO webhooks.positions (source, xid) VALUES ('messages', '9223372036854775807');
        INSERT INTO billing.positions (source, xid) VALUES ('messages', '9223372036854775807');
        """
    )
    await retention.keep_house(resources)
    left = {
        table: await pool.fetchval(f"SELECT count(*) FROM messages.{table}")
        for table in ("submissions", "parked_receipts", "idempotency_keys", "outbox")
    }
    assert left == {"submissions": 1, "parked_receipts": 1, "idempotency_keys": 1, "outbox": 2}


async def test_a_new_partition_takes_over_what_the_other_one_holds(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    months = await pool.fetch("SELECT relname FROM pg_class WHERE relname ~ '^messages_20' AND relkind = 'r'")
    for month in months:
        await pool.execute(f"DROP TABLE messages.{month['relname']}")
    sent = [await customer.send(reference=f"r{number}") for number in range(3)]
    assert await pool.fetchval("SELECT count(*) FROM messages.messages_other") == 3
    await retention.keep_house(resources)
    await retention.keep_house(resources)  # what is there already is left alone
    assert await pool.fetchval("SELECT count(*) FROM messages.messages_other") == 0
    places = await pool.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM messages.messages")
    assert [place["name"] for place in places] == [f"messages.messages_{datetime.now(UTC):%Y_%m}"]
    assert len(months) == await pool.fetchval(
        "SELECT count(*) FROM pg_class WHERE relname ~ '^messages_20' AND relkind = 'r'"
    )
    listed = (await customer.call("GET", "/v1/messages")).json["data"]
    assert [message["id"] for message in listed] == [message["id"] for message in reversed(sent)]
    by_reference = (await customer.call("GET", "/v1/messages?reference=r1")).json["data"]
    assert [message["id"] for message in by_reference] == [sent[1]["id"]]
    for message in sent:
        assert (await customer.get(message["id"]))["body"] == message["body"]
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([taken(sent[0], "moved")])
    assert (await customer.get(sent[0]["id"]))["status"] == "sent"
    with pytest.raises(asyncpg.UniqueViolationError):  # the key holds in the new partition too
        await pool.execute("INSERT INTO messages.messages SELECT * FROM messages.messages LIMIT 1")
    assert (await customer.send())["status"] == "accepted"


async def test_a_receipt_whose_submit_was_rolled_back_ends_the_message(
    customer: Customer, pool: Pool, start_worker: Worker, simulator: Simulator
) -> None:
    # the submit's own transaction is refused for good; the receipt's, which writes no submission, is not
    await pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM messages.submissions WHERE message_id = NEW.subject_id) THEN RAISE 'refused'; END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages.outbox FOR EACH ROW
            WHEN (NEW.type = 'message.sent') EXECUTE FUNCTION refuse();
        """
    )
    simulator.behaviour = Behaviour(receipt_delay_s=0.2)
    await start_worker()
    sent = await customer.send()
    await customer.until(sent["id"], "delivered")
    assert await pool.fetchval("SELECT count(*) FROM messages.submissions") == 0
    await pool.execute("UPDATE messages.dispatch SET due_at = now()")  # the lease is over
    await until(lambda: pool.fetchval("SELECT count(*) = 0 FROM messages.dispatch"))
    assert simulator.accepted == 1
    message = await customer.get(sent["id"])
    assert [event["status"] for event in message["events"]] == ["accepted", "sent", "delivered"]


@pytest.mark.parametrize("states", [("unknown", "delivered"), ("delivered", "unknown")])
@pytest.mark.parametrize("count", [1, 20])  # the database plans few rows otherwise than many, and takes another one
async def test_of_two_receipts_for_one_part_in_one_batch_the_delivered_one_counts(
    customer: Customer, pool: Pool, states: tuple[ReceiptState, ReceiptState], count: int
) -> None:
    long = [await customer.send(body="a" * 200) for _ in range(count)]
    short = await customer.send()
    ledger = Ledger(pool, Bells(pool))
    parts = [taken(message, f"{message['id']}-{part}", part) for message in long for part in (1, 2)]
    await ledger.put([*parts, taken(short, "short")])
    twice = [*(f"{message['id']}-1" for message in long), "short"]
    await ledger.put(
        [
            *(receipt(carrier_message_id, state) for carrier_message_id in twice for state in states),
            *(receipt(f"{message['id']}-2") for message in long),
        ]
    )
    for message in (*long, short):
        assert (await customer.get(message["id"]))["status"] == "delivered"


async def test_a_stop_does_not_wait_for_a_mute_smsc(
    customer: Customer,
    pool: Pool,
    simulator: Simulator,
    work: tuple[StartOver, asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = make_mute(monkeypatch, simulator, pdu.SUBMIT_SM, pdu.UNBIND)
    start, stopping = work
    task = start(pool)
    await customer.send()
    await until(lambda: heard)
    stopping.set()
    await asyncio.wait([task], timeout=STOPS_WITHIN_S)
    assert task.done()
    # its end was written: it is due again at once, with a doubt
    row = await pool.fetchrow("SELECT claims, due_at < now() + interval '5 s' AS soon FROM messages.dispatch")
    assert row == (1, True)


async def test_a_stop_does_not_wait_for_a_database_that_is_away(
    customer: Customer,
    pool: Pool,
    simulator: Simulator,
    relay: tuple[Relay, Pool],
    work: tuple[StartOver, asyncio.Event],
) -> None:
    way, far = relay
    start, stopping = work
    await asyncio.gather(*(customer.send(number) for number in numbers(20)))
    async with results_held_up(pool):
        task = start(far)
        await until(lambda: simulator.accepted == 20)
        way.cut()
        stopping.set()
        await asyncio.wait([task], timeout=STOPS_WITHIN_S)
        ended = task.done()
    way.restore()
    assert ended
    # while the process lives, what the carrier said is still to be written
    await until(lambda: pool.fetchval("SELECT count(*) = 20 FROM messages.submissions"))


async def test_a_long_message_on_a_full_carrier_lets_others_pass(  # noqa: PLR0917 - fixtures
    customer: Customer,
    pool: Pool,
    simulator: Simulator,
    work: tuple[StartOver, asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    slow = await serve_simulator()
    heard = make_mute(monkeypatch, slow, pdu.SUBMIT_SM)
    carriers = tmp_path / "carriers.toml"
    carriers.write_text(carriers_toml(full=(slow.port, 1), free=(simulator.port, 2)))
    work[0](pool, carriers)
    await until(lambda: all_bound(pool, 2))
    stuck = await customer.send(body="a" * 400)
    await until(lambda: heard)
    others = await asyncio.gather(*(customer.send(number, "b" * 200) for number in numbers(10)))
    for message in others:
        await customer.until(message["id"], "delivered", within_s=5)
    # it still waits, with its later segments, for the carrier that has its first one
    assert len(heard) == 1
    assert (await customer.get(stuck["id"]))["status"] == "accepted"
    await until(lambda: is_outstanding(pool, 1))
    await slow.close()


async def is_outstanding(pool: Pool, count: int) -> bool:
    return bool((await list_carriers(pool))[0]["outstanding"] == count)


async def test_a_late_retry_says_nothing_about_a_newer_claim(customer: Customer, pool: Pool) -> None:
    sent = await customer.send()
    (first,) = await dispatch_queries.claim(pool, 10, timedelta(), "simulator")
    (second,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator")
    assert (str(first.message.id), second.claims) == (sent["id"], first.claims + 1)
    ledger = Ledger(pool, Bells(pool))
    await ledger.put([Submitted(first.message.id, retry=Retry(first.claims, 0.0))])
    assert await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator") == []
    await ledger.put([Submitted(first.message.id, retry=Retry(second.claims, 0.0, in_doubt=True))])
    (third,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator")
    assert third.claims == second.claims + 1
    await ledger.put([Submitted(first.message.id, retry=Retry(third.claims, 0.0))])
    (fourth,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator")
    assert [one.in_doubt for one in (first, second, third, fourth)] == [False, True, True, False]


async def test_what_was_given_back_is_in_no_doubt_though_its_lease_ran_out_meanwhile(
    customer: Customer, pool: Pool
) -> None:
    await customer.send()
    ledger = Ledger(pool, Bells(pool))
    fleet: Fleet[SmppConfiguration] = Fleet(SmppCarrier, lambda *_: None, lambda *_: None)
    await fleet.apply([simulator_configuration("127.0.0.1", 1)])
    dispatcher = Dispatcher(
        pool, ledger, Chooser(fleet), claimers=pool, tallies=defaultdict(Tally), wake=asyncio.Event()
    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM messages.messages FOR UPDATE")  # the ledger has to wait
        for _ in range(2):  # the second claim finds the first one's end unwritten
            await dispatcher.claimer.take(await dispatch_queries.claim(pool, 10, timedelta(), "simulator"), 0.0)
            await dispatcher.drain()
    await fleet.stop()
    await until(lambda: not dispatcher._ends.held)
    await ledger.batcher.drain()
    await until(lambda: pool.fetchval("SELECT due_at <= now() FROM messages.dispatch"))
    (third,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator")
    assert (third.claims, third.in_doubt) == (3, False)


async def test_a_full_ledger_loses_no_end_of_a_claim_and_refuses_receipts(customer: Customer, pool: Pool) -> None:
    await customer.send()
    ledger = Ledger(pool, Bells(pool))
    roomy, ledger.batcher = ledger.batcher, Batcher(ledger._write, name="full", queue_size=0)
    answers: list[bool] = []
    ledger.put_receipts([receipt("1")], answers.append)
    await asyncio.sleep(0)
    assert answers == [False]
    fleet: Fleet[SmppConfiguration] = Fleet(SmppCarrier, lambda *_: None, lambda *_: None)
    await fleet.apply([simulator_configuration("127.0.0.1", 1)])
    dispatcher = Dispatcher(
        pool, ledger, Chooser(fleet), claimers=pool, tallies=defaultdict(Tally), wake=asyncio.Event()
    )
    await dispatcher.claimer.take(await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator"), 0.0)
    draining = asyncio.create_task(dispatcher.drain())
    await until(lambda: dispatcher._ends.untold)
    await asyncio.sleep(0)  # the turn in which it is offered, and there is no room
    ledger.batcher = roomy
    await draining
    await fleet.stop()
    await until(lambda: not dispatcher._ends.held)
    await until(lambda: pool.fetchval("SELECT due_at <= now() FROM messages.dispatch"))
    (second,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, "simulator")
    assert (second.claims, second.in_doubt) == (2, False)


@pytest.mark.parametrize("doubt", [False, True])
@pytest.mark.parametrize("lies_aside", [False, True])
async def test_a_crash_before_a_claim_is_assigned_makes_no_doubt_of_an_older_carrier(
    customer: Customer, pool: Pool, *, doubt: bool, lies_aside: bool
) -> None:
    await customer.send()
    (first,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, None)
    message_id = first.message.id
    await dispatch_queries.assign(pool, [(message_id, first.claims, "a")])
    if lies_aside:
        await dispatch_queries.put_aside(pool, [(message_id, first.claims, "a", doubt)])
        (second,) = await dispatch_queries.claim_held(pool, "a", 10, timedelta(), None)
    else:
        async with pool.acquire() as connection:
            await dispatch_queries.retry_dispatch(connection, [(message_id, first.claims, 0.0, False, doubt)])
        (second,) = await dispatch_queries.claim(pool, 10, timedelta(), None)
    (third,) = await dispatch_queries.claim(pool, 10, LONG_LEASE, None)  # of the second there is no end
    assert (second.in_doubt, third.in_doubt) == (doubt, doubt)
    assert third.carrier == ("a" if doubt else None)


async def test_a_message_whose_commit_is_still_under_way_is_accepted(
    customer: Customer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_messages, commits = queries.insert_messages, []

    async def insert(connection: Connection | Pool, drafts: list[Draft], ids: list[UUID]) -> None:
        if commits:
            await insert_messages(connection, drafts, ids)
            return
        holder = await pool.acquire()
        transaction = holder.transaction()
        await transaction.start()
        await insert_messages(holder, drafts, ids)

        async def commit() -> None:
            """The second try waits for the first one: now the server carries it out."""
            await until(
                lambda: pool.fetchval(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock'"
                )
            )
            await transaction.commit()
            await pool.release(holder)

        commits.append(asyncio.create_task(commit()))
        raise ConnectionResetError

    monkeypatch.setattr(queries, "insert_messages", insert)
    sent = await customer.send()
    await asyncio.gather(*commits)
    assert await pool.fetchval("SELECT array_agg(id) FROM messages.messages") == [UUID(sent["id"])]
    assert await pool.fetchval("SELECT count(*) FROM messages.outbox") == 1


async def test_carriers_totals_survive_a_failed_write(customer: Customer, pool: Pool, start_worker: Worker) -> None:
    await pool.execute(
        """
        CREATE SEQUENCE refused;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF nextval('refused') = 1 THEN RAISE 'not now'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages.carriers FOR EACH ROW
            WHEN (NEW.submitted > 0) EXECUTE FUNCTION refuse();
        """
    )
    await start_worker()
    await customer.until((await customer.send(body="a" * 400))["id"], "delivered")
    await until(lambda: pool.fetchval("SELECT is_called FROM refused"))
    refused_at = await pool.fetchval("SELECT now()")
    await until(lambda: pool.fetchval("SELECT max(seen_at) > $1 FROM messages.carrier_states", refused_at))
    assert await pool.fetchval("SELECT sum(submitted) FROM messages.carriers") == 3
