"""A new secret key takes the old one's place while everything runs, and nothing is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest
from standardwebhooks import Webhook

from ghasi.auth import admin
from ghasi.auth.signing_keys import KeyRing
from ghasi.contract.serving import ServiceApp
from ghasi.storage import audit
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from ghasi.storage.resealing import SEALED, name_of_process, reseal
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer, SealError, new_secret_key
from ghasi.webhooks.routes import serve
from tests.webhooks.conftest import Customer, publish, receiving, until, working

OLD, NEW = new_secret_key(), new_secret_key()
NOT_SEALED = {"hash", "body_hash", "digest", "payload"}
"""Columns of bytes that hold no secret: hashes, and a part of a message."""


@asynccontextmanager
async def customer_of(resources: Resources, account: Customer | None = None) -> AsyncIterator[Customer]:
    async with serve(resources) as handlers:
        app = ServiceApp(handlers)
        yield Customer(app) if account is None else replace(account, app=app)


def having(resources: Resources, keys: str) -> Resources:
    return replace(resources, sealer=Sealer(keys))


@asynccontextmanager
async def process_with(database_url: str, keys: str) -> AsyncIterator[None]:
    """A process that is connected as one that hosts a part is."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    listening = asyncio.create_task(Bells(pool).listen(database_url, name_of_process(Sealer(keys))))
    try:
        await until(lambda: pool.fetchval(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
            name_of_process(Sealer(keys)),
        ))  # fmt: skip
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await until(lambda: pool.fetchval(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = $1)", name_of_process(Sealer(keys)),
        ))  # fmt: skip
        await pool.close()


async def sealed_values(pool: Pool) -> list[bytes]:
    values = []
    for table in SEALED:
        for row in await pool.fetch(f"SELECT {', '.join(table.columns)} FROM {table.name}"):
            values += [value for value in row if value]
    return values


async def fill(resources: Resources, endpoints: int = 12) -> Customer:
    """One of each: signing keys, an identity's, a code, and endpoints with headers and secrets before."""
    await KeyRing(resources.pool, resources.sealer).get_key_set(datetime.now(UTC))
    await admin.rotate_keys(resources, operator="ann")
    seal = resources.sealer.seal
    await resources.pool.execute(
        "INSERT INTO identity.signing_keys (kid, certificate, sealed_private_key) VALUES ('k', 'c', $1)", seal(b"key")
    )
    await resources.pool.execute(
        "INSERT INTO identity.users (local_id, email, password_hash) VALUES ('u', 'a@example.com', '$argon2id$x')"
    )
    await resources.pool.execute(
        "INSERT INTO identity.oob_codes (hash, sealed_code, local_id, request_type, expires_at) "
        "VALUES (sha256('a'), $1, 'u', 'PASSWORD_RESET', now())", seal(b"code"),
    )  # fmt: skip
    async with customer_of(resources) as customer:
        for number in range(endpoints):
            headers = {"X-Token": f"t{number}"} if number % 2 else {}
            made = await customer.create("http://127.0.0.1:9/hook", enabled=False, headers=headers)
            if number % 3 == 0:
                assert (await customer.call("POST", f"/v1/webhooks/{made['id']}/rotate")).status == 200
        gone = await customer.create("http://127.0.0.1:9/hook")
        await customer.call("DELETE", f"/v1/webhooks/{gone['id']}")
    return customer


async def test_every_column_of_bytes_is_sealed_or_known_not_to_be(pool: Pool) -> None:
    """Whoever adds one decides: a sealed value that is not on the list would be lost with the old key."""
    rows = await pool.fetch(
        "SELECT table_schema || '.' || table_name AS table, column_name AS column FROM information_schema.columns "
        "WHERE data_type = 'bytea' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    known = {(table.name, column) for table in SEALED for column in table.columns}
    assert {(row["table"], row["column"]) for row in rows if row["column"] not in NOT_SEALED} == known


async def test_everything_opens_with_the_new_key_alone(resources: Resources, pool: Pool) -> None:
    await fill(having(resources, OLD))
    before = await sealed_values(pool)
    sealer = Sealer(f"{NEW},{OLD}")
    texts = [sealer.open(value) for value in before]
    done = await reseal(pool, sealer, actor="operator:ann", batch=5)
    assert (done.resealed, done.current, done.unreadable, done.old_keys_needed) == (len(before), 0, {}, False)
    after = await sealed_values(pool)
    assert sorted(map(Sealer(NEW).open, after)) == sorted(texts)
    # again it changes nothing
    done = await reseal(pool, sealer, actor="operator:ann", batch=5)
    assert (done.resealed, done.current, done.old_keys_needed) == (0, len(before), False)
    assert sorted(await sealed_values(pool)) == sorted(after)
    entries = [entry for entry in await audit.list_entries(pool) if entry.action == "secret_key.resealed"]
    assert [entry.detail for entry in entries] == ['{"values":0}', f'{{"values":{len(before)}}}']
    assert {entry.actor for entry in entries} == {"operator:ann"}


async def test_it_can_be_interrupted_anywhere(resources: Resources, pool: Pool) -> None:
    await fill(having(resources, OLD))
    values = len(await sealed_values(pool))
    sealer = Sealer(f"{NEW},{OLD}")
    for _ in range(200):
        run = asyncio.create_task(reseal(pool, sealer, actor="x", batch=2))
        await asyncio.sleep(0.004)
        run.cancel()
        (outcome,) = await asyncio.gather(run, return_exceptions=True)
        opened = [sealer.open(value) for value in await sealed_values(pool)]
        assert len(opened) == values
        if not isinstance(outcome, BaseException):
            break
    done = await reseal(pool, sealer, actor="x")
    assert done.resealed + done.current == values
    assert all(map(Sealer(NEW).open, await sealed_values(pool)))


async def test_customers_go_on_changing_and_deliveries_arriving(resources: Resources, pool: Pool) -> None:
    """Secrets are rotated while values move: what moves is never a value that was replaced meanwhile."""
    account = await fill(having(resources, OLD), endpoints=20)
    both = having(resources, f"{NEW},{OLD}")
    async with receiving() as receiver, customer_of(both, account) as customer:
        own = await customer.create(receiver.url)
        ids = [row["id"] for row in await pool.fetch("SELECT id FROM webhooks.endpoints WHERE deleted_at IS NULL")]
        stop = asyncio.Event()
        rotated: dict[str, str] = {}

        async def change() -> None:
            while not stop.is_set():
                for endpoint_id in ids:
                    if str(endpoint_id) != own["id"]:
                        answer = await customer.call("POST", f"/v1/webhooks/{endpoint_id}/rotate")
                        rotated[str(endpoint_id)] = answer.json["secret"]

        changing = asyncio.create_task(change())
        async with working(both):
            for _ in range(5):
                await reseal(pool, both.sealer, actor="x", batch=3)
                await publish(pool, customer.account_id)
            await until(lambda: len(receiver.ids) == 5)
        stop.set()
        await changing
    for got in receiver.got:
        assert Webhook(own["secret"]).verify(got.body, got.headers)
    assert (await reseal(pool, both.sealer, actor="x")).old_keys_needed is False
    new = Sealer(NEW)
    assert all(map(new.open, await sealed_values(pool)))
    for row in await pool.fetch("SELECT id, secret FROM webhooks.endpoints WHERE deleted_at IS NULL"):
        if str(row["id"]) in rotated:
            assert new.open(row["secret"]).decode() == rotated[str(row["id"])]


async def test_no_process_is_left_without_a_key(resources: Resources, pool: Pool, database_url: str) -> None:
    await fill(having(resources, OLD), endpoints=1)
    sealer = Sealer(f"{NEW},{OLD}")
    async with process_with(database_url, OLD):
        with pytest.raises(SealError, match="without the first key"):
            await reseal(pool, sealer, actor="x")
    assert all(map(Sealer(OLD).open, await sealed_values(pool)))
    async with process_with(
        database_url, f"{OLD},{NEW}"
    ):  # it opens what is resealed, and goes on sealing with the old
        done = await reseal(pool, sealer, actor="x")
        assert done.resealed
        assert done.old_keys_needed
    async with process_with(database_url, f"{NEW},{OLD}"):
        done = await reseal(pool, sealer, actor="x")
        assert (done.resealed, done.old_keys_needed) == (0, False)
    async with process_with(database_url, NEW):
        assert not (await reseal(pool, sealer, actor="x")).old_keys_needed


async def test_what_no_key_opens_is_counted_and_keeps_the_old_keys(resources: Resources, pool: Pool) -> None:
    await fill(having(resources, OLD), endpoints=2)
    await pool.execute("UPDATE auth.signing_keys SET sealed_private_key = $1", Sealer(new_secret_key()).seal(b"x"))
    done = await reseal(pool, Sealer(f"{NEW},{OLD}"), actor="x")
    assert done.unreadable == {"auth.signing_keys": 2}
    assert done.old_keys_needed
    assert done.resealed > 2


def test_keys_have_names_that_give_nothing_away() -> None:
    old, new = Sealer(OLD).key_names, Sealer(NEW).key_names
    assert Sealer(f"{NEW},{OLD}").key_names == new + old
    assert old != new
    for name in old + new:
        assert len(name) == 8
        assert name not in OLD + NEW


def test_resealing_keeps_nothing_and_opens_only_what_is_ours() -> None:
    sealer = Sealer(f"{NEW},{OLD}")
    resealed = sealer.reseal(Sealer(OLD).seal(b"secret"))
    assert resealed is not None
    assert Sealer(NEW).open(resealed) == b"secret"
    assert sealer.reseal(resealed) is None
    with pytest.raises(SealError):
        sealer.reseal(Sealer(new_secret_key()).seal(b"secret"))
    with pytest.raises(SealError):
        sealer.reseal(resealed[:-4] + b"AAA=")
