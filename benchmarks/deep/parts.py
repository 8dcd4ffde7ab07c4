"""What each part costs a message where every one is a process of its own: a database a service, NATS, Redis.

python -m benchmarks.deep.parts [--seconds 10] [--connections 64]. The full cycle, on one machine: POST through Ghasi's
own gateway, SMPP to the simulated carrier, receipt, one signed webhook, rated usage. What counts is CPU a message, and
what lies on disk right after; the rate is that of one machine which runs all of it, carrier, receiver and load.
"""

import argparse
import asyncio
import time

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.instruments.load import Order
from benchmarks.measuring import RAISED, bearer, beside, cpu_s, drained, load, postgres_cpu_s
from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import WORK, Deployment, spread
from tests.ports import reserved_ports

console = Console()


def used_s(ghasi: Deployment) -> dict[str, float]:
    """CPU seconds of every process so far, by part."""
    processes = {name: process.pid for name, process in ghasi.processes.items() if name != "database"}
    for name, engine in ghasi.engines.items():
        assert engine.process is not None
        processes[name] = engine.process.pid
    return {name: cpu_s(pid) for name, pid in processes.items()} | {"postgres": postgres_cpu_s(ghasi.folder / "data")}


async def disk_bytes(ghasi: Deployment) -> dict[str, int]:
    """Return what lies on disk: each service's database, and NATS's streams."""
    sizes = {}
    for service in sorted(set(WORK.values())):
        connection = await asyncpg.connect(ghasi.environment[f"GHASI_{service.upper()}_DATABASE_URL"])
        sizes[service] = await connection.fetchval("SELECT pg_database_size(current_database())")
        await connection.close()
    streams = ghasi.engines["nats"].folder
    return sizes | {"streams": sum(file.stat().st_size for file in streams.rglob("*") if file.is_file())}


async def cycle(ghasi: Deployment, port: int, arguments: argparse.Namespace) -> None:
    """Run one load to its end and print what each part used."""
    async with signed_up(ghasi) as customer:
        hook = {"url": f"http://127.0.0.1:{port}/", "events": ["message.delivered"]}
        await customer.good("POST", "/v1/webhooks", hook)
        disk = await disk_bytes(ghasi)
        before, began = used_s(ghasi), time.time()
        order = Order(
            f"{ghasi.api}/v1/messages", arguments.seconds, arguments.connections, headers=bearer(customer.token)
        )
        loaded = await asyncio.to_thread(load, order)
        counted = await asyncio.to_thread(drained, port, loaded["requests"])
        messages, usage = loaded["requests"], {"totals": {"messages": 0}}
        for _ in range(300):
            usage = await customer.good("GET", "/v1/billing/usage")
            if usage["totals"]["messages"] == messages:
                break
            await asyncio.sleep(0.2)
        after = used_s(ghasi)
        grown = {name: size - disk[name] for name, size in (await disk_bytes(ghasi)).items()}
    console.print(
        f"{messages} messages accepted at {loaded['per_s']:.0f}/s, {counted['delivered']:.0f} webhooks, "
        f"{usage['totals']['messages']} billed; {counted['delivered'] / (counted['last'] - began):.0f} cycles/s"
    )
    table = Table("part", "CPU us a message")
    for name in sorted(after, key=lambda name: before[name] - after[name]):
        table.add_row(name, f"{(after[name] - before[name]) * 1e6 / messages:.0f}")
    console.print(table)
    sizes = Table(*(f"{name} bytes a message" for name in grown))
    sizes.add_row(*(f"{size / messages:.0f}" for size in grown.values()))
    console.print(sizes)


def main() -> None:
    """Start all parts and measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.deep.parts")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    with reserved_ports(1) as (port,), spread(**RAISED) as ghasi, beside("benchmarks.instruments.receiver", str(port)):
        asyncio.run(cycle(ghasi, port, arguments))


if __name__ == "__main__":
    main()
