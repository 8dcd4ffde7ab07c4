"""A database per service: which there are, and that each has what belongs there and nothing else."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

import ghasi
from ghasi.contract.values import new_id
from ghasi.settings import Settings
from ghasi.storage import audit
from ghasi.storage.databases import SCHEMAS, SERVICES, are_apart, list_databases, own_variables
from ghasi.storage.migrate import MIGRATIONS, list_migrations, list_pending, migrate
from ghasi.storage.pool import open_pool
from ghasi.storage.resealing import SEALED, reseal_all
from ghasi.storage.sealing import Sealer, SealError, new_secret_key
from tests.conftest import named, run
from tests.storage.test_resealing import process_with

SHARED, AUTH, OTHER = "postgresql://shared/ghasi", "postgresql://auth/ghasi", "postgresql://other/ghasi"
ALL_SCHEMAS = [schema for schemas in SCHEMAS.values() for schema in schemas]
PACKAGE = Path(ghasi.__file__).parent
MakeDatabase = Callable[[], Awaitable[str]]


@pytest.fixture
async def make_database(server_url: str) -> AsyncIterator[MakeDatabase]:
    """Make an empty database and return its URL."""
    made: list[str] = []

    async def make() -> str:
        made.append(f"test_{uuid4().hex}")
        await run(server_url, f"CREATE DATABASE {made[-1]} STRATEGY file_copy")
        return named(server_url, made[-1])

    yield make
    for name in made:
        await run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def schemas_of(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'")
    await connection.close()
    return {row["nspname"] for row in rows} - {"public"}


def test_services_with_one_url_share_a_database() -> None:
    together = Settings(database_url=SHARED)
    assert [(one.name, one.services) for one in list_databases(together)] == [("database", SERVICES)]
    assert not are_apart(together)
    # said twice is no difference
    assert not are_apart(Settings(database_url=SHARED, auth_database_url=SHARED))
    everyone = dict.fromkeys((f"{service}_database_url" for service in SERVICES), SHARED)
    (one,) = list_databases(Settings(**everyone))  # type: ignore[arg-type]
    assert one.name == "database"


def test_databases_are_named_by_what_they_hold() -> None:
    settings = Settings(
        database_url=SHARED, auth_database_url=AUTH, messages_database_url=OTHER, billing_database_url=OTHER
    )
    assert are_apart(settings)
    assert own_variables(settings) == [f"GHASI_{name}_DATABASE_URL" for name in ("AUTH", "MESSAGES", "BILLING")]
    assert [str(one) for one in list_databases(settings)] == [
        "auth_database (GHASI_AUTH_DATABASE_URL)",
        "messages_billing_database (GHASI_MESSAGES_DATABASE_URL, GHASI_BILLING_DATABASE_URL)",
        "database (GHASI_DATABASE_URL)",
    ]
    assert [one.name for one in list_databases(settings, ["billing"])] == ["messages_billing_database"]
    assert list_databases(settings, ["auth"])[0].schemas == {"storage", "auth", "identity"}
    # where the others' is not known to a process, they are elsewhere
    assert are_apart(Settings(auth_database_url=AUTH))
    assert [one.name for one in list_databases(Settings(auth_database_url=AUTH))] == ["auth_database"]


async def test_each_service_alone_is_migrated_and_rebased(make_database: MakeDatabase) -> None:
    assert {item.schema for item in list_migrations()} == {"storage"}.union(*SCHEMAS.values())
    for service in SERVICES:
        url, schemas = await make_database(), {"storage", *SCHEMAS[service]}
        first, second = await asyncio.gather(migrate(url, schemas), migrate(url, schemas))
        assert sorted(first + second) == sorted(f"{item.schema}/{item.name}" for item in list_migrations(schemas))
        assert await schemas_of(url) == schemas
        assert await list_pending(url, schemas) == []
        assert {name.partition("/")[0] for name in await list_pending(url)} == {*ALL_SCHEMAS} - schemas


async def test_what_came_from_another_cluster_is_rebased_in_each_database(make_database: MakeDatabase) -> None:
    for service, read in (("auth", None), ("messages", "auth"), ("webhooks", "messages"), ("billing", "messages")):
        url, schemas = await make_database(), {"storage", *SCHEMAS[service]}
        await migrate(url, schemas)
        # as that one left it: outbox and positions lie in this one's future
        await run(url, "UPDATE storage.cluster SET system_identifier = 1")
        if read:
            await run(url, f"INSERT INTO {service}.positions (source, xid) VALUES ('{read}', '9000000000000')")
        if service != "webhooks":  # which tells nobody anything
            await run(
                url,
                f"INSERT INTO {service}.outbox (xid, id, type, account_id, subject_id, sequence, at, data) "
                f"VALUES ('9000000000000', '{new_id()}', 'x', '{new_id()}', '{new_id()}', 1, now(), '{{}}')",
            )
        assert await migrate(url, schemas) == []
        connection = await asyncpg.connect(url)
        unread = f"SELECT count(*) FROM {service}.outbox WHERE xid < pg_snapshot_xmin(pg_current_snapshot())"
        assert await connection.fetchval(unread) == (service != "webhooks")
        assert await connection.fetchval(f"SELECT max(xid) FROM {service}.positions") == (0 if read else None)
        await connection.close()


async def test_no_service_names_a_table_of_another(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1)", ALL_SCHEMAS)
    await connection.close()
    assert {row["schemaname"] for row in rows} == set(ALL_SCHEMAS)
    for own in SCHEMAS.values():
        others = [re.escape(".".join(row)) for row in rows if row["schemaname"] not in own]
        # not a module of that name
        table = re.compile(rf"(?<![\w.])(?:{'|'.join(others)})\b")
        sources = [file for name in own for file in (PACKAGE / name).rglob("*.py")]
        sources += [file for name in own for file in (MIGRATIONS / name).glob("*.sql")]
        assert len(sources) > len(own)
        assert {file.name: found for file in sources if (found := table.findall(file.read_text()))} == {}


async def test_the_history_of_a_schema_that_moved_away_is_forgotten(database_url: str) -> None:
    rest = {item.schema for item in list_migrations()} - set(SCHEMAS["auth"])
    await run(database_url, "DROP SCHEMA auth, identity CASCADE")
    assert await list_pending(database_url, rest) == []
    assert {name.partition("/")[0] for name in await list_pending(database_url)} == {"auth", "identity"}
    assert await migrate(database_url, rest) == []
    # and where it comes back, it is made anew
    assert len(await migrate(database_url)) == len(list_migrations(SCHEMAS["auth"]))


async def test_audit_logs_are_read_as_one(make_database: MakeDatabase) -> None:
    urls = [await make_database() for _ in range(2)]
    for url in urls:
        await migrate(url, {"storage"})
    pools = [await open_pool(url) for url in urls]
    for number in range(6):
        await audit.record(pools[number % 2], actor="operator:ann", action=str(number), subject="x")
    # one went along when its service moved
    entry = (await audit.list_entries(pools[0]))[0]
    await pools[1].execute(
        "INSERT INTO storage.audit_log (id, at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, '{}')",
        entry.id, entry.at, entry.actor, entry.action, entry.subject,
    )  # fmt: skip
    assert [entry.action for entry in await audit.list_all_entries(pools)] == ["5", "4", "3", "2", "1", "0"]
    assert [entry.action for entry in await audit.list_all_entries(pools, limit=2)] == ["5", "4"]
    for pool in pools:
        await pool.close()


async def test_secrets_are_resealed_in_every_database(make_database: MakeDatabase) -> None:
    old, new = new_secret_key(), new_secret_key()
    urls = {service: await make_database() for service in ("auth", "webhooks")}
    for service, url in urls.items():
        await migrate(url, {"storage", *SCHEMAS[service]})
    pools = {service: await open_pool(url) for service, url in urls.items()}
    sealed = Sealer(old).seal(b"secret")
    await pools["auth"].execute(
        "INSERT INTO auth.signing_keys (kid, modulus, exponent, sealed_private_key, created_at, signs_from) "
        "VALUES ('k', 'n', 'e', $1, now(), now())",
        sealed,
    )
    await pools["webhooks"].execute(
        "INSERT INTO webhooks.endpoints (id, account_id, url, events, enabled, secret, created_at, updated_at) "
        "VALUES ($1, $1, 'https://example.com', '{message.*}', true, $2, now(), now())",
        new_id(), sealed,
    )  # fmt: skip
    both = Sealer(f"{new},{old}")
    async with process_with(urls["webhooks"], old):
        with pytest.raises(SealError, match="without the first key"):
            await reseal_all(pools, both, actor="x")
    # nothing was changed in the database that no such process uses
    assert await pools["auth"].fetchval("SELECT sealed_private_key FROM auth.signing_keys") == sealed
    done = await reseal_all(pools, both, actor="x")
    assert (done.resealed, done.current, done.unreadable, done.old_keys_needed) == (2, 0, {}, False)
    opened = await pools["webhooks"].fetchval("SELECT secret FROM webhooks.endpoints")
    assert Sealer(new).open(opened) == b"secret"
    assert (await reseal_all(pools, both, actor="x")).current == 2
    assert {table.name for table in SEALED if table.is_of(("webhooks",))} == {"webhooks.endpoints"}
    for pool in pools.values():
        await pool.close()
