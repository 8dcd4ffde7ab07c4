"""The command line: what operators see and change, for people and for machines."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from ghasi.contract.values import new_id
from ghasi.storage.sealing import new_secret_key
from tests.processes.running import Place, place


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as it:
        yield it


class Commands:
    """`ghasi ...` on a database of the test's own."""

    def __init__(self, here: Place, database_url: str) -> None:
        self.here = here
        self.environment = {"GHASI_DATABASE_URL": database_url, "GHASI_SECRET_KEY": new_secret_key()}

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.here.run(*arguments, **self.environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture
def commands(here: Place, database_url: str) -> Commands:
    return Commands(here, database_url)


@pytest.fixture
async def account(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    identifier = new_id()
    await connection.execute("INSERT INTO auth.accounts (id, name, created_at) VALUES ($1, 'Acme', now())", identifier)
    await connection.close()
    return str(identifier)


def test_accounts_are_changed_and_the_audit_log_says_by_whom(commands: Commands, account: str) -> None:
    assert "Acme is suspended" in commands.run("admin", "accounts", "suspend", account, "--operator", "ann").stdout
    commands.run("admin", "accounts", "countries", account, "af", "PK")
    commands.run("admin", "accounts", "cap", account, "1000")
    commands.run("admin", "accounts", "limits", account, "sends", "600")
    shown = commands.json("admin", "accounts", "show", account)
    assert (shown["status"], shown["countries"], shown["daily_cap"], shown["limits"]) == (
        "suspended", ["AF", "PK"], 1000, {"sends": 600}
    )  # fmt: skip
    assert commands.json("admin", "accounts", "list") == [shown]
    assert "AF, PK" in commands.run("admin", "accounts", "list").stdout
    commands.run("admin", "accounts", "countries", account, "all")
    commands.run("admin", "accounts", "cap", account, "none")
    commands.run("admin", "accounts", "activate", account)
    shown = commands.json("admin", "accounts", "show", account)
    assert (shown["status"], shown["countries"], shown["daily_cap"]) == ("active", None, None)
    entries = commands.json("admin", "audit", "list", "--account", account)
    assert [entry["action"] for entry in entries][-1] == "account.suspended"
    assert entries[-1]["actor"] == "operator:ann"


def test_what_is_not_there_and_what_is_wrong_end_differently(commands: Commands, account: str) -> None:
    missing = commands.run("admin", "accounts", "show", str(new_id()), expect=1)
    assert missing.stderr.startswith("ghasi: There is no account")
    assert "neither a number nor" in commands.run("admin", "accounts", "cap", account, "many", expect=2).stderr
    assert "countries" in commands.run("admin", "accounts", "countries", account, "XX", expect=2).stderr
    commands.run("admin", "accounts", "show", "not-an-id", expect=2)
    assert "no invoice" in commands.run("admin", "invoices", "pay", "X-1", expect=1).stderr


def test_keys_rates_carriers_and_invoices(commands: Commands) -> None:
    made = commands.json("admin", "keys", "rotate")
    assert made["kid"] in {key["kid"] for key in commands.json("admin", "keys", "list")}
    file = commands.here.folder / "rates.csv"
    prices = {(rate["country"], rate["price"]) for rate in commands.json("admin", "rates", "list")}
    assert ("*", "0.0450") in prices
    file.write_text("nonsense\n1,2\n")
    assert commands.run("admin", "rates", "import", str(file), expect=1).stderr.startswith("ghasi: ")
    commands.run("admin", "rates", "import", str(commands.here.folder / "none.csv"), expect=1)
    assert commands.json("admin", "carriers", "list") == []
    assert commands.json("admin", "invoices", "close", "--period", "2026-10") == {"made": [], "skipped": []}
    assert commands.run("admin", "invoices", "list").stdout == "none\n"
    assert commands.json("admin", "users", "list") == []


def test_an_operator_on_an_empty_folder_makes_no_database() -> None:
    with place() as elsewhere:
        done = elsewhere.run("admin", "accounts", "list")
        assert done.returncode == 2
        assert "there is no database" in done.stderr
        assert not elsewhere.data.exists()


def test_a_command_starts_the_embedded_database_for_its_time() -> None:
    with place() as elsewhere:
        assert elsewhere.run("migrate").returncode == 0
        assert elsewhere.processes() == []
        done = elsewhere.run("admin", "accounts", "list", GHASI_SECRET_KEY=new_secret_key())
        assert (done.returncode, done.stdout) == (0, "none\n"), done.stderr
        assert elsewhere.processes() == []


def test_the_contract_and_the_version_are_printed(commands: Commands) -> None:
    assert "/v1/messages" in commands.run("contract", "show").stdout
    assert json.loads(commands.run("contract", "openapi").stdout)["openapi"].startswith("3.1")
    assert commands.run("contract", "docs").stdout.startswith("<!-- Emitted")
    assert commands.run("--version").stdout == commands.run("version").stdout
    assert "child" not in commands.run("--help").stdout
