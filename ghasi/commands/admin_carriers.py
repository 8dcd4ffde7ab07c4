"""`ghasi admin carriers`: what carriers do, and telling them to pause, drain or go on."""

import sys
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from ghasi.carriers.configuration import CarrierConfigurationError, read_carriers_file
from ghasi.commands.operator import Operator, OperatorFlags, do
from ghasi.commands.output import count, print_line, print_rows
from ghasi.contract.errors import Problem
from ghasi.messages.dispatch import admin
from ghasi.storage.resources import Resources

carriers = App(name="carriers")

HERE = Operator()


@carriers.default
@carriers.command(name="list")
def list_carriers(*, operator: OperatorFlags = HERE) -> None:
    """List carriers as the workers see them, with what waits for them and how well they deliver; --json has it all."""

    async def read(it: Resources) -> tuple[list[dict[str, Any]], str | None]:
        return await admin.list_carriers(it.pool), await admin.find_file_fault(it.pool)

    found, fault = do(operator, "messages", read)
    columns = ("name", "mode", "links", "out/window", "queue", "sub/s", "ref/s", "rec/s", "dlvrd", "lat s", "detail")
    rows = found if operator.json else [_short(row) for row in found]
    print_rows(rows, as_json=operator.json, columns=columns)
    if fault is not None and not operator.json:
        sys.stderr.write(f"carriers.toml is refused, what runs goes on: {fault}\n")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a carrier in columns that a terminal has room for; what lacks is in the JSON."""
    rate, twice = row["delivery_rate"], row["resubmitted"]
    notes = [row["kind"], row["detail"]]
    notes += [f"{count(holder['binds'], 'bind')} at {holder['process']}" for holder in row["holders"]]
    if twice:
        notes.append(f"{twice} maybe sent twice")
    if row["seen_at"] is not None:
        notes.append(f"seen {row['seen_at']:%H:%M:%S}")
    return {
        "name": row["name"],
        "mode": row["mode"],
        "links": f"{row['links']}/{row['links_wanted']}",
        "out/window": f"{row['outstanding']}/{row['window_size']}",
        "queue": row["queue"],
        "sub/s": _rate(row["submitted_per_s"]),
        "ref/s": _rate(row["refused_per_s"]),
        "rec/s": _rate(row["receipts_per_s"]),
        "dlvrd": None if rate is None else f"{rate * 100:.1f}%",
        "lat s": row["latency_s"],
        "detail": ", ".join(notes),
    }


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"  # noqa: PLR2004 - two digits are enough


@carriers.command(name="pause")
def pause_carrier(name: str, *, operator: OperatorFlags = HERE) -> None:
    """Give a carrier nothing new; it stays connected, and receipts go on."""
    _set_mode(name, "paused", operator, "takes nothing new from now on; receipts go on")


@carriers.command(name="drain")
def drain_carrier(name: str, *, operator: OperatorFlags = HERE) -> None:
    """Give a carrier nothing new, and disconnect it 30 s after its last outstanding answer."""
    _set_mode(name, "draining", operator, "takes nothing new, and disconnects after its last answers and receipts")


@carriers.command(name="resume")
def resume_carrier(name: str, *, operator: OperatorFlags = HERE) -> None:
    """Let a paused or drained carrier take messages again."""
    _set_mode(name, "active", operator, "takes messages again")


def _set_mode(name: str, mode: Literal["active", "paused", "draining"], operator: Operator, said: str) -> None:
    do(operator, "messages", lambda it: admin.set_carrier_mode(it.pool, name, mode, actor=operator.actor))
    print_line(f"{name} {said}", {"name": name, "mode": mode}, as_json=operator.json)


@carriers.command(name="check")
def check_file(file: Path, *, operator: OperatorFlags = HERE) -> None:
    """Check a carriers.toml without using it: what is wrong is named by carrier or route and key."""
    try:
        found = read_carriers_file(file)
    except CarrierConfigurationError as error:
        raise Problem("invalid_request", str(error)) from error
    row = {"file": str(file), "carriers": len(found.carriers), "routes": len(found.routes), "notes": found.notes()}
    good = f"{file} can be used: {count(len(found.carriers), 'carrier')}, {count(len(found.routes), 'route')}"
    print_line("\n".join((good, *(f"note: {note}" for note in found.notes()))), row, as_json=operator.json)
