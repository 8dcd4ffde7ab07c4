"""Starts the engines that Ghasi runs on beside PostgreSQL: a NATS server with JetStream, a Redis server.

Each is a real process on a loopback port of its own, that its test may kill and start again over the same data.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ports import reserved_ports

START_S = 20.0
_PATH = os.environ.get("PATH", "") + ":/usr/sbin"


@dataclass
class Engine:
    """A server process; `url` is for clients."""

    url: str
    port: int
    command: list[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it over its folder and wait until it takes connections."""
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.command[0]} did not start:\n{self.log()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as kill -9 does; what it had written is kept."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait for its end; harmless when it has ended."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def pause(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Delete all that it had written, as a lost disk does; it must have ended."""
        assert self.process is None
        for kept in self.folder.iterdir():
            if kept.is_dir():
                shutil.rmtree(kept)

    def log(self) -> str:
        return (self.folder / "engine.log").read_text(errors="replace")[-4000:]


def found(name: str) -> str:
    """The path of a program; without it the test is skipped."""
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"there is no {name}: sudo apt-get install -y {name}")
    return program


@contextlib.contextmanager
def _running(url: str, port: int, command: list[str], folder: Path) -> Iterator[Engine]:
    engine = Engine(url, port, command, folder)
    engine.start()
    try:
        yield engine
    finally:
        if engine.process is not None:
            engine.resume()
        engine.stop(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def nats_server(*flags: str) -> Iterator[Engine]:
    """Run a NATS server that keeps its streams in a folder; `flags` are the server's own."""
    program = found("nats-server")
    folder = Path(tempfile.mkdtemp(prefix="ghasi-nats-"))
    with reserved_ports(1) as (port,):
        command = [program, "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", str(folder)]
        command += flags
        with _running(f"nats://127.0.0.1:{port}", port, command, folder) as engine:
            yield engine


@contextlib.contextmanager
def redis_server() -> Iterator[Engine]:
    """Run a Redis server that keeps nothing on disk."""
    program = found("redis-server")
    folder = Path(tempfile.mkdtemp(prefix="ghasi-redis-"))
    with reserved_ports(1) as (port,):
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        with _running(f"redis://127.0.0.1:{port}/0", port, command, folder) as engine:
            yield engine
