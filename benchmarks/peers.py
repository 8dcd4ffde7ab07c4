"""`make bench-peers`: full cycles a second of Ghasi beside Kannel, by turns, on the same SMSC, load and receiver.

python -m benchmarks.peers [--seconds 10] [--connections 64] [--rounds 5]. A full cycle of Ghasi is POST with a JWT,
limits, a durable commit, SMPP submit, receipt, a signed webhook and rated usage; of Kannel it is a GET with a password,
its file store, SMPP submit, receipt and an unsigned GET. Cycles a second are webhooks over the time from the first
request to the last webhook. All of it shares this machine.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from benchmarks.cycle import full_cycle
from benchmarks.kannel import is_installed, kannel
from benchmarks.measuring import beside, cpu_s, cycle_figures, drained, keep, load, median, sink
from tests.ports import reserved_ports

WINDOW = 100
DELIVERED_OR_FAILED = 3
CARRIER = """\
[[carrier]]
name = "sink"
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "bench"
password = "bench"
window = {window}
default_sender = "Ghasi"
"""
console = Console(width=None if sys.stdout.isatty() else 120)


def measure_ghasi(connections: int, seconds: float) -> dict[str, Any]:
    """One run of all of Ghasi, fresh."""
    with sink(receipts=True) as (port, process_id), tempfile.TemporaryDirectory(prefix="ghasi-bench-") as folder:
        Path(folder).chmod(0o711)
        file = Path(folder) / "carriers.toml"
        file.write_text(CARRIER.format(port=port, window=WINDOW))
        before = cpu_s(process_id)
        measured = asyncio.run(full_cycle(connections, seconds, GHASI_CARRIERS=str(file)))
        measured["cpu_us"]["sink"] = (cpu_s(process_id) - before) * 1e6 / measured["messages"]
    return measured


def measure_kannel(connections: int, seconds: float) -> dict[str, Any]:
    """One run of Kannel, fresh."""
    with (
        sink(receipts=True) as (smsc_port, sink_id),
        reserved_ports(1) as (port,),
        beside("benchmarks.receiver", str(port)) as receiver,
        kannel(smsc_port) as peer,
    ):
        parts = {"bearerbox": peer.bearerbox, "smsbox": peer.smsbox, "receiver": receiver.pid, "sink": sink_id}
        before = {name: cpu_s(process_id) for name, process_id in parts.items()}
        told = quote(f"http://127.0.0.1:{port}/?status=%d", safe="")
        began = time.time()
        loaded = load(f"{peer.url}&dlr-mask={DELIVERED_OR_FAILED}&dlr-url={told}", connections, seconds, "")
        counted = drained(port, loaded["requests"], counted_as="all")
        after = {name: cpu_s(process_id) for name, process_id in parts.items()}
    used_s = {name: after[name] - before[name] for name in after}
    return cycle_figures(loaded, counted, began, used_s, counted_as="all")


def main() -> None:
    """Measure both by turns and print medians; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not is_installed():
        sys.exit("Kannel is not installed: sudo apt-get install -y --no-install-recommends kannel kannel-extras")
    peers: dict[str, Callable[[int, float], dict[str, Any]]] = {"Kannel": measure_kannel, "Ghasi": measure_ghasi}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    for number in range(arguments.rounds):
        for name, measure in peers.items():
            row = measure(arguments.connections, arguments.seconds)
            rows[name].append(row)
            console.print(
                f"  round {number + 1}, {name}: {row['cycles_per_s']:.0f} cycles/s, "
                f"{row['webhooks']:.0f} webhooks of {row['messages']} messages"
            )
    table = Table("", "cycles/s", "accepted/s", "p50 ms", "p99 ms", "CPU us a message")
    for name, measured in rows.items():
        costs = {part: median(measured, "cpu_us", part) for part in measured[-1]["cpu_us"]}
        table.add_row(
            name, f"{median(measured, 'cycles_per_s'):.0f}", f"{median(measured, 'accepted_per_s'):.0f}",
            f"{median(measured, 'p50_ms'):.1f}", f"{median(measured, 'p99_ms'):.1f}",
            ", ".join(f"{part} {cost:.0f}" for part, cost in costs.items()),
        )  # fmt: skip
    console.print(table)
    ratio = median(rows["Ghasi"], "cycles_per_s") / median(rows["Kannel"], "cycles_per_s")
    console.print(f"Ghasi does {ratio:.2f} of Kannel's full cycles (medians of {arguments.rounds})")
    console.print(f"raw figures: {keep('peers', ratio=ratio, rows=rows)}")


if __name__ == "__main__":
    main()
