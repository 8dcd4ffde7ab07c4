"""`make bench`: accept beside a no-op route, and the full cycle POST -> SMPP -> receipt -> webhook, on this machine.

python -m benchmarks [--seconds 10] [--connections 64] [--rounds 3]. Everything listens on loopback and ends with it.
"""

import argparse
import asyncio
import os
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cycle import full_cycle
from benchmarks.measuring import RAISED, beside, cpu_s, keep, load, median, postgres_cpu_s, wait_for
from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import Deployment, together
from tests.ports import reserved_ports

console = Console()


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


async def main() -> None:
    """Run what is asked for and print tables; the raw figures go to benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("accept", "cycle"))
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
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
            cycles.append(await full_cycle(arguments.connections, arguments.seconds))
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
    console.print(f"raw figures: {keep('bench', **results)}")


if __name__ == "__main__":
    asyncio.run(main())
