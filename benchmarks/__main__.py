"""`make bench`: accept beside a no-op route, and the full cycle POST -> SMPP -> receipt -> webhook, on this machine.

python -m benchmarks [--seconds 10] [--connections 64] [--rounds 3]. Everything listens on loopback and ends with it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import Deployment, together
from tests.ports import reserved_ports

TICK = os.sysconf("SC_CLK_TCK")
RAISED = {
    f"GHASI_LIMIT_{group}": "100000000" for group in ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES")
}  # on, and never reached
console = Console()


def cpu_s(process_id: int) -> float:
    """CPU seconds, user and system, that a process has used."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def postgres_cpu_s(data_dir: Path) -> float:
    """CPU seconds of the database: the postmaster, its children, and those that have ended."""
    root = (data_dir / "postgres").resolve()
    (postmaster,) = (root / "postmaster.pid").read_text().splitlines()[:1]
    used = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if folder.name == postmaster:
                used += sum(map(int, fields[11:15])) / TICK
            elif fields[1] == postmaster:
                used += sum(map(int, fields[11:13])) / TICK
    return used


@contextlib.contextmanager
def beside(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of ours in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def load(url: str, connections: int, seconds: float, token: str) -> dict[str, Any]:
    """Run one load to its end."""
    command = [sys.executable, "-m", "benchmarks.load", url, str(connections), str(seconds), token]
    done = subprocess.run(command, capture_output=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    assert not result["bad"], f"{result['bad']} answers were not 2xx"
    return result


def wait_for(url: str) -> None:
    """Wait until something answers."""
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - our own loopback address
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return


def stats(port: int, path: str = "stats") -> dict[str, float]:
    """Return what the receiver has counted; with the path `reset` it begins anew."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        counted: dict[str, float] = json.loads(answer.read())
        return counted


def accept_beside_noop(deployment: Deployment, token: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Alternate a no-op route and POST /v1/messages; nothing is dispatched meanwhile (the worker is stopped)."""
    rows = []
    os.kill(deployment.child("worker"), 19)  # SIGSTOP: accepting alone is measured
    try:
        with reserved_ports(1) as (port,), beside("benchmarks.noop", str(port)):
            wait_for(f"http://127.0.0.1:{port}/")
            for number in range(arguments.rounds):
                noop = load(f"http://127.0.0.1:{port}/noop", arguments.connections, arguments.seconds, token)
                api, before, database = deployment.child("api"), 0.0, postgres_cpu_s(deployment.folder / "data")
                before = cpu_s(api)
                accept = load(f"{deployment.api}/v1/messages", arguments.connections, arguments.seconds, token)
                accept["api_us"] = (cpu_s(api) - before) * 1e6 / accept["requests"]
                accept["database_us"] = (
                    (postgres_cpu_s(deployment.folder / "data") - database) * 1e6 / accept["requests"]
                )
                rows.append({"noop": noop, "accept": accept, "ratio": accept["rps"] / noop["rps"]})
                console.print(
                    f"  round {number + 1}: no-op {noop['rps']:.0f}/s, accept {accept['rps']:.0f}/s, "
                    f"ratio {rows[-1]['ratio']:.2f}"
                )
    finally:
        os.kill(deployment.child("worker"), 18)
    return rows


def drained(port: int, expected: int, stalled_s: float = 30.0) -> dict[str, float]:
    """Wait until every webhook has come, or none has for a while."""
    counted, quiet_since = stats(port), time.monotonic()
    while counted["delivered"] < expected and time.monotonic() - quiet_since < stalled_s:
        time.sleep(0.5)
        now = stats(port)
        if now["all"] != counted["all"]:
            quiet_since = time.monotonic()
        counted = now
    return counted


async def full_cycle(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything on: POST, SMPP, receipt, one signed webhook a message, rated usage."""
    with (
        reserved_ports(1) as (port,),
        together(**RAISED) as deployment,
        beside("benchmarks.receiver", str(port)) as receiver,
    ):
        async with signed_up(deployment) as customer:
            hook = {"url": f"http://127.0.0.1:{port}/", "events": ["message.delivered"]}
            await customer.good("POST", "/v1/webhooks", hook)
            parts = {name: deployment.child(name) for name in ("api", "worker", "simulator")}
            parts["receiver"] = receiver.pid
            before = {name: cpu_s(pid) for name, pid in parts.items()} | {
                "database": postgres_cpu_s(deployment.folder / "data")
            }
            began = time.time()
            url = f"{deployment.api}/v1/messages"
            loaded = await asyncio.to_thread(load, url, arguments.connections, arguments.seconds, customer.token)
            counted = await asyncio.to_thread(drained, port, loaded["requests"])
            after = {name: cpu_s(pid) for name, pid in parts.items()} | {
                "database": postgres_cpu_s(deployment.folder / "data")
            }
            usage = {}
            for _ in range(50):
                usage = await customer.good("GET", "/v1/billing/usage")
                if usage["totals"]["messages"] == loaded["requests"]:
                    break
                await asyncio.sleep(0.2)
    messages = loaded["requests"]
    return {
        "messages": messages,
        "webhooks": counted["delivered"],
        "billed": usage["totals"]["messages"],
        "accepted_per_s": loaded["rps"],
        "cycles_per_s": counted["delivered"] / (counted["last"] - began),
        "p50_ms": loaded["p50_ms"],
        "p99_ms": loaded["p99_ms"],
        "cpu_us": {name: (after[name] - before[name]) * 1e6 / messages for name in after}
        | {"load": loaded["cpu_s"] * 1e6 / messages},
    }


def median(rows: list[dict[str, Any]], *path: str) -> float:
    """Return the median over rounds of one figure."""
    values = []
    for row in rows:
        value: Any = row
        for name in path:
            value = value[name]
        values.append(value)
    return statistics.median(values)


async def main() -> None:
    """Run what is asked for and print tables; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("accept", "cycle"))
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    if arguments.only != "cycle":
        console.print(
            "[bold]accept[/]: POST /v1/messages with a durable commit, JWT and limits on, beside a no-op route"
        )
        with together(**RAISED) as deployment:
            async with signed_up(deployment) as customer:
                rows = await asyncio.to_thread(accept_beside_noop, deployment, customer.token, arguments)
        results["accept"] = rows
        table = Table("", "requests/s", "p50 ms", "p99 ms", "API CPU us", "database CPU us")
        for name in ("noop", "accept"):
            costs = [
                f"{median(rows, name, cost):.0f}" if name == "accept" else "" for cost in ("api_us", "database_us")
            ]
            table.add_row(
                name, f"{median(rows, name, 'rps'):.0f}", f"{median(rows, name, 'p50_ms'):.1f}",
                f"{median(rows, name, 'p99_ms'):.1f}", *costs,
            )  # fmt: skip
        console.print(table)
        console.print(f"accept is {median(rows, 'ratio'):.2f} of the no-op route (median of {len(rows)})")
    if arguments.only != "accept":
        console.print("[bold]full cycle[/]: POST -> SMPP -> receipt -> signed webhook -> rated usage")
        cycles = []
        for number in range(arguments.rounds):
            cycles.append(await full_cycle(arguments))
            console.print(
                f"  round {number + 1}: {cycles[-1]['cycles_per_s']:.0f} cycles/s of {cycles[-1]['messages']}"
            )
        results["cycle"] = cycles
        table = Table("cycles/s", "accepted/s", "p50 ms", "p99 ms", "messages", "webhooks", "billed")
        last = cycles[-1]
        table.add_row(
            f"{median(cycles, 'cycles_per_s'):.0f}", f"{median(cycles, 'accepted_per_s'):.0f}",
            f"{median(cycles, 'p50_ms'):.1f}", f"{median(cycles, 'p99_ms'):.1f}",
            str(last["messages"]), f"{last['webhooks']:.0f}", str(last["billed"]),
        )  # fmt: skip
        console.print(table)
        costs = Table(*(f"{name} us" for name in last["cpu_us"]), title="CPU a message, by process")
        costs.add_row(*(f"{median(cycles, 'cpu_us', name):.0f}" for name in last["cpu_us"]))
        console.print(costs)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    file = folder / f"{results['at'].replace(':', '')}.json"
    file.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"raw figures: {file}")


if __name__ == "__main__":
    asyncio.run(main())
