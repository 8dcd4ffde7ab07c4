"""`ghasi admin carriers`: what an operator sees of carriers, and what a worker is told."""

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.messages.carrying import carriers_toml
from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures

MOST_BEFORE_DETAIL = 80


@pytest.fixture
async def told(database_url: str) -> None:
    """What workers would have written: two that live see roshan, one that is gone saw it too; one refuses its file."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """
        INSERT INTO messages.carriers (name, kind, position, submitted, resubmitted, refused, receipts) VALUES
            ('roshan', 'smpp', 0, 1234567, 3, 12, 1234000), ('awcc', 'http', 1, 0, 0, 0, 0);
        INSERT INTO messages.carriers (name, kind, configured) VALUES ('removed', 'smpp', false);
        INSERT INTO messages.dispatch (message_id, due_at, expires_at, held_for)
        SELECT gen_random_uuid(), now() + interval '1 day', now() + interval '1 day', held_for
        FROM (VALUES ('awcc'), ('awcc'), ('roshan awcc +'), (NULL)) AS held (held_for);
        INSERT INTO messages.quality VALUES (date_trunc('hour', now()), 'roshan', 'AF', 200, 190, 570),
                                            (date_trunc('hour', now()) - interval '9 hours', 'roshan', 'AF', 200, 0, 0);
        INSERT INTO messages.carrier_binds VALUES
            ('roshan', 1, 'one:1:a', now() + interval '1 hour', true),
            ('roshan', 2, 'one:1:a', now() + interval '1 hour', false),
            ('roshan', 3, 'two:1:b', now() + interval '1 hour', true), ('roshan', 4, 'dead:1:c', now(), true),
            ('awcc', 1, NULL, now() + interval '1 hour', true);
        INSERT INTO messages.carrier_faults VALUES ('one:1', 'carriers.toml: carrier ''x'': `port`: is missing',
                                                    now() + interval '1 hour')
        """
    )
    for name, process, age in (
        ("roshan", "one:1", timedelta(hours=-1)),
        ("roshan", "two:1", timedelta(hours=-1)),
        ("roshan", "dead:1", timedelta(seconds=11)),
        ("awcc", "one:1", timedelta(hours=-1)),
    ):
        await connection.execute(
            """
            INSERT INTO messages.carrier_states (name, process, mode, bound, links, links_wanted, window_size,
                outstanding, waiting, submitted_per_s, refused_per_s, receipts_per_s, detail, seen_at)
            VALUES ($1, $2, $3, $4, 1, 2, 50, 20, 5, 812.34, 0.5, 800, $5, now() - $6::interval)
            """,
            name,
            process,
            "active" if name == "roshan" else "drained",
            name == "roshan",
            "bound" if name == "roshan" else "no connection to https://sms.example.net: connection refused",
            age,
        )
    await connection.close()


@pytest.mark.usefixtures("told")
def test_the_list_adds_up_what_living_workers_see(commands: Commands) -> None:  # noqa: F811 - a fixture
    roshan, awcc = commands.json("admin", "carriers", "list")
    assert {key: roshan[key] for key in ("name", "kind", "mode", "bound", "links", "links_wanted")} == {
        "name": "roshan", "kind": "smpp", "mode": "active", "bound": True, "links": 2, "links_wanted": 4,
    }  # fmt: skip
    assert (roshan["outstanding"], roshan["window_size"], roshan["workers"]) == (40, 100, 2)
    assert (roshan["queue"], awcc["queue"]) == (11, 8)  # what waits in workers and what lies aside
    assert (roshan["submitted_per_s"], roshan["refused_per_s"]) == (1624.7, 1.0)
    assert (roshan["delivery_rate"], roshan["latency_s"]) == (0.95, 3.0)
    assert (roshan["submitted"], roshan["resubmitted"], roshan["refused"]) == (1_234_567, 3, 12)
    assert (awcc["mode"], awcc["bound"], awcc["delivery_rate"]) == ("drained", False, None)
    assert "`port`" in roshan["file_fault"]
    assert roshan["holders"] == [
        {"process": "one:1:a", "binds": 2, "up": 1}, {"process": "two:1:b", "binds": 1, "up": 1}
    ]  # fmt: skip
    assert awcc["holders"] == []
    assert [row["name"] for row in commands.json("admin", "carriers")] == ["roshan", "awcc"]
    assert 'Unknown command or argument "pase"' in commands.run("admin", "carriers", "pase", "roshan", expect=2).stderr
    done = commands.run("admin", "carriers", "list")
    assert "1625" in done.stdout
    assert "95.0%" in done.stdout
    assert "maybe sent twice" in done.stdout
    assert "2 binds at one:1:a" in " ".join(done.stdout.replace("|", " ").split())
    assert "carriers.toml is refused" in done.stderr
    assert done.stdout.index("detail") <= MOST_BEFORE_DETAIL  # the rest of a terminal is its, folded


@pytest.mark.usefixtures("told")
def test_carriers_are_told_what_to_do_and_it_is_noted(commands: Commands) -> None:  # noqa: F811 - a fixture
    commands.run("admin", "carriers", "pause", "roshan", "--operator", "ann")
    commands.run("admin", "carriers", "pause", "roshan", "--operator", "ann")  # told already
    assert commands.json("admin", "carriers", "drain", "roshan") == {"name": "roshan", "mode": "draining"}
    commands.run("admin", "carriers", "resume", "roshan")
    noted = [row for row in commands.json("admin", "audit", "list") if row["subject"] == "roshan"]
    assert [row["action"] for row in noted] == ["carrier.resumed", "carrier.drained", "carrier.paused"]
    assert (noted[2]["actor"], noted[2]["detail"]) == ("operator:ann", {"before": "active", "mode": "paused"})
    for name in ("removed", "none"):
        done = commands.run("admin", "carriers", "pause", name, expect=1)
        assert "roshan, awcc" in done.stderr


def test_a_file_is_checked_before_it_is_used(commands: Commands, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    file = tmp_path / "carriers.toml"
    file.write_text(carriers_toml('[[route]]\nname = "all"\nto = "a"\n', a=(2775, 10), b=(2776, 10)))
    done = commands.run("admin", "carriers", "check", str(file))
    assert "can be used: 2 carriers, 1 route" in done.stdout
    assert "carrier 'b' is in no route" in done.stdout
    found = commands.json("admin", "carriers", "check", str(file))
    assert (found["carriers"], found["routes"], len(found["notes"])) == (2, 1, 1)
    file.write_text(carriers_toml('[[route]]\nname = "all"\nto = "c"\n', a=(2775, 10)))
    done = commands.run("admin", "carriers", "check", str(file), expect=2)
    assert "route 'all': `to`: there is no carrier 'c'" in done.stderr
    commands.run("admin", "carriers", "check", str(tmp_path / "none.toml"), expect=2)
