"""The command line: what operators see and change, for people and for machines."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ghasi.commands.output import count
from ghasi.contract.values import new_id
from ghasi.storage.sealing import new_secret_key
from tests.processes.running import place

SHELL = """
import contextlib, io, json, os, sys
from ghasi.commands.application import run
for line in sys.stdin:
    arguments, environment = json.loads(line)
    os.environ.update(environment)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(arguments)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""
"""Runs one command after the other: to start Python anew for each would take longer than all of them."""


@dataclass
class Done:
    status: int
    stdout: str
    stderr: str


class Commands:
    """`ghasi ...` on a database of the test's own."""

    def __init__(self, shell: subprocess.Popen[str], folder: Path, database_url: str) -> None:
        self.folder = folder
        self._shell = shell
        self.environment = {"GHASI_DATABASE_URL": database_url, "GHASI_SECRET_KEY": new_secret_key()}

    def run(self, *arguments: str, expect: int = 0) -> Done:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(json.dumps([arguments, self.environment]) + "\n")
        self._shell.stdin.flush()
        done = Done(*json.loads(self._shell.stdout.readline()))
        assert done.status == expect, done.stdout + done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def shell() -> Iterator[subprocess.Popen[str]]:
    with place() as here:
        command = [sys.executable, "-c", SHELL]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=here.environment(), text=True, **pipes) as process:
            yield process
            process.communicate(timeout=10)


@pytest.fixture
def commands(shell: subprocess.Popen[str], tmp_path: Path, database_url: str) -> Commands:
    return Commands(shell, tmp_path, database_url)


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
    assert commands.json("admin", "accounts", "countries", account, "all")["countries"] is None
    assert commands.json("admin", "accounts", "cap", account, "none")["daily_cap"] is None
    assert commands.json("admin", "accounts", "activate", account)["status"] == "active"
    entries = commands.json("admin", "audit", "list", "--account", account)
    assert [entry["action"] for entry in entries][-1] == "account.suspended"
    assert entries[-1]["actor"] == "operator:ann"


def test_what_is_not_there_and_what_is_wrong_end_differently(commands: Commands, account: str) -> None:
    missing = commands.run("admin", "accounts", "show", str(new_id()), expect=1)
    assert missing.stderr.startswith("ghasi: There is no account")
    assert "neither a number nor" in commands.run("admin", "accounts", "cap", account, "many", expect=2).stderr
    assert "countries" in commands.run("admin", "accounts", "countries", account, "XX", expect=2).stderr
    commands.run("admin", "accounts", "show", "not-an-id", expect=2)
    last = "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert "no account" in commands.run("admin", "accounts", "show", last, expect=1).stderr
    for limit in ("-1", "0", "99999999999999999999", "x"):
        for group in ("accounts", "users", "audit", "invoices"):
            assert "--limit" in commands.run("admin", group, "list", "--limit", limit, expect=2).stderr
    assert "not a month" in commands.run("admin", "invoices", "close", "--period", "2026-13", expect=2).stderr
    assert "no invoice" in commands.run("admin", "invoices", "pay", "X-1", expect=1).stderr


def test_keys_rates_carriers_and_invoices(commands: Commands) -> None:
    made = commands.json("admin", "keys", "rotate")
    assert made["kid"] in {key["kid"] for key in commands.json("admin", "keys", "list")}
    file = commands.folder / "rates.csv"
    prices = {(rate["country"], rate["price"]) for rate in commands.json("admin", "rates", "list")}
    assert ("*", "0.0450") in prices
    file.write_text("nonsense\n1,2\n")
    assert commands.run("admin", "rates", "import", str(file), expect=1).stderr.startswith("ghasi: ")
    commands.run("admin", "rates", "import", str(commands.folder / "none.csv"), expect=1)
    assert commands.json("admin", "carriers", "list") == []
    assert commands.json("admin", "invoices", "close", "--period", "2026-10") == {"made": [], "skipped": []}
    assert commands.run("admin", "invoices", "list").stdout == "none\n"
    assert commands.json("admin", "users", "list") == []


def test_secrets_move_to_a_new_key(commands: Commands) -> None:
    assert "sealed anew" in commands.run("admin", "keys", "reseal").stdout
    commands.json("admin", "keys", "rotate")
    first = commands.json("admin", "keys", "reseal")
    assert (first["resealed"], first["old_keys_needed"]) == (0, False)
    old = commands.environment["GHASI_SECRET_KEY"]
    commands.environment["GHASI_SECRET_KEY"] = f"{new_secret_key()},{old}"
    assert commands.json("admin", "keys", "reseal")["resealed"] == first["current"] > 0
    said = commands.run("admin", "keys", "reseal", "--operator", "ann").stdout
    assert said.startswith("0 values sealed anew under the first key, ")
    assert "no other key is needed" in said
    assert commands.json("admin", "audit", "list")[0]["actor"] == "operator:ann"
    # without the key that it is sealed with nothing is lost, and it is said
    now = commands.environment["GHASI_SECRET_KEY"]
    commands.environment["GHASI_SECRET_KEY"] = new_secret_key()
    lacking = commands.run("admin", "keys", "reseal", expect=1).stdout
    assert "in auth.signing_keys: no key opens it" in lacking
    assert "keep all keys" in lacking
    commands.environment["GHASI_SECRET_KEY"] = now
    assert commands.json("admin", "keys", "reseal")["current"] == first["current"]


async def test_people_have_roles_in_their_account_and_in_their_token(
    commands: Commands, account: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    one, two = new_id(), new_id()
    await connection.execute(
        """
        INSERT INTO auth.users (id, account_id, issuer, subject, email, name, roles, role, created_at, signed_in_at)
        SELECT id, $2, 'issuer', id::text, 'ada@example.com', 'Ada', '{customer}', role, now(), now()
        FROM unnest($1::uuid[], '{owner,member}'::text[]) AS people (id, role)
        """,
        [one, two],
        UUID(account),
    )
    await connection.close()
    assert "one owner at least" in commands.run("admin", "users", "role", str(one), "member", expect=2).stderr
    assert commands.run("admin", "users", "role", str(two), "owner").stdout == "role: owner\n"
    assert commands.json("admin", "users", "role", str(one), "member") == {"id": str(one), "role": "member"}
    commands.run("admin", "users", "role", str(one), "king", expect=2)
    commands.run("admin", "users", "role", str(new_id()), "owner", expect=1)
    assert commands.json("admin", "users", "roles", str(one), "--add", "support")["roles"] == ["customer", "support"]
    listed = commands.json("admin", "users", "list", "--account", account)
    assert [(user["id"], user["role"], user["roles"], user["removed_at"]) for user in listed] == [
        (str(two), "owner", ["customer"], None), (str(one), "member", ["customer", "support"], None),
    ]  # fmt: skip
    assert "owner" in commands.run("admin", "users", "list").stdout


def test_an_accounts_currency_is_chosen_once(commands: Commands, account: str) -> None:
    assert "XYZ has no rate" in commands.run("admin", "accounts", "currency", account, "xyz", expect=1).stderr
    commands.run("admin", "accounts", "currency", str(new_id()), "USD", expect=1)
    file = commands.folder / "rates.csv"
    file.write_text("country,amount,currency\n*,0.05,EUR\n")
    assert commands.run("admin", "rates", "import", str(file)).stdout.startswith("1 rate added, ")
    assert "Acme is billed in EUR" in commands.run("admin", "accounts", "currency", account, "eur").stdout
    assert "billed in EUR already" in commands.run("admin", "accounts", "currency", account, "USD", expect=1).stderr
    entries = commands.json("admin", "audit", "list", "--account", account)
    assert [entry["action"] for entry in entries] == ["account.currency_set"]


async def test_a_months_usage_is_recounted(commands: Commands, account: str, database_url: str) -> None:
    verified = commands.json("admin", "usage", "verify", "--period", "2026-10", "--account", account)
    assert (verified["messages"], verified["differences"], verified["found"]) == (0, 0, [])
    said = commands.run("admin", "usage", "verify", "--period", "2026-10").stdout
    assert said == "0 messages and 0 charges of 2026-10: 0 differences\n"
    assert "not a month" in commands.run("admin", "usage", "verify", "--period", "october", expect=2).stderr
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO billing.usage_quarters VALUES ($1, '2026-10-01T12:00:00Z', 'AF', 'sent', 1, 2, 90000)",
        UUID(account),
    )
    await connection.close()
    said = commands.run("admin", "usage", "verify", "--period", "2026-10", expect=1).stdout
    assert "0 messages and 0 charges of 2026-10: 2 differences" in said
    assert "1 messages, 2 segments, 0.0900" in said
    assert "In all: 1 outcome, 1 usage" in said


def test_an_account_gets_a_plan(commands: Commands, account: str) -> None:
    made = commands.json(
        "admin", "plans", "set", "pro", "--base-fee", "25.00", "--included", "1000", "--minimum", "50",
        "--tier", "10000=5", "--tier", "50000=12.5", "--billed-on", "delivered",
    )  # fmt: skip
    assert made == {
        "name": "pro", "from": made["from"], "currency": "USD", "base_fee": "25.00", "included_segments": 1000,
        "tiers": ["10000=5%", "50000=12.5%"], "minimum": "50.00", "billed_on": "delivered", "payment": "postpaid",
    }  # fmt: skip
    for wrong in (
        ["--tier", "many=5"], ["--tier", "10=5.00001"], ["--tier", "10=5", "--no-tiers"], ["--base-fee", "much"],
        ["--base-fee", "-1"], ["--minimum", "1e999"], ["--minimum", "1" * 13], ["--currency", "xyz"],
    ):  # fmt: skip
        assert commands.run("admin", "plans", "set", "pro", *wrong, expect=1).stderr.startswith("ghasi: ")
    assert commands.json("admin", "plans", "set", "pro", "--no-tiers", "--from", "2090-02")["tiers"] == []
    assert commands.json("admin", "plans", "list") == [made]
    said = commands.run("admin", "accounts", "plan", account, "pro").stdout
    assert said == f"Acme has pro from {made['from']} on\n"
    shown = commands.json("admin", "plans", "show", "pro")
    assert [one["from"] for one in shown["terms"]] == [made["from"], "2090-02"]
    assert shown["accounts"] == [account]
    assert account in commands.run("admin", "plans", "show", "pro").stdout
    off = commands.json("admin", "accounts", "plan", account, "none", "--from", "2090-01")
    assert off == {"id": account, "plan": None, "from": "2090-01"}
    assert "no plan 'max'" in commands.run("admin", "accounts", "plan", account, "max", expect=1).stderr
    commands.run("admin", "accounts", "plan", str(new_id()), "pro", expect=1)
    assert "no plan 'max'" in commands.run("admin", "plans", "show", "max", expect=1).stderr


@pytest.mark.parametrize(("number", "said"), [(0, "0 invoices"), (1, "1 invoice"), (2, "2 invoices")])
def test_things_are_counted(number: int, said: str) -> None:
    assert count(number, "invoice") == said


@pytest.fixture
async def endpoints(database_url: str, account: str) -> dict[str, str]:
    """One endpoint that is well, one that fails, one that was disabled for it, and one deleted; by name."""
    connection = await asyncpg.connect(database_url)
    made = {name: str(new_id()) for name in ("well", "failing", "disabled", "deleted")}
    for name, identifier in made.items():
        owner = str(new_id()) if name == "well" else account
        await connection.execute(
            """
            INSERT INTO webhooks.endpoints
                (id, account_id, url, events, enabled, disabled_reason, secret, failing_since, created_at, updated_at,
                    deleted_at)
            VALUES ($1, $2, 'https://example.com/' || $3::text || '?token=hidden', '{*}', $3 <> 'disabled',
                CASE $3 WHEN 'disabled' THEN 'failing' END, '', CASE WHEN $3 <> 'well' THEN now() END, now(), now(),
                CASE $3 WHEN 'deleted' THEN now() END)
            """,
            identifier,
            owner,
            name,
        )
    await connection.close()
    return made


def test_endpoints_are_listed_and_enabled_again(commands: Commands, account: str, endpoints: dict[str, str]) -> None:
    def listed(*flags: str) -> dict[str, str]:
        rows = commands.json("admin", "webhooks", "list", *flags)
        return {row["url"].rpartition("/")[2]: row["state"] for row in rows}

    assert listed() == {"disabled": "disabled: failing", "failing": "failing", "well": "enabled"}
    assert listed("--failing") == {"disabled": "disabled: failing", "failing": "failing"}
    assert list(listed("--account", account, "--limit", "1")) == ["disabled"]
    table = commands.run("admin", "webhooks", "list", "--failing").stdout
    assert all(word in table for word in ("https://example.com/failing", "disabled: failing", "failing since", account))
    assert "hidden" not in table
    said = commands.run("admin", "webhooks", "enable", endpoints["disabled"], "--operator", "ann").stdout
    assert said == f"https://example.com/disabled of account {account} is enabled\n"
    assert listed("--failing") == {"failing": "failing"}
    again = commands.json("admin", "webhooks", "enable", endpoints["disabled"])
    assert (again["enabled"], again["disabled_reason"], again["failing_since"]) == (True, None, None)
    (entry,) = commands.json("admin", "audit", "list", "--account", account)
    assert (entry["actor"], entry["action"], entry["subject"]) == (
        "operator:ann", "webhook.enabled", endpoints["disabled"],
    )  # fmt: skip
    for identifier in (endpoints["deleted"], str(new_id())):
        assert "no endpoint" in commands.run("admin", "webhooks", "enable", identifier, expect=1).stderr


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
        done = elsewhere.run("admin", "accounts", "list")
        assert (done.returncode, done.stdout) == (0, "none\n"), done.stderr
        assert stat.S_IMODE((elsewhere.data / "postgres.log").stat().st_mode) == 0o600
        assert (elsewhere.data / "postgres.log").stat().st_uid == (elsewhere.data / "postgres").stat().st_uid
        done = elsewhere.run("admin", "keys", "rotate")
        assert done.returncode == 2
        assert "GHASI_SECRET_KEY is not set" in done.stderr
        assert elsewhere.processes() == []


def test_the_contract_and_the_version_are_printed(commands: Commands) -> None:
    assert "/v1/messages" in commands.run("contract", "show").stdout
    assert json.loads(commands.run("contract", "openapi").stdout)["openapi"].startswith("3.1")
    assert commands.run("contract", "docs").stdout.startswith("<!-- Emitted")
    assert commands.run("--version").stdout == commands.run("version").stdout != ""
    assert "child" not in commands.run("--help").stdout


@pytest.mark.parametrize("group", [(), ("admin",), ("admin", "accounts")])
def test_each_command_says_what_it_is_for(commands: Commands, group: tuple[str, ...]) -> None:
    said = commands.run(*group, "--help").stdout
    entries = re.findall(r"^│ ([a-z][a-z-]*) +(.*?) *│$", said, re.MULTILINE)
    assert len(entries) > 5
    assert [name for name, text in entries if not text] == []
