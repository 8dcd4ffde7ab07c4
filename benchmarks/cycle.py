"""The full cycle of Ghasi on this machine: POST -> SMPP -> receipt -> signed webhook -> rated usage."""

import asyncio
import time
from typing import Any

from benchmarks.measuring import RAISED, beside, cpu_s, cycle_figures, drained, load, postgres_cpu_s
from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import Deployment, together
from tests.ports import reserved_ports


def used_s(deployment: Deployment, parts: dict[str, int]) -> dict[str, float]:
    """CPU seconds that processes and the database have used so far."""
    return {name: cpu_s(pid) for name, pid in parts.items()} | {"database": postgres_cpu_s(deployment.folder / "data")}


async def full_cycle(connections: int, seconds: float, **environment: str) -> dict[str, Any]:
    """Everything on: POST, SMPP, receipt, one signed webhook a message, rated usage."""
    with (
        reserved_ports(1) as (port,),
        together(**RAISED, **environment) as deployment,
        beside("benchmarks.receiver", str(port)) as receiver,
    ):
        async with signed_up(deployment) as customer:
            hook = {"url": f"http://127.0.0.1:{port}/", "events": ["message.delivered"]}
            await customer.good("POST", "/v1/webhooks", hook)
            names = ("api", "worker") if "GHASI_CARRIERS" in environment else ("api", "worker", "simulator")
            parts = {name: deployment.child(name) for name in names}
            parts["receiver"] = receiver.pid
            before = used_s(deployment, parts)
            began = time.time()
            url = f"{deployment.api}/v1/messages"
            loaded = await asyncio.to_thread(load, url, connections, seconds, customer.token)
            counted = await asyncio.to_thread(drained, port, loaded["requests"])
            after = used_s(deployment, parts)
            usage = {}
            for _ in range(50):
                usage = await customer.good("GET", "/v1/billing/usage")
                if usage["totals"]["messages"] == loaded["requests"]:
                    break
                await asyncio.sleep(0.2)
    used = {name: after[name] - before[name] for name in after}
    return cycle_figures(loaded, counted, began, used) | {"billed": usage["totals"]["messages"]}
