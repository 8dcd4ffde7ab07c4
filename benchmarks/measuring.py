"""What all benchmarks share: processes beside each other, what each has used, and the load."""

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

TICK = os.sysconf("SC_CLK_TCK")
RAISED = {
    f"GHASI_LIMIT_{group}": "100000000" for group in ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES")
}  # on, and never reached


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


@contextlib.contextmanager
def sink(*, receipts: bool) -> Iterator[tuple[int, int]]:
    """Run an SMSC that takes all, in a process of its own; give its port and its process id."""
    command = [sys.executable, "-m", "benchmarks.sink", *(["--receipts"] if receipts else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


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


def drained(port: int, expected: int, stalled_s: float = 30.0, counted_as: str = "delivered") -> dict[str, float]:
    """Wait until every webhook has come, or none has for a while."""
    counted, quiet_since = stats(port), time.monotonic()
    while counted[counted_as] < expected and time.monotonic() - quiet_since < stalled_s:
        time.sleep(0.5)
        now = stats(port)
        if now["all"] != counted["all"]:
            quiet_since = time.monotonic()
        counted = now
    return counted


def cycle_figures(
    loaded: dict[str, Any],
    counted: dict[str, float],
    began: float,
    used_s: dict[str, float],
    counted_as: str = "delivered",
) -> dict[str, Any]:
    """Return what a load of full cycles came to: what the load and the receiver say, and CPU seconds by process."""
    messages, webhooks = loaded["requests"], counted[counted_as]
    return {
        "messages": messages,
        "webhooks": webhooks,
        "accepted_per_s": loaded["rps"],
        "cycles_per_s": webhooks / (counted["last"] - began),
        "p50_ms": loaded["p50_ms"],
        "p99_ms": loaded["p99_ms"],
        "cpu_us": {name: used * 1e6 / messages for name, used in (used_s | {"load": loaded["cpu_s"]}).items()},
    }


def keep(kind: str, **figures: Any) -> Path:
    """Write raw figures to benchmarks/results/, with when and where they were measured; return the file."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    results = {"at": at, "cores": os.cpu_count(), "python": platform.python_version(), **figures}
    file = Path(__file__).parent / "results" / f"{kind}-{at.replace(':', '')}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
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
