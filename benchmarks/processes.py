"""The processes of a running `ghasi up`: which there are, and what memory they hold. PostgreSQL is apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SUPERVISOR, PARTS, DATABASE = "supervisor", ("api", "worker", "portal", "simulator", "identity"), "postgres"
FIELDS = {"rss_mib": ("status", "VmRSS:"), "pss_mib": ("smaps_rollup", "Pss:")}
SAMPLE_S = 0.5


def parts_of(supervisor: int) -> dict[int, str]:
    """Return all processes that a supervisor started, and theirs, by the part that they belong to."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    parts, waiting = {}, [(supervisor, SUPERVISOR)]
    while waiting:
        process_id, above = waiting.pop()
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process_id}/comm").read_text().strip() == DATABASE:
                continue
            words = Path(f"/proc/{process_id}/cmdline").read_text().split("\0")
            parts[process_id] = next((part for part in PARTS if part in words), above)
            waiting += [(child, parts[process_id]) for child in children.get(process_id, ())]
    return parts


def memory_of(supervisor: int) -> dict[str, dict[str, float]]:
    """Return resident (RSS) and proportional (PSS) memory of each part in MiB, and of all together."""
    memory: dict[str, dict[str, float]] = {}
    for process_id, part in parts_of(supervisor).items():
        with contextlib.suppress(OSError):
            for name, (file, field) in FIELDS.items():
                text = Path(f"/proc/{process_id}/{file}").read_text()
                kib = int(text.partition(field)[2].split(maxsplit=1)[0])
                one = memory.setdefault(part, dict.fromkeys(FIELDS, 0.0))
                one[name] += kib / 1024
    total = {name: sum(one[name] for one in memory.values()) for name in FIELDS}
    return memory | {"all": total}


@asynccontextmanager
async def watched_memory(supervisor: int) -> AsyncIterator[dict[str, dict[str, float]]]:
    """Sample memory while the block runs, and give what was the most, of each part and of all at one moment."""
    most: dict[str, dict[str, float]] = {}

    async def sample() -> None:
        while True:
            for part, one in memory_of(supervisor).items():
                known = most.setdefault(part, dict(one))
                known |= {name: max(known[name], value) for name, value in one.items()}
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    try:
        yield most
    finally:
        sampling.cancel()
