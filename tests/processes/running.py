"""Runs `ghasi` as a child process of the tests, marked by its environment so that nothing of it goes unnoticed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

MARKER = "GHASI_TEST_RUN"
ANY_PORTS = [f"--{name}-port=0" for name in ("api", "portal", "smsc", "identity", "metrics")]


@dataclass
class Running:
    """A `ghasi` command under way: `lines` of its stdout so far, `addresses` from what it printed when ready."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path
    addresses: dict[str, str] = field(default_factory=dict)

    def wait_until_ready(self, within_s: float = 60.0) -> "Running":
        until(lambda: "\nready\n" in "\n" + self.text(), within_s, self._unless_ended)
        for line in self.text().rpartition("ready\n")[2].splitlines():
            if line.startswith("  "):
                name, address = line.split(maxsplit=1)
                self.addresses[name] = address
        return self

    def _unless_ended(self) -> None:
        assert self.process.poll() is None, self.text() + self.errors.read_text()

    def text(self) -> str:
        return self.output.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        self.process.send_signal(how)
        return self.process.wait(within_s)

    def child(self, part: str) -> int:
        """The process id of a child by its part."""
        found: list[int] = []

        def look() -> bool:
            for process_id, arguments in processes():
                if _parent(process_id) == self.process.pid and arguments[3:5] == ["child", part]:
                    found.append(process_id)
            return bool(found)

        until(look)
        return found[0]

    def health(self, within_s: float = 5.0) -> tuple[int, dict[str, str]]:
        return get_health(self.addresses["API"], within_s)


@dataclass
class Place:
    """A data folder and the environment of commands on it."""

    folder: Path
    marker: str
    started: list[Running] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}
        return inherited | {MARKER: self.marker, "GHASI_DATA_DIR": str(self.data)} | more

    def start(self, *arguments: str, **environment: str) -> Running:
        number = len(self.started)
        output, errors = self.folder / f"{number}.out", self.folder / f"{number}.err"
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "ghasi", *arguments],
                env=self.environment(**environment), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        running = Running(process, output, errors)
        self.started.append(running)
        return running

    def up(self, *arguments: str, **environment: str) -> Running:
        return self.start("up", "--dev", *(arguments or ANY_PORTS), **environment).wait_until_ready()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ghasi", *arguments],
            env=self.environment(**environment), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def processes(self) -> list[tuple[int, list[str]]]:
        """What runs with our mark; PostgreSQL has a bare environment and is known by its folder."""
        mark, folder = f"{MARKER}={self.marker}".encode(), str(self.data / "postgres")
        found = []
        for process_id, arguments in processes():
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
                if mark in environment or folder in arguments:
                    found.append((process_id, arguments))
        return found


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A place of its own, of which nothing is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ghasi-up-"))
    folder.chmod(0o711)  # the database's user passes through
    here = Place(folder, uuid4().hex)
    try:
        yield here
    finally:
        for running in here.started:
            if running.process.poll() is None:
                running.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(20)
        for process_id, _ in here.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        until(lambda: not here.processes())
        shutil.rmtree(folder)


def until(condition: Callable[[], Any], within_s: float = 30.0, meanwhile: Callable[[], None] = lambda: None) -> Any:
    """Wait until a condition is truthy and return it; the last time that it is looked at is after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        looked_at = time.monotonic()
        if value := condition():
            return value
        meanwhile()
        assert looked_at < deadline, "it did not happen in time"
        time.sleep(0.02)


def get_health(base: str, within_s: float = 5.0) -> tuple[int, dict[str, str]]:
    """GET /healthz; (0, {}) when nobody answers in time."""
    try:
        with urllib.request.urlopen(f"{base}/healthz", timeout=within_s) as answer:  # noqa: S310 - our own
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


def get_text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
        return answer.read().decode()


def processes() -> list[tuple[int, list[str]]]:
    """All processes that are not zombies, with their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if arguments != [""]:
                found.append((int(folder.name), arguments))
    return found


def _parent(process_id: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
