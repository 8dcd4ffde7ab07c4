"""The folder of one `ghasi up`: Unix sockets for health and the metrics of its children, 0700 and short of path.

Owns how a run is told from the one before, which may have been killed: its folder is named in the data folder, and its
children hold a lock there until the last of them has ended.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog

from ghasi.processes.children import list_leftovers

LEFTOVERS_TIMEOUT_S = 14.0
"""Children of a killed supervisor see that it is gone and drain, for at most some 11 s."""


class RunError(Exception):
    """A run cannot begin."""


PREFIX = "ghasi-run-"
Tell = Callable[[str], None]
log = structlog.get_logger("ghasi.supervisor")


@asynccontextmanager
async def open_run(data_dir: Path, on_wait: Tell) -> AsyncIterator[tuple[Path, int]]:
    """Make a run folder and give it with the lock that every child must inherit, so that it speaks for all of them.

    Waits first for children of an earlier run to end; the caller holds the data folder's lock.
    """
    note = data_dir / "run"
    with (data_dir / "children.lock").open("w") as lock:
        await _end_earlier_run(_read_note(note), lock, on_wait)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        (folder / "metrics").mkdir()
        note.write_text(str(folder))
        try:
            yield folder, lock.fileno()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            note.unlink(missing_ok=True)


async def _end_earlier_run(earlier: Path | None, lock: IO[str], on_wait: Tell) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + LEFTOVERS_TIMEOUT_S
    told = False
    while not _locks(lock):
        leftovers = list_leftovers(earlier) if earlier is not None else []
        if not told:
            on_wait("waiting for the processes of an earlier run to end")
            _signal(
                leftovers, signal.SIGTERM, signal.SIGCONT
            )  # a stopped one would not see that its supervisor is gone
            told = True
        if clock() > deadline:
            if not leftovers:
                raise RunError(f"processes of an earlier run still hold {lock.name}")
            log.warning("leftovers_killed", processes=leftovers)
            _signal(leftovers, signal.SIGKILL)
        await asyncio.sleep(0.05)
    if earlier is not None and earlier.name.startswith(PREFIX):
        shutil.rmtree(earlier, ignore_errors=True)


def _signal(process_ids: list[int], *numbers: signal.Signals) -> None:
    for process_id in process_ids:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, number)


def _read_note(note: Path) -> Path | None:
    return Path(note.read_text()) if note.exists() else None


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
