"""What a process loads: each module it has no use for is megabytes of memory and milliseconds of its start."""

import subprocess
import sys

import pytest

CHILD = "ghasi.processes.child"
PARTS = {
    "supervisor": ("ghasi.commands.application",),
    "api": (
        CHILD, "ghasi.portal.app", "ghasi.auth.routes", "ghasi.messages.routes", "ghasi.webhooks.routes",
        "ghasi.billing.routes", "ghasi.gateway.app",
    ),
    "worker": (
        CHILD, "ghasi.messages.worker", "ghasi.webhooks.worker", "ghasi.billing.worker", "ghasi.auth.worker",
    ),
    "simulator": (CHILD, "ghasi.carriers.simulator"),
    "identity": (CHILD, "ghasi.identity.app"),
}  # fmt: skip
FOR_SOME = {"nats", "redis", "typst", "cyclopts", "aiohttp", "phonenumbers", "jinja2", "starlette", "yaml"}
LOADED: dict[str, set[str]] = {
    "supervisor": {"cyclopts"},
    "api": {"aiohttp", "phonenumbers", "jinja2", "starlette", "yaml"},
    "worker": {"aiohttp", "phonenumbers"},
    "simulator": set(),
    "identity": {"starlette"},
}


@pytest.mark.parametrize("part", PARTS)
def test_a_process_loads_what_its_parts_use_and_no_more(part: str) -> None:
    program = f"import sys, {', '.join(PARTS[part])}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & FOR_SOME == LOADED[part]
