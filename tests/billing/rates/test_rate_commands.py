"""`ghasi admin rates` as an operator types it and reads it."""

from uuid import UUID

from ghasi.contract.values import new_id
from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures

ACCOUNT = UUID("0199f3a0-0000-7000-8000-000000000001")
DECK = f"""country,prefix,amount,sender_kind,account,tiers
AF,,0.0300,,,
AF,9370,0.0265,,,1000:0.0250;20000:0.0240
AF,,0.0200,,{ACCOUNT},
DE,,0.0700,name,,
"""


def say(commands: Commands, *arguments: str, expect: int = 0) -> str:  # noqa: F811
    done = commands.run("admin", "rates", *arguments, expect=expect)
    return done.stdout + done.stderr


def write(commands: Commands, name: str, text: str) -> str:  # noqa: F811
    (commands.folder / name).write_text(text)
    return str(commands.folder / name)


def test_a_dry_run_shows_what_would_change_and_changes_nothing(commands: Commands) -> None:  # noqa: F811
    file = write(commands, "deck.csv", DECK)
    assert say(commands, "import", file, "--dry-run").splitlines()[-1] == (
        "4 rates added, 0 raised, 0 lowered, 0 unchanged; nothing was changed"
    )
    assert [rate["country"] for rate in commands.json("admin", "rates", "list")] == ["*"]
    assert say(commands, "import", file) == "4 rates added, 0 raised, 0 lowered, 0 unchanged\n"
    assert say(commands, "import", file) == "0 rates added, 0 raised, 0 lowered, 4 unchanged\n"
    file = write(commands, "next.csv", DECK.replace("0.0300", "0.0310").replace("0.0265", "0.0255") + "FR,,0.05,,,\n")
    lines = say(commands, "import", file, "--dry-run").splitlines()
    assert lines[0].split() == [
        "change", "line", "currency", "country", "prefix", "sender", "kind", "account", "valid", "from", "before",
        "price",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["lowered", "3"], ["raised", "2"], ["added", "6"], ["unchanged", "4"], ["unchanged", "5"],
    ]  # fmt: skip
    before, price = lines[1].split()[-2:]
    assert (before, price) == ("0.0265;1000:0.0250;20000:0.0240", "0.0255;1000:0.0250;20000:0.0240")
    assert lines[3].split()[-2:] == ["(0.0450)", "0.0500"], "in brackets, what held in its place"
    assert lines[-1] == "1 rate added, 1 raised, 1 lowered, 2 unchanged; nothing was changed"
    assert say(commands, "import", file, "--dry-run", "--limit", "2").splitlines()[-2] == "... and 3 more"
    tried = commands.json("admin", "rates", "import", file, "--dry-run")
    assert (tried["raised"], len(tried["changes"]), tried["changes"][1]["before"]) == (1, 5, "0.0300")
    assert commands.json("admin", "rates", "import", file)["lowered"] == 1
    file = write(commands, "wrong.csv", "country,amount\nXX,1\nAF,x\n")
    for flags in ((), ("--dry-run",)):
        assert "line 2: 'XX'" in (said := say(commands, "import", file, *flags, expect=1))
        assert "line 3: 'x'" in said


def test_rates_are_listed_by_what_they_are_for(commands: Commands) -> None:  # noqa: F811
    file = write(commands, "deck.csv", DECK)
    say(commands, "import", file)
    say(commands, "import", write(commands, "dearer.csv", "country,amount,valid_from\nAF,0.09,2099-01-01\n"))

    def listed(*flags: str) -> list[tuple[str, str, str]]:
        rows = commands.json("admin", "rates", "list", *flags)
        return [(row["country"], row["prefix"], row["price"]) for row in rows]

    assert listed() == [
        ("*", "", "0.0450"), ("AF", "", "0.0300"), ("AF", "", "0.0200"), ("AF", "9370", "0.0265"), ("DE", "", "0.0700"),
    ]  # fmt: skip
    assert listed("--country", "af", "--at", "2099-01-02")[0] == ("AF", "", "0.0900")
    assert listed("--country", "af", "--history") == [
        ("AF", "", "0.0300"), ("AF", "", "0.0900"), ("AF", "", "0.0200"), ("AF", "9370", "0.0265"),
    ]  # fmt: skip
    assert listed("--prefix", "+93") == [("AF", "9370", "0.0265")]
    assert listed("--account", str(ACCOUNT)) == [("AF", "", "0.0200")]
    assert listed("--plan", "gold") == listed("--currency", "eur") == []
    assert say(commands, "list", "--country", "DE").split()[:7] == [
        "currency", "country", "sender", "kind", "price", "valid", "from",
    ]  # fmt: skip
    assert "... and 4 more" in say(commands, "list", "--limit", "1")
    for flags in (("--at", "soon"), ("--prefix", "x")):
        assert flags[0].removeprefix("--") in say(commands, "list", *flags, expect=2)


def test_what_is_exported_imports_again_without_a_change(commands: Commands) -> None:  # noqa: F811
    say(commands, "import", write(commands, "deck.csv", DECK))
    say(commands, "import", write(commands, "later.csv", "country,amount,valid_from\nAF,0.09,2099-01-01\n"))
    for flags, rates in (((), 5), (("--all",), 6), (("--at", "2099-02-01"), 5), (("--country", "AF"), 3)):
        file = write(commands, "export.csv", say(commands, "export", *flags))
        assert say(commands, "import", file) == f"0 rates added, 0 raised, 0 lowered, {rates} unchanged\n"


def test_it_says_which_rate_holds_and_why(commands: Commands) -> None:  # noqa: F811
    say(commands, "import", write(commands, "deck.csv", DECK))
    other = str(new_id())
    said = say(commands, "find", "--account", str(ACCOUNT), "--to", "+93701234567").splitlines()
    assert said[0] == "0.0200 USD a segment: the account's own, country AF"
    assert [line.split()[0] for line in said[2:]] == ["yes", "no", "no", "no"]
    assert say(commands, "find", "--account", other, "--to", "+93701234567").startswith(
        "0.0265 USD a segment: everybody's, numbers that begin with 9370, country AF\n"
    )
    found = commands.json("admin", "rates", "find", "--account", other, "--to", "+4915123456789", "--from", "Bakery")
    assert [(rate["holds"], rate["price"], rate["why"]) for rate in found["rates"]] == [
        (True, "0.0700", "everybody's, country DE, sender is a name"), (False, "0.0450", "everybody's"),
    ]  # fmt: skip
    assert (found["country"], found["sender_kind"], found["currency"]) == ("DE", "name", "USD")
    early = say(commands, "find", "--account", other, "--to", "+4915123456789", "--at", "1970-01-01")
    assert early.startswith("0.0450 USD a segment: everybody's\n")
    inbound = say(commands, "find", "--account", other, "--to", "+4915123456789", "--direction", "inbound")
    assert inbound == "free: no rate holds\n"
    assert "E.164" in say(commands, "find", "--account", other, "--to", "12", expect=2)
