"""carriers.toml: what it may say, and how it is told what it may not."""

from pathlib import Path

import pytest

from ghasi.carriers.configuration import (
    CarrierConfigurationError,
    open_carriers,
    open_simulated_carriers,
    read_carriers,
)

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
    one, two = read_carriers(written(tmp_path, GOOD + GOOD.replace('"one"', '"two"') + more))
    assert (one.window, one.throughput_per_s, one.tls, one.default_sender, one.on_unknown_submit) == (
        50, None, False, None, "resend",
    )  # fmt: skip
    assert (two.window, two.throughput_per_s, two.tls, two.system_type, two.default_sender, two.on_unknown_submit) == (
        5, 30, True, "VMA", "Ghasi", "unknown",
    )  # fmt: skip
    assert two.tls_ca_file == str(tmp_path / "authority.pem")
    carriers = open_carriers(tmp_path / "carriers.toml")
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
        open_carriers(path)
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
        read_carriers(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CarrierConfigurationError, match="can't be read: No such file"):
        read_carriers(tmp_path / "none.toml")
    with pytest.raises(CarrierConfigurationError, match="can't be read: Is a directory"):
        read_carriers(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(CarrierConfigurationError, match="is not UTF-8"):
        read_carriers(tmp_path / "latin.toml")


def test_the_simulators_carrier() -> None:
    (carrier,) = open_simulated_carriers("127.0.0.1", 2775)
    assert (carrier.name, carrier.state().kind, carrier.on_unknown_submit) == ("simulator", "smpp", "resend")
    assert carrier.capacity() == 0
