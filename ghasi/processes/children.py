"""The supervisor's side of a child process: start it, start it again when it dies, drain it.

A child runs in a session of its own, so that a signal to the terminal's group does not reach it; it gets its settings
by its environment, its sockets by number, and the read end of a pipe that closes when the supervisor ends in whatever
way. Owns no knowledge of what a child does.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from ghasi.settings import Settings, variable_of

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 5.0
SETTLED_S = 10.0
"""A child that ran this long starts again at once when it dies."""
COMMAND = "child"
log = structlog.get_logger("ghasi.supervisor")


class ChildOrder(msgspec.Struct, frozen=True):
    """What a child is told on its command line: nothing secret, for others can read that.

    `run_folder` holds Unix sockets and metrics; `lifeline` is the pipe that closes with the supervisor; `listen` maps
    names to listening sockets; `neighbours` are the parts whose health this child reports beside its own.
    """

    part: str
    run_folder: str
    lifeline: int
    instance: str
    listen: dict[str, int] = {}
    neighbours: list[str] = []


def environment_of(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Settings() reads these settings again."""
    environment = dict(os.environ)
    environment.pop("GHASI_CONFIG", None)
    values: dict[str, object] = settings.model_dump(mode="json")
    for name in Settings.model_fields:
        variable = variable_of(name)
        environment.pop(variable, None)
        if (value := values[name]) is not None:
            environment[variable] = str(value)
    return {**environment, **extra}


@dataclass(slots=True)
class Child:
    """One child and what became of it; `keep` runs it until `stop`."""

    order: ChildOrder
    environment: Mapping[str, str]
    on_death: Callable[[str], None]
    on_refusal: Callable[[str, int], None]
    """Called when the child says by exit code 2 that its settings are wrong: no restart helps."""
    inherited: tuple[int, ...] = ()
    """File descriptors that it holds without using them."""
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def part(self) -> str:
        """Its name."""
        return self.order.part

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    async def keep(self) -> None:
        """Run it and run it again when it dies, after 0.1 s at first and 5 s at most, until it is stopped."""
        backoff_s = FIRST_BACKOFF_S
        clock = asyncio.get_running_loop().time
        while not self._stop.is_set():
            started = clock()
            self.process = await self._spawn()
            status = await self.process.wait()
            self.on_death(self.part)
            if self._stop.is_set():
                return
            log.error("child_died", child=self.part, pid=self.process.pid, status=status)
            if status == 2:  # noqa: PLR2004 - the house's exit code for wrong settings
                self.on_refusal(self.part, status)
                return
            if clock() - started > SETTLED_S:
                backoff_s = FIRST_BACKOFF_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
            self.restarts += 1

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "ghasi", COMMAND, self.part, msgspec.json.encode(self.order).decode()]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # stdout is the supervisor's own
            env=self.environment,
            pass_fds=(self.order.lifeline, *self.inherited, *self.order.listen.values()),
            start_new_session=True,
        )
        log.debug("child_started", child=self.part, pid=process.pid)
        if self._stop.is_set():  # stop() came while it was being made
            process.terminate()
        return process

    async def stop(self, keeping: asyncio.Task[None], timeout_s: float) -> None:
        """Drain it: SIGTERM, and SIGKILL at the time-out; `keeping` is the task that runs `keep`."""
        self._stop.set()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process could not drain
        if self.pid is None and self.process is not None:
            keeping.cancel()  # it waits to be started again
        await asyncio.wait([keeping], timeout=timeout_s)
        if not keeping.done():
            log.error("child_killed", child=self.part, pid=self.pid, after_s=timeout_s)
            self._signal(signal.SIGKILL)
            await asyncio.wait([keeping], timeout=1.0)
        if not keeping.done():
            keeping.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def list_leftovers(run_folder: Path) -> list[int]:
    """Return the processes of an earlier run that still live, by the run folder on their command line."""
    found = []
    marker = str(run_folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if COMMAND.encode() in arguments and any(marker in argument for argument in arguments):
                found.append(int(entry.name))
    return found
