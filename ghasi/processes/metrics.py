"""Metrics of all processes of a run on one port, and the metrics of a process by itself.

Under the supervisor each child writes its metrics to files in the run folder (prometheus_client's multi-process mode),
named by its part instead of its pid, so that counters go on when it is started again and no file is left behind.
"""

import asyncio
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, multiprocess, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from ghasi.contract.serving import Asgi, Receive, Scope, Send, answer

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_write_double = struct.Struct("d").pack_into
Describe = Callable[[], Iterable[tuple[str, int | None, int]]]
"""Gives each child's part, its process id while it runs, and how often it was started again."""


def name_metrics(part: str) -> None:
    """Write this process's metrics under its part's name; before any module makes a metric."""
    of_part = values.MultiProcessValue(process_identifier=lambda: part)  # type: ignore[no-untyped-call]
    lock = Lock()

    class Value(of_part):  # type: ignore[misc, valid-type] # made by a function
        """A number in the part's file, whose place is found once: a message is counted in six of them."""

        def __init__(self, *names: Any, **more: Any) -> None:
            super().__init__(*names, **more)
            self._at = self._file._positions[self._key]  # noqa: SLF001 - its own write looks it up each time

        def inc(self, amount: float) -> None:
            with lock:
                self._value += amount
                _write_double(self._file._m, self._at, self._value)  # noqa: SLF001 - another map once the file has grown

    values.ValueClass = Value


def forget(part: str, folder: Path) -> None:
    """Drop what a dead child's gauges said of the moment; its counters stay."""
    multiprocess.mark_process_dead(part, str(folder))  # type: ignore[no-untyped-call]


def metrics_app(collect: Callable[[], bytes], health: Asgi) -> Asgi:
    """Serve /metrics, and /healthz by `health`."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await answer(send, 200, CONTENT_TYPE, await asyncio.to_thread(collect))
        else:
            await health(scope, receive, send)

    return serve


def collect_own() -> bytes:
    """Return the metrics of this process."""
    return generate_latest(REGISTRY)


def collect_run(folder: Path, describe: Describe) -> bytes:
    """Return the metrics of a run: its children's, and what the supervisor knows of them."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(_Children(describe))
    return generate_latest(registry)


class _Children(Collector):
    """What the supervisor knows of its children."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe

    def collect(self) -> Iterator[Metric]:
        """Make the metrics anew, from /proc."""
        up = GaugeMetricFamily("ghasi_child_up", "Whether the process runs", labels=["part"])
        restarts = CounterMetricFamily("ghasi_child_restarts", "Times the process was started again", labels=["part"])
        cpu = CounterMetricFamily("ghasi_child_cpu_seconds", "CPU time of the running process", labels=["part"])
        memory = GaugeMetricFamily("ghasi_child_resident_memory_bytes", "Resident memory", labels=["part"])
        for part, process_id, times in self._describe():
            up.add_metric([part], 0 if process_id is None else 1)
            restarts.add_metric([part], times)
            if process_id is not None and (usage := _usage(process_id)) is not None:
                cpu.add_metric([part], usage[0])
                memory.add_metric([part], usage[1])
        yield from (up, restarts, cpu, memory)


def _usage(process_id: int) -> tuple[float, int] | None:
    """Return CPU seconds and resident bytes of a process (proc(5), stat and statm)."""
    folder = Path(f"/proc/{process_id}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        pages = int((folder / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
