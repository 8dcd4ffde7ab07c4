"""carriers.toml: what it may say, and how it is told what it may not."""

import re
from pathlib import Path

import pytest

from ghasi.carriers.configuration import (
    CarrierConfigurationError,
    CarriersFile,
    check,
    open_carrier,
    read_carriers_file,
    simulator_configuration,
)
from ghasi.carriers.http.client import HttpCarrier
from ghasi.carriers.http.configuration import HttpConfiguration
from ghasi.carriers.smpp.client import SmppCarrier
from ghasi.carriers.smpp.configuration import SmppConfiguration
from tests.carriers.test_routing import UP, asked

GOOD = """[[carrier]]
name = "one"
kind = "smpp"
host = "smsc.example"
port = 2775
system_id = "me"
password = "hunter2"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "carriers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_every_key(tmp_path: Path) -> None:
    (tmp_path / "authority.pem").touch()
    more = (
        'window = 5\nthroughput_per_s = 30\ntls = true\ntls_ca_file = "authority.pem"\nsystem_type = "VMA"\n'
        'default_sender = "Ghasi"\non_unknown_submit = "unknown"\n'
    )
    one, two = read_carriers_file(written(tmp_path, GOOD + GOOD.replace('"one"', '"two"') + more)).carriers
    assert isinstance(one, SmppConfiguration)
    assert isinstance(two, SmppConfiguration)
    assert (one.window, one.throughput_per_s, one.tls, one.default_sender, one.on_unknown_submit) == (
        50, None, False, None, "resend",
    )  # fmt: skip
    assert (two.window, two.throughput_per_s, two.tls, two.system_type, two.default_sender, two.on_unknown_submit) == (
        5, 30, True, "VMA", "Ghasi", "unknown",
    )  # fmt: skip
    assert two.tls_ca_file == str(tmp_path / "authority.pem")
    carriers = [open_carrier(one), open_carrier(two)]
    assert [carrier.name for carrier in carriers] == ["one", "two"]
    assert [carrier.on_unknown_submit for carrier in carriers] == ["resend", "unknown"]
    assert carriers[0].state().detail == "not started"


@pytest.mark.parametrize(
    ("text", "carrier", "key"),
    [
        (GOOD.replace("2775", "0"), "'one'", "`port`"),
        (GOOD.replace("2775", '"2775"'), "'one'", "`port`"),
        (GOOD + "windows = 3\n", "'one'", "`windows`: unknown key"),
        (GOOD + "window = 0\n", "'one'", "`window`"),
        (GOOD + 'window = "many"\n', "'one'", "`window`"),
        (GOOD + "throughput_per_s = 0\n", "'one'", "`throughput_per_s`"),
        (GOOD + 'on_unknown_submit = "pray"\n', "'one'", "`on_unknown_submit`"),
        (GOOD + 'tls = "yes"\n', "'one'", "`tls`"),
        (GOOD + 'tls_ca_file = "a.pem"\n', "'one'", "`tls_ca_file`"),
        (GOOD + 'tls = true\ntls_ca_file = "missing.pem"\n', "'one'", "`tls_ca_file`"),
        (GOOD + 'default_sender = "twelve chars"\n', "'one'", "`default_sender`"),
        (GOOD + 'default_sender = ""\n', "'one'", "`default_sender`"),
        (GOOD.replace('"smpp"', '"telex"'), "'one'", "`kind`"),
        (GOOD.replace('"one"', '"o ne"'), "'o ne'", "`name`"),
        (GOOD.replace('name = "one"\n', ""), "carrier 1", "`name`: is missing"),
        (GOOD + GOOD.replace('"one"', '"two"').replace('host = "smsc.example"\n', ""), "'two'", "`host`: is missing"),
        (GOOD.replace('"hunter2"', '"hunter2é"'), "'one'", "`password`"),
        (GOOD + GOOD, "'one'", "`name`: is there twice"),
    ],
)
def test_an_error_names_file_carrier_and_key_and_no_password(tmp_path: Path, text: str, carrier: str, key: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CarrierConfigurationError) as caught:
        read_carriers_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert carrier in message
    assert key in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "names no carrier"),
        ("carrier = 3\n", "names no carrier"),
        ("carrier = [3]\n", "carrier 1"),
        ('[carrier]\nname = "one"\n', "names no carrier"),
        ("[[carriers]]\n", "unknown key `carriers`"),
        ("[[carrier]\n", "is not TOML"),
    ],
)
def test_a_file_of_another_form(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(CarrierConfigurationError, match=what):
        read_carriers_file(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CarrierConfigurationError, match="can't be read: No such file"):
        read_carriers_file(tmp_path / "none.toml")
    with pytest.raises(CarrierConfigurationError, match="can't be read: Is a directory"):
        read_carriers_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(CarrierConfigurationError, match="is not UTF-8"):
        read_carriers_file(tmp_path / "latin.toml")


def test_the_simulators_carrier() -> None:
    carrier = open_carrier(simulator_configuration("127.0.0.1", 2775))
    assert (carrier.name, carrier.state().kind, carrier.on_unknown_submit) == ("simulator", "smpp", "resend")
    assert carrier.capacity() == 0
    alone = CarriersFile([simulator_configuration("127.0.0.1", 2775)])
    assert alone.routing.decide(asked(), UP).candidates == ("simulator",)
    assert alone.notes() == []


HTTP = """[[carrier]]
name = "web"
kind = "http"
url = "https://api.example/sms"
bearer = "hunter2hunter2"
body = { to = "{to}", text = "{text}" }
"""


def test_each_kind_is_read_by_its_own_form_and_opens_its_own_carrier(tmp_path: Path) -> None:
    file = read_carriers_file(written(tmp_path, GOOD + HTTP))
    assert [type(one) for one in file.carriers] == [SmppConfiguration, HttpConfiguration]
    assert [type(open_carrier(one)) for one in file.carriers] == [SmppCarrier, HttpCarrier]
    assert file.routing.decide(asked(), UP).candidates == ("one", "web")


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (GOOD + HTTP + 'host = "x"\n', "carrier 'web'", "`host`: unknown key; known are name, kind, url"),
        (GOOD.replace('kind = "smpp"\n', ""), "carrier 'one'", "`kind`: is missing; it is smpp or http"),
        (GOOD.replace('"smpp"', '["smpp"]'), "carrier 'one'", "`kind`: is unknown"),
        (HTTP + '[carrier.answer]\nids = "/id"\n', "carrier 'web'", "`answer.ids`: unknown key; known are id, status"),
        (HTTP + '[carrier.answer]\nid = "id"\n', "carrier 'web'", "`answer.id`: "),
        (HTTP + 'tls_ca_file = "none.pem"\n', "carrier 'web'", "`tls_ca_file`: there is no file"),
        (GOOD + "[route]\n", "carriers.toml", "`route`: is no list"),
        (GOOD + "[[route]]\n", "route 1", "`name`: is missing"),
        (GOOD + '[[route]]\nname = "r"\n', "route 'r'", "`to`: is missing"),
        (GOOD + '[[route]]\nname = "r"\nto = "two"\n', "route 'r'", "`to`: there is no carrier 'two'"),
        (GOOD + '[[route]]\nname = "r"\nfrom = "x"\n', "route 'r'", "`from`: unknown key; known are name, countries"),
        (
            GOOD + '[[route]]\nname = "r"\nto = "one"\nprefixes = ["+93x"]\n',
            "route 'r'",
            "`prefixes[0]`: must be digits such as 9370",
        ),
        (
            GOOD + '[[route]]\nname = "r"\nto = "one"\nhours = "8-20"\n',
            "route 'r'",
            "`hours`: must be a span such as 08:00-20:00",
        ),
        (
            GOOD + '[[route]]\nname = "r"\nto = "one"\ndays = ["monday"]\n',
            "route 'r'",
            "`days[0]`: must be a day such as mon",
        ),
        (
            GOOD + '[[route]]\nname = "r"\nto = "one"\naccounts = ["x"]\n',
            "route 'r'",
            "`accounts[0]`: must be an account's id",
        ),
        (GOOD + '[[route]]\nname = "r"\nto = "one"\nbody = "("\n', "route 'r'", "`body`: missing )"),
        (GOOD + '[[route]]\nname = "r"\nto = "one"\n' * 2, "route 'r'", "`name`: is there twice"),
        (GOOD + "costs = 3\n", "carrier 'one'", "`costs`: unknown key"),
        ("costs = 3\n" + GOOD, "carriers.toml", "`costs`: is no table"),
        (GOOD + '[costs.two]\nAF = "1"\n', "costs of 'two'", "no such carrier; there are one"),
        (GOOD + "[costs.one]\nAF = 0.021\n", "costs of 'one'", "decimal strings"),
        (GOOD + '[costs.one]\nAF = "-1"\n', "costs of 'one'", "`AF`: must be a decimal string"),
        (GOOD + '[costs.one]\nAFG = "1"\n', "costs of 'one'", "`AFG`: is neither a prefix"),
        (GOOD + '[costs.one]\nUK = "1"\n', "costs of 'one'", "`UK`: is neither a prefix"),
        (GOOD + '[costs.one]\n93 = "1"\n"+93" = "1"\n', "costs of 'one'", "`+93`: is there twice"),
    ],
)
def test_an_error_names_carrier_or_route_and_key(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CarrierConfigurationError) as caught:
        read_carriers_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert where in message
    assert what in message
    assert "hunter2" not in message


def test_notes_tell_what_is_likely_a_mistake(tmp_path: Path) -> None:
    web = GOOD + HTTP
    assert check(written(tmp_path, web)) == []
    assert check(written(tmp_path, web + '[[route]]\nname = "r"\nto = ["one", "web"]\n')) == []
    assert check(written(tmp_path, web + '[[route]]\nname = "r"\nto = "one"\ncountries = ["AF"]\n')) == [
        "carrier 'web' is in no route",
        "no last route without conditions: a message that no route matches fails with no_route",
    ]
    every = '[[route]]\nname = "all"\nto = "one"\n[[route]]\nname = "late"\nto = "web"\n'
    assert check(written(tmp_path, web + every)) == [
        "route 'late' is never reached: 'all' before it takes every message"
    ]


PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_of_the_page_on_routing_are_valid(tmp_path: Path) -> None:
    whole, *parts = EXAMPLES
    assert check(written(tmp_path, whole)) == []
    carriers = whole[: whole.index("[[route]]")]
    assert len(parts) == 2
    for part in parts:
        assert read_carriers_file(written(tmp_path, carriers + part)).routes


def test_the_examples_of_the_page_on_carriers_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "carriers.md").read_text(encoding="utf-8")
    examples = [found for found in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[carrier]]" in found]
    for example in examples:
        for name in re.findall(r'tls_\w+_file = "(.*?)"', example):
            (tmp_path / name).touch()
    names = [one.name for example in examples for one in read_carriers_file(written(tmp_path, example)).carriers]
    assert names[:2] == ["north", "east"]


@pytest.mark.parametrize(
    ("given", "rule", "candidates"),
    [
        ({"body": "Win the JACKPOT"}, "no gambling", ()),
        ({}, "afghan networks", ("awcc", "roshan")),
        ({"to": "+93791234567"}, "afghan networks", ("roshan",)),
        ({"to": "+989121234567", "country": "IR"}, "neighbours", ("world", "awcc")),
        ({"to": "+4915112345678", "country": "DE"}, "everything else", ("world", "awcc")),
    ],
)
def test_the_whole_file_of_the_page_leads_where_it_reads(
    tmp_path: Path, given: dict[str, str], rule: str, candidates: tuple[str, ...]
) -> None:
    decision = read_carriers_file(written(tmp_path, EXAMPLES[0])).routing.decide(asked(**given), UP)
    assert (decision.rule, decision.candidates) == (rule, candidates)
