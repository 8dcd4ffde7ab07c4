"""`ghasi admin routes`: rules and decisions as an operator reads them, with carriers as a worker wrote them down."""

from pathlib import Path

import asyncpg
import pytest

from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures

FILE = """
[[carrier]]
name = "roshan"
kind = "smpp"
host = "127.0.0.1"
port = 2775
system_id = "ghasi"
password = "hunter2"

[[carrier]]
name = "awcc"
kind = "smpp"
host = "127.0.0.1"
port = 2776
system_id = "ghasi"
password = "hunter2"

[costs.roshan]
"9370" = "0.0210"

[[route]]
name = "night"
hours = "22:00-06:00"
time_zone = "Asia/Kabul"
to = "awcc"

[[route]]
name = "networks"
prefixes = { "9370" = ["roshan", "awcc"], "9371" = "awcc" }
min_delivery_rate = 0.5

[[route]]
name = "none else"
reject = true
"""


@pytest.fixture
async def told(database_url: str) -> None:
    """What a worker would have written: roshan is up and full, awcc is away."""
    connection = await asyncpg.connect(database_url)
    for position, (name, bound) in enumerate((("roshan", True), ("awcc", False))):
        await connection.execute(
            "INSERT INTO messages.carriers (name, kind, position) VALUES ($1, 'smpp', $2)", name, position
        )
        await connection.execute(
            """
            INSERT INTO messages.carrier_states (name, process, mode, bound, links, links_wanted, window_size,
                outstanding, waiting, submitted_per_s, refused_per_s, receipts_per_s, detail, seen_at)
            VALUES ($1, 'here', 'active', $2, 1, 1, 50, $3, 0, 0, 0, 0, $4, now() + interval '1 hour')
            """,
            name,
            bound,
            50 if bound else 0,
            "bound" if bound else "connection refused",
        )
    await connection.execute(
        "INSERT INTO messages.quality VALUES (date_trunc('hour', now()), 'roshan', 'AF', 200, 190, 570)"
    )
    await connection.close()


@pytest.mark.usefixtures("told")
def test_a_decision_is_explained_rule_by_rule_with_the_carriers_as_they_are(
    commands: Commands,  # noqa: F811 - the fixture
) -> None:
    file = commands.folder / "carriers.toml"
    file.write_text(FILE)
    test = ("admin", "routes", "test", "--file", str(file), "--at", "2026-11-23T08:00:00Z")
    shown = commands.run(*test, "+93701234567", "--from", "Ghasi").stdout
    assert "hours: wants 22:00-06:00 Asia/Kabul, has Mon 12:30 Asia/Kabul" in shown
    assert "prefixes: 9370" in shown
    assert "up, 50/50" in shown
    assert "95.0% of 200" in shown
    assert "away: connection refused" in shown
    assert "roshan has no room: the message waits for it." in shown
    assert "none else" not in shown
    said = commands.json(*test, "+93701234567")
    assert (said["rule"], said["country"], said["taken_by"]) == ("networks", "AF", None)
    first, second = said["candidates"]
    assert (first["carrier"], first["usable"], first["cost"], first["fault"]) == ("roshan", True, "0.0210", None)
    assert first["quality"] == {"messages": 200, "delivery_rate": 0.95, "latency_s": 3.0}
    assert (second["carrier"], second["usable"], second["cost"]) == ("awcc", False, None)
    assert [(rule["rule"], rule["matched"]) for rule in said["rules"]] == [("night", False), ("networks", True)]
    away = commands.run(*test, "+93711234567").stdout
    assert "No carrier is up: the message waits for awcc." in away
    assert "the message fails with not_permitted" in commands.run(*test, "+989121234567").stdout
    late = commands.json(*test[:-1], "2026-11-23T23:30:00+04:30", "+93701234567")
    assert late["rule"] == "night"


@pytest.mark.usefixtures("told")
def test_without_a_file_the_carriers_that_workers_have_are_taken_in_order(
    commands: Commands,  # noqa: F811 - the fixture
) -> None:
    said = commands.json("admin", "routes", "test", "+93701234567")
    assert (said["rule"], said["overflow"]) == (None, True)
    assert [one["carrier"] for one in said["candidates"]] == ["roshan", "awcc"]
    assert "there is no [[route]]" in commands.run("admin", "routes", "test", "+93701234567").stdout
    assert "roshan, awcc" in commands.run("admin", "routes", "list").stdout


def test_where_no_carrier_is_known_that_is_said(commands: Commands) -> None:  # noqa: F811 - the fixture
    assert "There is no carrier" in commands.run("admin", "routes", "test", "+93701234567", expect=1).stderr


def test_the_rules_are_listed_and_what_is_wrong_is_said(
    commands: Commands,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    file = tmp_path / "carriers.toml"
    file.write_text(FILE)
    rows = commands.json("admin", "routes", "list", "--file", str(file))
    assert [row["name"] for row in rows] == ["night", "networks", "none else"]
    assert rows[1]["prefixes"] == {"9370": ["roshan", "awcc"], "9371": "awcc"}
    shown = commands.run("admin", "routes", "list", "--file", str(file)).stdout
    assert "hours 22:00-06:00; time_zone Asia/Kabul" in shown
    assert "prefixes 2 in a table" in shown
    assert "rejected" in shown
    test = ("admin", "routes", "test", "--file", str(file))
    assert "no_route" not in commands.run(*test, "+93701234567").stdout
    for wrong, word in (
        (("0701234567",), "E.164"),
        (("+93701234567", "--at", "noon"), "--at"),
        (("+93701234567", "--at", "2026-11-23T08:00:00"), "offset"),
        (("+93701234567", "--from", "far too long a name"), "from"),
    ):
        assert word in commands.run(*test, *wrong, expect=2).stderr
    file.write_text(FILE.replace('to = "awcc"', 'to = "etisalat"'))
    refused = commands.run("admin", "routes", "list", "--file", str(file), expect=2).stderr
    assert "route 'night': `to`: there is no carrier 'etisalat'" in refused
