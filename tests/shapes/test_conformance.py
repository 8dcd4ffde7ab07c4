"""`ghasi contract check` against every shape that people run, with the contract's own limits."""

import asyncio
import contextlib
import json
import sys

from tests.end_to_end.deployment import SHAPES, Deployment

WITHIN_S = 240.0


async def check(deployment: Deployment) -> dict[str, object]:
    """What the checker found, by promise."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ghasi", "contract", "check", deployment.api, "--identity", deployment.identity, "--json",
        env=deployment.environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(WITHIN_S):
        printed, _ = await process.communicate()
    return {"status": process.returncode, "report": json.loads(printed)}


async def test_the_contract_holds_on_every_shape() -> None:
    """All at once: most of it is waiting for the next minute's window."""
    with contextlib.ExitStack() as stack:
        deployments = {name: stack.enter_context(shape()) for name, shape in SHAPES.items()}
        found = await asyncio.gather(*map(check, deployments.values()))
    for name, result in zip(deployments, found, strict=True):
        assert result["status"] == 0, (name, result["report"])
