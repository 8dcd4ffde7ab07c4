"""submit: messages through one bind with a window of 100, beside a bare loop of PDUs and PyPI's SMPP clients.

The SMSC and every client run in processes of their own. With receipts, a message is over when its receipt has been
acknowledged. Clients of PyPI are measured where they are installed, as `make bench` does.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from benchmarks.comparing import Comparison, Contenders, Figures
from benchmarks.instruments.smpp_clients import CLIENTS, WINDOW
from benchmarks.measuring import sink

MESSAGES_A_SECOND = 2000
"""How many are given for each second that a measurement should take."""
KINDS = {"": False, ", receipts": True}
OURS, BARE = "ghasi", "bare"
TITLES = {OURS: "Ghasi", BARE: "bare PDUs"}
TIME_OUT_S = 300


def measure(name: str, messages: int, *, receipts: bool) -> Figures:
    """Run one client against an SMSC of its own."""
    with sink(receipts=receipts) as (port, _):
        arguments = [name, str(port), str(messages), "with" if receipts else "without"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.instruments.smpp_clients", *arguments],
            stdout=subprocess.PIPE, check=True, timeout=TIME_OUT_S,
        )  # fmt: skip
    spent = json.loads(done.stdout.splitlines()[-1])
    return {"per_s": messages / spent["seconds"], "cpu_us": {"client": spent["cpu_s"] * 1e6 / messages}}


def title_of(name: str) -> str | None:
    """Return what a client is called, with its version; None where it is not installed."""
    if name in TITLES:
        return TITLES[name]
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Give every client that is there, without and with receipts."""
    messages = int(options.seconds * MESSAGES_A_SECOND)
    titles = {name: title for name in CLIENTS if (title := title_of(name))}

    def contender(name: str, receipts: bool) -> Figures:
        return measure(name, messages, receipts=receipts)

    yield {
        f"{title}{kind}": lambda name=name, receipts=receipts: asyncio.to_thread(contender, name, receipts)
        for kind, receipts in KINDS.items()
        for name, title in titles.items()
    }


SUBMIT = Comparison(
    "submit",
    f"one SMPP bind with a window of {WINDOW}, beside a bare loop of prebuilt PDUs and other clients",
    "messages/s",
    opened,
    {f"{TITLES[OURS]}{kind}": (f"{TITLES[BARE]}{kind}",) for kind in KINDS},
)
