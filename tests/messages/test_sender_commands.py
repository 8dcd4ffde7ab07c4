"""`ghasi admin senders` as an operator types it and reads it."""

from uuid import UUID

import asyncpg
import pytest

from ghasi.contract.values import new_id
from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures


@pytest.fixture
async def account(database_url: str) -> UUID:
    connection = await asyncpg.connect(database_url)
    account_id = new_id()
    await connection.execute(
        "INSERT INTO messages.accounts (account_id, status, sequence) VALUES ($1, 'active', 1)", account_id
    )
    await connection.close()
    return account_id


async def test_senders_are_given_listed_and_taken_away(commands: Commands, account: UUID) -> None:  # noqa: F811
    def senders(*arguments: str, expect: int = 0) -> str:
        done = commands.run("admin", "senders", *arguments, expect=expect)
        return done.stdout + done.stderr

    own = str(account)
    assert senders("list") == "none\n"
    assert "any sender" in senders("policy", own)
    assert f"72100 belongs to account {own}" in senders("add", own, "72100", "--default")
    senders("add", own, "+93701000001", "--pool", "--countries", "AF,pk")
    senders("add", own, "Bakery", "--operator", "ann")
    assert "AF, PK" in senders("countries", own, "Bakery", "AF,PK")
    assert "every country" in senders("countries", own, "Bakery", "all")
    listed = commands.json("admin", "senders", "list", "--account", own)
    assert [(one["address"], one["kind"], one["countries"], one["default"], one["pool"]) for one in listed] == [
        ("Bakery", "alphanumeric", None, False, False), ("+93701000001", "number", ["AF", "PK"], False, True),
        ("72100", "short_code", None, True, False),
    ]  # fmt: skip
    assert all(len(line) <= 120 for line in senders("list").splitlines())
    assert commands.json("admin", "senders", "list", "--account", str(new_id())) == []
    for arguments, status, said in (
        (("add", own, "72100"), 2, "has 72100 already"), (("add", own, "+1"), 2, "E.164"),
        (("add", own, "Shop", "--pool"), 2, "Shop is a name"), (("add", own, "Shop", "--countries", "XX"), 2, "XX"),
        (("add", own, "Shop", "--countries", ""), 2, "must name a country"),
        (("countries", own, "Bakery"), 2, "must name a country"),
        (("add", str(new_id()), "72101"), 1, "no account"), (("remove", own, "72101"), 1, "no sender 72101"),
        (("policy", own, "some"), 2, "listed"), (("policy", str(new_id())), 1, "no account"),
    ):  # fmt: skip
        assert said in senders(*arguments, expect=status), arguments
    assert "listed senders only" in senders("policy", own, "listed")
    assert commands.json("admin", "senders", "policy", own) == {"id": own, "policy": "listed"}
    assert "not belong" in senders("remove", own, "72100")
    actions = [entry["action"] for entry in commands.json("admin", "audit", "list", "--account", own)]
    assert actions[:2] == ["sender.removed", "sender.policy_set"]
