"""What all benchmarks share: processes beside each other, what each has used, the load, and where figures are kept."""

import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.instruments.load import Order
from tests.ports import reserved_ports

TICK = os.sysconf("SC_CLK_TCK")
RAISED = {
    f"GHASI_LIMIT_{group}": "100000000" for group in ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES")
}  # on, and never reached
DATABASE = "PostgreSQL"
NOOP = "no-op route"
RESULTS = Path(__file__).parent / "results"


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


def used_s(parts: Mapping[str, int], data_dir: Path | None = None) -> dict[str, float]:
    """CPU seconds that processes have used so far, and the database of a data folder beside them."""
    used = {name: cpu_s(process_id) for name, process_id in parts.items()}
    return used | ({DATABASE: postgres_cpu_s(data_dir)} if data_dir is not None else {})


def cpu_us(before: Mapping[str, float], after: Mapping[str, float], count: float) -> dict[str, float]:
    """CPU microseconds by part, for each of so many requests or messages."""
    return {name: (after[name] - before[name]) * 1e6 / count for name in after}


def end_what_was_started() -> None:
    """Let SIGTERM end the benchmark as Ctrl-C does, with all the processes that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def beside(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of ours in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def noop() -> Iterator[tuple[str, int]]:
    """Run the no-op route, in a process of its own; give its address and its process id."""
    with reserved_ports(1) as (port,), beside("benchmarks.instruments.noop", str(port)) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/")
        yield url, process.pid


@contextlib.contextmanager
def sink(*, receipts: bool, stamps: Path | None = None) -> Iterator[tuple[int, int]]:
    """Run an SMSC that takes all, in a process of its own; give its port and its process id."""
    command = [sys.executable, "-m", "benchmarks.instruments.sink", *(["--receipts"] if receipts else [])]
    command += ["--stamps", str(stamps)] if stamps is not None else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def load(order: Order) -> dict[str, Any]:
    """Run one load to its end; raises AssertionError when an answer was not 2xx."""
    command = [sys.executable, "-m", "benchmarks.instruments.load"]
    done = subprocess.run(command, input=msgspec.json.encode(order), stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    assert not result["bad"], f"{result['bad']} answers of {result['requests']} were not 2xx"
    return result


def load_us(loaded: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU microseconds a request that a load used itself, as a part."""
    return {"load": loaded["cpu_s"] * 1e6 / loaded["requests"]}


async def loaded(order: Order, parts: Mapping[str, int], data_dir: Path | None = None) -> dict[str, Any]:
    """Run a load; return what it came to, and what these parts and a database used for each request."""
    before = used_s(parts, data_dir)
    figures = await asyncio.to_thread(load, order)
    figures["cpu_us"] = cpu_us(before, used_s(parts, data_dir), figures["requests"])
    return figures | {"beside_us": load_us(figures)}


def bearer(token: str) -> dict[str, str]:
    """Return the header of a caller with a token."""
    return {"Authorization": f"Bearer {token}"}


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


def drained(port: int, expected: int, stalled_s: float = 30.0, counted_as: str = "delivered") -> dict[str, float]:
    """Wait until every webhook has come, or none has for a while."""
    counted, quiet_since = stats(port), time.monotonic()
    while counted[counted_as] < expected and time.monotonic() - quiet_since < stalled_s:
        time.sleep(0.2)
        now = stats(port)
        if now["all"] != counted["all"]:
            quiet_since = time.monotonic()
        counted = now
    return counted


def folder_of_today() -> Path:
    """Make and return the folder that today's figures and plots go to."""
    folder = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(kind: str, **figures: Any) -> Path:
    """Write raw figures to benchmarks/results/DATE/, with when and where they were measured; return the file."""
    at = datetime.now(UTC)
    machine = {"at": at.isoformat(timespec="seconds"), "cores": os.cpu_count(), "python": platform.python_version()}
    file = folder_of_today() / f"{kind}-{at:%H%M%S}.json"
    file.write_text(json.dumps(machine | {"load_average": os.getloadavg()[0]} | figures, indent=1) + "\n")
    return file


def median(rows: list[dict[str, Any]], *path: str) -> float:
    """Return the median over rounds of one figure."""
    values = []
    for row in rows:
        value: Any = row
        for name in path:
            value = value[name]
        values.append(value)
    return statistics.median(values)
