"""`make bench-peers`: full cycles a second of Ghasi beside Kannel, by turns, on the same SMSC, load and receiver.

python -m benchmarks.peers [--seconds 10] [--connections 64] [--rounds 5]. A full cycle of Ghasi is POST with a JWT,
limits, a durable commit, SMPP submit, receipt, a signed webhook and rated usage; of Kannel it is a GET with a password,
its file store, SMPP submit, receipt and an unsigned GET. Cycles a second are webhooks over the time from the first
request to the last webhook. All of it shares this machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from benchmarks.cycle import full_cycle
from benchmarks.kannel import is_installed, kannel
from benchmarks.measuring import beside, cpu_s, drained, load, median
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


@contextlib.contextmanager
def sink() -> Iterator[tuple[int, int]]:
    """Run an SMSC that takes all and sends a receipt for each; give its port and its process id."""
    command = [sys.executable, "-m", "benchmarks.sink", "--receipts"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def measure_ghasi(connections: int, seconds: float) -> dict[str, Any]:
    """One run of all of Ghasi, fresh."""
    with sink() as (port, process_id), tempfile.TemporaryDirectory(prefix="ghasi-bench-") as folder:
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
        sink() as (smsc_port, sink_id),
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
    messages = loaded["requests"]
    return {
        "messages": messages,
        "webhooks": counted["all"],
        "accepted_per_s": loaded["rps"],
        "cycles_per_s": counted["all"] / (counted["last"] - began),
        "p50_ms": loaded["p50_ms"],
        "p99_ms": loaded["p99_ms"],
        "cpu_us": {name: (after[name] - before[name]) * 1e6 / messages for name in after}
        | {"load": loaded["cpu_s"] * 1e6 / messages},
    }


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
    at = datetime.now(UTC).isoformat(timespec="seconds")
    results = {
        "at": at, "cores": os.cpu_count(),
        "python": platform.python_version(), "ratio": ratio, "rows": rows,
    }  # fmt: skip
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    file = folder / f"peers-{at.replace(':', '')}.json"
    file.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"raw figures: {file}")


if __name__ == "__main__":
    main()
