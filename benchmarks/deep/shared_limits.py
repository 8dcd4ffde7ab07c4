"""What counting in Redis costs: a no-op route through the gateway, with and without GHASI_REDIS_URL, by turns.

python -m benchmarks.deep.shared_limits [--seconds 5] [--rounds 5]. Gateway with upstream, Redis and load are
processes of their own on loopback. Then how soon a key that was revoked on one gateway of a split Ghasi is refused by
another.
"""

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import uvicorn
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.instruments.load import Order
from benchmarks.instruments.noop import noop
from benchmarks.measuring import RAISED, bearer, cpu_s, load, median, wait_for
from ghasi.contract.row import LIMIT_GROUPS, Upstream
from ghasi.gateway.app import Gateway
from ghasi.gateway.upstreams import InProcessUpstream
from ghasi.settings import Settings
from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import UPSTREAMS, split
from tests.engines import redis_server
from tests.gateway.services import AuthService, healthy, make_token, serving
from tests.ports import reserved_ports

console = Console()


async def serve(port: int, redis_url: str | None) -> None:
    """Serve the gateway before a no-op route; print a token that it takes."""
    raised = {group.setting: 100_000_000 for group in LIMIT_GROUPS}
    upstreams = dict.fromkeys(Upstream, InProcessUpstream(serving(AuthService(), noop)))
    gateway = Gateway(Settings(redis_url=redis_url, **raised), upstreams, instance="benchmark", health=healthy)
    await gateway.start()
    print(make_token(), flush=True)
    config = uvicorn.Config(
        gateway, host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, server_header=False, log_level="warning",
    )  # fmt: skip
    await uvicorn.Server(config).serve()
    await gateway.close()


@contextlib.contextmanager
def gateway(*redis_url: str) -> Iterator[tuple[str, str, int]]:
    """Run a gateway; give its URL, a token and its process id."""
    with reserved_ports(1) as (port,):
        command = [sys.executable, "-m", "benchmarks.deep.shared_limits", "--serve", str(port), *redis_url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            token = process.stdout.readline().strip()
            wait_for(f"http://127.0.0.1:{port}/healthz")
            yield f"http://127.0.0.1:{port}", token, process.pid
        finally:
            process.terminate()
            process.wait()


def compare(connections: int, arguments: argparse.Namespace) -> None:
    """Alternate both and print a table."""
    rows: dict[str, list[dict[str, Any]]] = {"memory": [], "Redis": []}
    with redis_server() as redis, gateway() as alone, gateway(redis.url) as sharing:
        assert redis.process is not None
        for _ in range(arguments.rounds):
            for name, (url, token, process_id) in {"memory": alone, "Redis": sharing}.items():
                before, redis_before = cpu_s(process_id), cpu_s(redis.process.pid)
                row = load(Order(f"{url}/v1/messages", arguments.seconds, connections, headers=bearer(token)))
                row["gateway_us"] = (cpu_s(process_id) - before) * 1e6 / row["requests"]
                row["redis_us"] = (cpu_s(redis.process.pid) - redis_before) * 1e6 / row["requests"]
                rows[name].append(row)
    table = Table("windows in", "requests/s", "p50 ms", "p99 ms", "gateway CPU us", "Redis CPU us")
    for name, measured in rows.items():
        costs = [f"{median(measured, cost):.1f}" for cost in ("gateway_us", "redis_us")]
        table.add_row(
            name, f"{median(measured, 'per_s'):.0f}", f"{median(measured, 'p50_ms'):.2f}",
            f"{median(measured, 'p99_ms'):.2f}", *costs,
        )  # fmt: skip
    ratio = median(rows["Redis"], "gateway_us") / median(rows["memory"], "gateway_us")
    table.title = f"{connections} connections: {ratio:.2f} times the gateway's CPU"
    console.print(table)


async def revocations(times: int) -> None:
    """Revoke keys on one gateway of a whole Ghasi and ask the other until it refuses them."""
    took_ms = []
    with redis_server() as redis, reserved_ports(1) as (port,), split(GHASI_REDIS_URL=redis.url, **RAISED) as ghasi:
        urls = {
            f"GHASI_{name.upper().replace('-', '_')}_URL": f"http://127.0.0.1:{ghasi.ports[name]}" for name in UPSTREAMS
        }
        ghasi.start("gateway-2", "serve", "gateway", "--port", str(port), **urls)
        other = f"http://127.0.0.1:{port}/v1/messages"
        async with signed_up(ghasi) as customer, aiohttp.ClientSession() as client:
            for number in range(times):
                key = await customer.good("POST", "/v1/api-keys", {"name": f"key {number}"})
                headers = {"Authorization": f"Bearer {key['key']}"}
                async with client.get(other, headers=headers) as answer:
                    assert answer.status == 200
                await customer.call("DELETE", f"/v1/api-keys/{key['id']}")
                revoked_at, status = time.perf_counter(), 0
                while status != 401:
                    async with client.get(other, headers=headers) as answer:
                        status = answer.status
                took_ms.append((time.perf_counter() - revoked_at) * 1000)
    console.print(
        f"refused by the other gateway after the DELETE was answered: median {statistics.median(took_ms):.1f} ms, "
        f"at most {max(took_ms):.1f} ms of {times}"
    )


def main() -> None:
    """Measure, or serve one gateway of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.deep.shared_limits")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(int(arguments.serve[0]), arguments.serve[1] if len(arguments.serve) > 1 else None))
        return
    for connections in (1, 16, 64):
        compare(connections, arguments)
    asyncio.run(revocations(20))


if __name__ == "__main__":
    main()
