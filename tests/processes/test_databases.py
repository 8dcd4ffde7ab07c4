"""Services with databases of their own: what is refused, what each process needs, and what operators see of it."""

import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from ghasi.commands.running import _without_password
from ghasi.contract.values import new_id
from ghasi.storage import embedded
from ghasi.storage.migrate import list_migrations
from ghasi.storage.sealing import new_secret_key
from tests.conftest import named, run, spare_the_disk
from tests.engines import nats_server
from tests.processes.running import Place, Running, get_health, place, until
from tests.processes.test_commands import Commands, shell  # noqa: F401 - a fixture

OWN, SHARED = "GHASI_AUTH_DATABASE_URL", "GHASI_DATABASE_URL"
VARIABLES = (SHARED, *(f"GHASI_{name}_DATABASE_URL" for name in ("AUTH", "MESSAGES", "WEBHOOKS", "BILLING")))
UP_TO_DATE = "auth_database: up to date\ndatabase: up to date\n"
CERTIFICATES = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"


@pytest.fixture(scope="module")
async def urls(server_url: str) -> AsyncIterator[dict[str, str]]:
    """Two empty databases: auth's own, and the one that the other services share."""
    made = {OWN: f"auth_{uuid4().hex}", SHARED: f"shared_{uuid4().hex}"}
    for name in made.values():
        await run(server_url, f"CREATE DATABASE {name} STRATEGY file_copy")
    yield {variable: named(server_url, name) for variable, name in made.items()}
    for name in made.values():
        await run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Apart:
    """Commands and processes that have NATS and a key, and no database but what they are given."""

    here: Place
    common: dict[str, str]
    shell: Commands

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        """Run a command in the shell, which is quick, and return what it printed; one that fails, on stderr."""
        self.shell.environment = dict.fromkeys(VARIABLES, "") | self.common | environment
        done = self.shell.run(*arguments, expect=expect)
        return done.stderr if expect else done.stdout

    def program(self, *arguments: str, **environment: str) -> str:
        """Run psql or pg_dump, which take the command's place."""
        done = self.here.run(*arguments, **self.common, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str, **environment: str) -> Running:
        return self.here.start(*arguments, **self.common, **environment)


@pytest.fixture(scope="module")
def apart(shell: subprocess.Popen[str], server_url: str) -> Iterator[Apart]:  # noqa: F811 - the fixture
    with place() as here, nats_server() as nats:
        common = {"GHASI_NATS_URL": nats.url, "GHASI_SECRET_KEY": new_secret_key(), "GHASI_DATA_DIR": str(here.data)}
        yield Apart(here, common, Commands(shell, here.folder, ""))
        for running in here.started:
            assert password_of(server_url) not in running.text() + running.errors.read_text()


@pytest.fixture(scope="module")
def migrated(apart: Apart, urls: dict[str, str]) -> list[str]:
    """What two `migrate` at the same time have printed."""
    first = apart.start("migrate", **urls)
    second = apart.run("migrate", **urls)
    assert first.process.wait(30) == 0, first.errors.read_text()
    return sorted((first.text() + second).splitlines())


async def fetch(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


def password_of(url: str) -> str:
    return urlsplit(url).password or "none is set"


def post(url: str, body: Any, token: str = "") -> Any:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - a loopback address
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


async def test_each_database_gets_its_schemas_once(apart: Apart, migrated: list[str], urls: dict[str, str]) -> None:
    names = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$|^public$' ORDER BY 1"
    assert await fetch(urls[OWN], names) == ["auth", "identity", "storage"]
    assert await fetch(urls[SHARED], names) == ["billing", "messages", "storage", "webhooks"]
    places = {"auth": ["auth_database"], "identity": ["auth_database"], "storage": ["auth_database", "database"]}
    expected = [
        f"{name}: {item.schema}/{item.name}"
        for item in list_migrations()
        for name in places.get(item.schema, ["database"])
    ]
    assert [line for line in migrated if not line.endswith("up to date")] == sorted(expected)
    assert apart.run("migrate", **urls) == UP_TO_DATE
    # one who knows a service's own alone makes no embedded one for the others
    assert apart.run("migrate", **{OWN: urls[OWN]}) == "up to date\n"
    assert not (apart.here.data / "postgres").exists()


@pytest.mark.parametrize("arguments", [["serve", "auth-service"], ["serve", "gateway"], ["work"], ["up"]])
def test_without_nats_nothing_starts(apart: Apart, urls: dict[str, str], arguments: list[str]) -> None:
    refused = apart.run(*arguments, "--dev", expect=2, **urls, GHASI_NATS_URL="")
    assert refused.startswith("ghasi: GHASI_NATS_URL is not set: with GHASI_AUTH_DATABASE_URL services have")
    # where the others' database is not known, it is another one
    assert "GHASI_NATS_URL" in apart.run(*arguments, "--dev", expect=2, **{OWN: urls[OWN]}, GHASI_NATS_URL="")


def test_what_lacks_is_named(apart: Apart, migrated: list[str], urls: dict[str, str]) -> None:
    lacking = apart.run("serve", "message-store", "--dev", expect=2, **{OWN: urls[OWN]})
    assert "no database: run `ghasi database`" in lacking
    assert "or GHASI_MESSAGES_DATABASE_URL" in lacking
    behind = apart.run("serve", "auth-service", "--dev", expect=2, **{OWN: urls[SHARED], SHARED: urls[OWN]})
    assert re.search(r"ghasi migrate.*auth_database \(GHASI_AUTH_DATABASE_URL\) lacks auth/0001_initial", behind)
    away = urls | {OWN: "postgresql://ghasi:hidden@127.0.0.1:1/ghasi"}
    unreachable = apart.run("serve", "gateway", "--dev", expect=1, **away)
    assert "ghasi: auth_database (GHASI_AUTH_DATABASE_URL) can't be used: ConnectionRefusedError" in unreachable
    assert "hidden" not in unreachable
    everyone = {variable: urls[OWN] for variable in VARIABLES if variable != SHARED}
    unused = apart.run("database", expect=2, **everyone)
    assert "GHASI_BILLING_DATABASE_URL are set: the embedded database is not used" in unused


def test_a_process_needs_its_own_database_alone(apart: Apart, migrated: list[str], urls: dict[str, str]) -> None:
    def health_of(running: Running) -> tuple[int, dict[str, str]]:
        return get_health(running.wait_until_ready().text().partition("metrics: ")[2].split("/metrics")[0])

    port = "--metrics-port=0"
    auth = apart.start("serve", "auth-service", "--dev", port, **{OWN: urls[OWN]})
    worker = apart.start("work", "billing", port, GHASI_BILLING_DATABASE_URL=urls[SHARED])
    assert health_of(auth) == (200, {"status": "ok", "auth_database": "ok", "auth-service": "ok"})
    assert health_of(worker) == (200, {"status": "ok", "billing_database": "ok", "billing": "ok"})
    assert (auth.stop(), worker.stop()) == (0, 0)


async def test_services_of_two_databases_are_served_by_one_process(
    apart: Apart, migrated: list[str], urls: dict[str, str], server_url: str
) -> None:
    identity = apart.start("serve", "identity", "--dev", "--port=0", **{OWN: urls[OWN]}).wait_until_ready()
    sign_in = f"http://{identity.addresses['identity']}"
    certificates = {"GHASI_FIREBASE_CERTS_URL": sign_in + CERTIFICATES}
    running = apart.start("serve", "gateway", "--dev", "--port=0", **urls, **certificates).wait_until_ready()
    base = f"http://{running.addresses['gateway']}"
    person = {"email": "ann@example.com", "password": "correct horse", "returnSecureToken": True}
    signed_up = post(f"{sign_in}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=local", person)
    session = post(f"{base}/v1/auth/firebase", {"id_token": signed_up["idToken"]})
    message = post(f"{base}/v1/messages", {"to": "+93700000001", "body": "hello"}, session["access_token"])
    assert [str(one) for one in await fetch(urls[OWN], "SELECT id FROM auth.accounts")] == [session["account"]["id"]]
    assert [str(one) for one in await fetch(urls[SHARED], "SELECT id FROM messages.messages")] == [message["id"]]

    states = dict.fromkeys(("status", "database", "auth_database", "gateway"), "ok")
    assert get_health(base) == (200, states)
    lost = urlsplit(urls[OWN]).path[1:]
    await run(server_url, f"ALTER DATABASE {lost} ALLOW_CONNECTIONS false")
    await run(server_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{lost}'")
    status, report = get_health(base)
    assert (status, report["database"]) == (503, "ok")
    assert report["auth_database"] != "ok"
    await run(server_url, f"ALTER DATABASE {lost} ALLOW_CONNECTIONS true")
    until(lambda: get_health(base) == (200, states))
    assert (running.stop(), identity.stop()) == (0, 0)


async def test_operators_work_on_each_services_database(
    apart: Apart, migrated: list[str], urls: dict[str, str]
) -> None:
    account = str(new_id())
    await run(urls[OWN], f"INSERT INTO auth.accounts (id, name, created_at) VALUES ('{account}', 'Acme', now())")
    # as an event has told
    columns = "account_id, status, sequence"
    await run(urls[SHARED], f"INSERT INTO messages.accounts ({columns}) VALUES ('{account}', 'active', 1)")

    def admin(*arguments: str) -> Any:
        return json.loads(apart.run("admin", *arguments, "--json", "--operator=ann", **urls))

    admin("accounts", "suspend", account)  # auth
    admin("accounts", "currency", account, "USD")  # auth and billing
    admin("senders", "add", account, "ACME")  # messages
    entries = admin("audit", "list", "--account", account)
    assert [entry["action"] for entry in entries] == ["sender.added", "account.currency_set", "account.suspended"]
    assert admin("usage", "verify", "--period", "2026-10")["differences"] == 0
    assert admin("keys", "reseal")["unreadable"] == {}
    assert admin("webhooks", "list") == []
    ask = ("--", "-Atc", "SELECT to_regclass('auth.accounts'), to_regclass('billing.charges')")
    assert apart.program("psql", "--service=auth", *ask, **urls) == "auth.accounts|\n"
    assert apart.program("psql", *ask, **urls) == "|billing.charges\n"


def test_up_runs_over_what_is_set_and_the_embedded_one(apart: Apart, migrated: list[str], urls: dict[str, str]) -> None:
    up = apart.here.up(**apart.common, **{OWN: urls[OWN]})
    assert "database: GHASI_AUTH_DATABASE_URL\ndatabase: starting the embedded PostgreSQL" in up.text()
    status, report = up.health()
    assert (status, report["database"], report["auth_database"]) == (200, "ok", "ok")
    ask = ("--", "-Atc", "SELECT to_regnamespace('auth'), to_regnamespace('billing')")
    assert apart.program("psql", *ask) == "|billing\n"
    for _, arguments in apart.here.processes():
        assert password_of(urls[OWN]) not in " ".join(arguments)
    assert up.stop() == 0


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """The URL of another server's empty database: another cluster, which counts transactions from the beginning."""
    folder = Path(tempfile.mkdtemp(prefix="ghasi-other-"))
    folder.chmod(0o711)
    try:
        url = embedded.start(folder).url
        await spare_the_disk(url)
        yield url
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


async def test_a_service_moves_to_a_server_of_its_own(apart: Apart, database_url: str, elsewhere: str) -> None:
    account, event = new_id(), new_id()
    await run(database_url, f"INSERT INTO auth.accounts (id, name, created_at) VALUES ('{account}', 'Acme', now())")
    await run(
        database_url,
        f"INSERT INTO auth.outbox (xid, id, type, account_id, subject_id, sequence, at, data) "
        f"VALUES ('9000000000000', '{event}', 'account.updated', '{account}', '{account}', 1, now(), '{{}}')",
    )
    before, after = {SHARED: database_url}, {SHARED: database_url, OWN: elsewhere}
    apart.run("admin", "accounts", "cap", str(account), "5", **before)
    # the steps of docs/operating.md, with the programs that fit the servers' version
    path = {"PATH": str(Path(embedded.installed("psql")).parent)}
    file = apart.here.folder / "auth.sql"
    file.write_text(apart.program("dump", "auth", **before, **path))
    restore = ("--", "-q1", "-v", "ON_ERROR_STOP=1", "-f", str(file))
    apart.program("psql", "--service=auth", *restore, **after, **path)
    assert apart.run("migrate", **after) == UP_TO_DATE
    apart.program("psql", "--", "-qc", "DROP SCHEMA auth, identity CASCADE", **after, **path)
    assert apart.run("migrate", **after) == UP_TO_DATE

    assert json.loads(apart.run("admin", "accounts", "show", str(account), "--json", **after))["daily_cap"] == 5
    # what was not read yet lies behind every position, and not in the future
    visible = "SELECT id FROM auth.outbox WHERE xid < pg_snapshot_xmin(pg_current_snapshot())"
    assert event in await fetch(elsewhere, visible)
    # the log went along, and each entry is shown once
    log = json.loads(apart.run("admin", "audit", "list", "--json", **after))
    assert [entry["action"] for entry in log] == ["account.daily_cap_set"]


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("postgresql://ann:p%40ss@db:5/ghasi?sslmode=require", "postgresql://ann@db:5/ghasi?sslmode=require", "p@ss"),
        ("postgresql:///ghasi?host=/run&password=p%40ss&user=ann", "postgresql:///ghasi?host=%2Frun&user=ann", "p@ss"),
        ("postgresql:///ghasi?host=/run", "postgresql:///ghasi?host=/run", None),
    ],
)
def test_a_password_is_taken_out_of_a_url(url: str, bare: str, password: str | None) -> None:
    assert _without_password(url) == (bare, password)
