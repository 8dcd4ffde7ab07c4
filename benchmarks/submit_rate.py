"""`make bench-submit`: PDUs a second, and CPU a PDU, of one bind with a window of 100, beside PyPI's SMPP clients.

python -m benchmarks.submit_rate [--messages 10000] [--rounds 5] [--only ghasi]. The sink and every client run in
processes of their own; rounds take the clients by turns, so that what else the machine does meets all of them alike.
A PDU is one that the client wrote or read: two a message, its submit and the answer, and with receipts four.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import keep, sink
from benchmarks.smpp_clients import CLIENTS, WINDOW

console = Console(width=None if sys.stdout.isatty() else 120)


def measure(name: str, messages: int, *, receipts: bool) -> dict[str, float]:
    """Run one client against a sink of its own."""
    with sink(receipts=receipts) as (port, _):
        arguments = [name, str(port), str(messages), "with" if receipts else "without"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.smpp_clients", *arguments],
            capture_output=True, check=True, timeout=300,
        )  # fmt: skip
    spent = json.loads(done.stdout.splitlines()[-1])
    pdus = messages * (4 if receipts else 2)
    return {
        "pdus_per_s": pdus / spent["seconds"],
        "messages_per_s": messages / spent["seconds"],
        "cpu_us_per_pdu": spent["cpu_s"] * 1e6 / pdus,
        "cpu_us_per_message": spent["cpu_s"] * 1e6 / messages,
    }


def version_of(name: str) -> str | None:
    """Return a client's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure all clients by turns and print medians; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.submit_rate")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(CLIENTS), action="append")
    arguments = parser.parse_args()
    names = {name: known for name in arguments.only or CLIENTS if (known := version_of(name)) is not None}
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    for number in range(arguments.rounds):
        for kind in ("without receipts", "with receipts"):
            for name in list(names):
                try:
                    one = measure(name, arguments.messages, receipts=kind == "with receipts")
                except (subprocess.SubprocessError, IndexError) as error:
                    said = getattr(error, "stderr", None) or b""
                    console.print(f"  {name} does not work here: {said.decode().strip().splitlines()[-1:]}")
                    del names[name]
                    continue
                rows.setdefault(kind, {}).setdefault(name, []).append(one)
                console.print(f"  round {number + 1}, {kind}: {name} {one['pdus_per_s']:,.0f} PDUs/s")
    for kind, clients in rows.items():
        console.print(report(kind, clients, names))
    write(arguments, rows, names)


def median(rows: list[dict[str, float]], figure: str) -> float:
    return statistics.median(row[figure] for row in rows)


def report(kind: str, clients: dict[str, list[dict[str, float]]], names: dict[str, str]) -> Table:
    """Make a table of medians."""
    table = Table("client", "PDUs/s", "messages/s", "CPU us a PDU", "CPU us a message", "CPU x ghasi",
                  title=f"{kind}, window {WINDOW}")  # fmt: skip
    own = median(clients["ghasi"], "cpu_us_per_pdu") if "ghasi" in clients else None
    for name, rounds in clients.items():
        cpu = median(rounds, "cpu_us_per_pdu")
        table.add_row(
            f"{name} {names.get(name, '')}", f"{median(rounds, 'pdus_per_s'):,.0f}",
            f"{median(rounds, 'messages_per_s'):,.0f}", f"{cpu:.1f}", f"{median(rounds, 'cpu_us_per_message'):.1f}",
            f"{cpu / own:.1f}" if own else "",
        )  # fmt: skip
    return table


def write(arguments: argparse.Namespace, rows: dict[str, Any], names: dict[str, str]) -> None:
    figures = {"window": WINDOW, "messages": arguments.messages, "clients": names, "submit_rate": rows}
    console.print(f"raw figures: {keep('submit-rate', **figures)}")


if __name__ == "__main__":
    main()
