"""`ghasi simulator` as it is typed: what it prints, how it ends, and what it says to options that make no sense."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghasi.carriers.simulator import Simulator
from ghasi.commands.application import run
from ghasi.commands.simulator import parse_outcomes, parse_refusals
from ghasi.commands.simulator_status import StatusLine, summarize
from tests.carriers.smsc import eventually
from tests.carriers.test_simulator import BIND_TRANSMITTER, bind, submit

GHASI = [sys.executable, "-m", "ghasi"]


@pytest.fixture
def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")} | {"COLUMNS": "200"}


async def start(*options: str, environment: dict[str, str]) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        *GHASI, "simulator", "--port", "0", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"SMSC listening on 127\.0\.0\.1:(\d+), Ctrl-C ends it\n", line)
    assert found, line
    return process, int(found[1])


async def test_it_listens_counts_and_ends_when_told(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    process, port = await start("--password", "any", "--receipts", "none", environment=environment)
    link = await bind(port)
    assert (await submit(link))[0] == 0
    assert (await submit(link, sequence=3))[0] == 0
    assert (await submit(link, b"93701230003"))[0] == 0x0B
    send = ["simulator", "send", "--port", str(port), "--from", "+93701234567", "--to", "12345"]
    for text, more, said in (
        ("STOP", ["--password", "any"], "sent from +93701234567 to 12345 in 1 part\n"),
        ("long " * 80, ["--password", "any", "--lose", "1", "--shuffle"], "in 2 parts, 1 left out\n"),
    ):
        assert await asyncio.to_thread(run, [*send, text, *more]) == 0
        assert capsys.readouterr().out.endswith(said)
    bodies = [(await link.read())[3] for _ in range(3)]
    assert b"STOP" in bodies[0]
    assert all(
        re.search(rb"\x05\x00\x03.\x03[\x01-\x03]long|\x05\x00\x03.\x03[\x01-\x03]", body) for body in bodies[1:]
    )
    assert await asyncio.to_thread(run, [*send, "STOP"]) == 1
    assert capsys.readouterr().err == "ghasi: the bind as subscriber was refused: ESME_RINVPASWD\n"
    link.writer.close()
    process.send_signal(signal.SIGTERM)
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert output.decode() == (
        "3 submits: 2 taken, 1 refused (ESME_RINVDSTADR 1), 0 never answered\n"
        "0 receipts acknowledged, 3 pending\n"
        "1 submit repeated the number and the text of an earlier one\n"
        "3 messages from phones, acknowledged 0 times\n"
    )


async def test_quiet_is_quiet(environment: dict[str, str]) -> None:
    process, _ = await start("--quiet", environment=environment)
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


async def test_in_a_terminal_one_line_is_renewed(terminal: tuple[int, int], environment: dict[str, str]) -> None:
    ours, theirs = terminal
    process = subprocess.Popen(
        [*GHASI, "simulator", "--port", "0"], stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"TERM": "xterm"}, start_new_session=True,
    )  # fmt: skip
    try:
        seen = b""
        os.set_blocking(ours, False)
        link = None

        def look(wanted: bytes) -> bool:
            nonlocal seen
            with contextlib.suppress(BlockingIOError):
                seen += os.read(ours, 65_536)
            return wanted in seen

        await eventually(lambda: look(b"no\x1b[0m \x1b[2mlinks"), within_s=30)
        found = re.search(rb"127\.0\.0\.1:(\d+)", seen)
        assert found
        link = await bind(int(found[1]), BIND_TRANSMITTER)
        await eventually(lambda: look(b"1 link\x1b[0m \x1b[2m(bare)"))
        assert (await submit(link))[0] == 0
        await eventually(lambda: look(b"\x1b[1m1\x1b[0m \x1b[2msubmits\x1b[0m"))
        assert seen.count(b"\n") == 1  # nothing scrolls
        link.writer.close()
        process.send_signal(signal.SIGINT)
        await eventually(lambda: look(b"\r\x1b[K1 submit: 1 taken, 0 refused, 0 never answered\r\n"))
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def test_a_narrow_terminal_has_the_most_telling_figures() -> None:
    simulator = Simulator()
    line = StatusLine(simulator)
    for columns in (10, 30, 60, 200):
        plain = re.sub(r"\x1b\[\d*[mK]", "", line.line(1.0, columns))
        assert len(plain) <= columns
    assert plain == "0 submits/s · no links · 0 submits · 0 outstanding · 0 receipts pending · 0 acknowledged"
    simulator.received, simulator.lost = 3_000, 12
    assert "500 submits/s" in re.sub(r"\x1b\[\d*[mK]", "", line.line(7.0, 200))
    assert "3,000 submits: 0 taken" in summarize(simulator)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--outcomes", "lost=1"], ["--outcomes", "'lost'", "undelivered"]),
        (["--outcomes", "delivered"], ["--outcomes", "NAME=NUMBER"]),
        (["--outcomes", "delivered=0"], ["--outcomes", "above 0"]),
        (["--refuse", "0x0B=60,0x58=41"], ["--refuse", "more than 100"]),
        (["--refuse", "much=1"], ["--refuse", "'much'"]),
        (["--refuse", "0=1"], ["--refuse", "0 is not"]),
        (["--loss", "101"], ["--loss", "100"]),
        (["--window", "0"], ["--window"]),
        (["--latency-ms", "-1"], ["--latency-ms"]),
        (["--receipts", "voice"], ["--receipts", "tlv"]),
        (["--port", "70000"], ["--port", "65535"]),
        (["--tls-key", "/nowhere"], ["--tls-key", "--tls-cert"]),
        (["--tls-cert", "/nowhere"], ["--tls-cert", "/nowhere"]),
        (["send", "Hello", "--to", "1"], ["--from"]),
        (["send", "Hello", "--to", "1", "--from", "+93701234567", "--tls-ca", "/nowhere"], ["--tls-ca"]),
        (["--loudness", "3"], ["--loudness"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_what_makes_no_sense_is_said_by_its_name(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulator", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ghasi: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str], reserved_port: int, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    assert run(["simulator", "--tls-cert", str(tmp_path / "no.pem")]) == 2
    assert "--tls-cert" in capsys.readouterr().err
    assert run(["simulator", "send", "x", "--from", "+93701234567", "--to", "1", "--port", str(reserved_port)]) == 1
    assert f"no simulator on 127.0.0.1 port {reserved_port} (Connection refused)" in capsys.readouterr().err


def test_mixes_are_read() -> None:
    assert parse_outcomes("delivered=90, undelivered = 5,unknown=0.5") == {
        "delivered": 90, "undelivered": 5, "unknown": 0.5,
    }  # fmt: skip
    assert parse_refusals("0x0B=1,esme_rthrottled=2,20=50") == {0x0B: 0.01, 0x58: 0.02, 20: 0.5}


def test_the_page_names_every_option_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    options = set()
    for command in (["simulator"], ["simulator", "send"]):
        run([*command, "--help"])
        options |= set(re.findall(r"│ \*? *(--[a-z-]+)", capsys.readouterr().out))
    assert len(options) > 25
    assert set(re.findall(r"--[a-z][a-z-]+", page)) - {"--dev"} == options
