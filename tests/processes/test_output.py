"""How tables look on a terminal: a number or an id is never broken, whatever the width."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence

SHOW = """
import json, sys
from ghasi.commands.output import print_rows
rows = json.loads(sys.argv[1])
print_rows(rows, as_json=False, columns=list(rows[0]))
"""
ACCOUNT = "0199f3a0-0000-7000-8000-000000000001"


def show(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Return the lines that a terminal of a width gets."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", SHOW, json.dumps(rows)]
    process = subprocess.Popen(command, stdout=theirs, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so that the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).splitlines()]


ROW = {"account_id": ACCOUNT, "note": "paid by bank transfer", "amount": "1234567.89", "due_at": "2026-12-12 03:34:45"}


def test_a_wide_terminal_has_a_row_on_a_line() -> None:
    lines = show([ROW], 120)
    assert lines == [
        "account id                            note                   amount      due at",
        f"{ACCOUNT}  paid by bank transfer  1234567.89  2026-12-12 03:34:45",
    ]


def test_a_narrower_one_breaks_between_words_alone() -> None:
    lines = show([ROW], 80)
    assert all(len(line) <= 80 for line in lines)
    assert re.fullmatch(rf"{ACCOUNT}  paid by .*  1234567\.89  2026-12-12.*", lines[1])
    assert {word for line in lines[1:] for word in line.split()} == {
        word for cell in ROW.values() for word in cell.split()
    }


def test_a_narrow_one_has_a_line_for_each_field() -> None:
    assert show([ROW, ROW | {"note": ""}], 60) == [
        f"account id  {ACCOUNT}", "note        paid by bank transfer", "amount      1234567.89",
        "due at      2026-12-12 03:34:45", "",
        f"account id  {ACCOUNT}", "note", "amount      1234567.89", "due at      2026-12-12 03:34:45",
    ]  # fmt: skip
