"""`ghasi admin events` as an operator types it and reads it."""

import pytest

from ghasi.storage.pool import Pool
from tests.engines import Engine
from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures
from tests.storage.events.conftest import append, event


async def test_who_reads_whom_is_listed_and_reading_again_is_written_down(commands: Commands, pool: Pool) -> None:  # noqa: F811
    await append(pool, event(), event())
    listed = commands.json("admin", "events", "list")
    assert [(one["source"], one["consumer"]) for one in listed] == [
        ("auth", "messages"), ("auth", "billing"), ("messages", "webhooks"), ("messages", "billing"),
        ("billing", "messages"), ("billing", "webhooks"),
    ]  # fmt: skip
    waiting = {(one["source"], one["consumer"]): one["behind"] for one in listed}
    assert (waiting["messages", "billing"], waiting["auth", "billing"]) == (2, 0)
    assert {one["carried_by"] for one in listed} == {"PostgreSQL"}
    assert all(len(line) <= 120 for line in commands.run("admin", "events", "list").stdout.splitlines())
    said = commands.run("admin", "events", "replay", "messages", "billing", "--since", "2026-11-01T08:00").stdout
    assert said == "billing reads messages again since 2026-11-01 08:00:00\n"
    (entry,) = commands.json("admin", "audit", "list", "--limit", "1")
    assert (entry["action"], entry["subject"]) == ("events.replayed", "messages/billing")
    refused = commands.run("admin", "events", "replay", "auth", "webhooks", "--since", "2026-11-01", expect=2)
    assert "webhooks does not read auth" in refused.stderr
    assert "no time" in commands.run("admin", "events", "replay", "auth", "billing", "--since", "x", expect=2).stderr
    commands.run("admin", "events", "replay", "messages", "billing", expect=2)


@pytest.mark.parametrize("away", [False, True])
async def test_with_nats_relays_are_listed_too(commands: Commands, nats: Engine, away: bool) -> None:  # noqa: F811
    url = "nats://127.0.0.1:1" if away else nats.url
    commands.environment["GHASI_NATS_URL"] = url
    listed = commands.json("admin", "events", "list")
    assert [one["consumer"] for one in listed if one["source"] == "messages"] == ["relay", "webhooks", "billing"]
    assert {one["carried_by"] for one in listed} == {"NATS"}
    assert {one["behind"] for one in listed if one["consumer"] != "relay"} == {None}  # no stream has been made
