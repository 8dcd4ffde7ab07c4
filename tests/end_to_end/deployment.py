"""Starts Ghasi as a user does, as real processes on real sockets: all by `ghasi up --dev`, or part by part.

The shapes are what people run: all of it together; every service apart behind our gateway; each with a database of its
own, meeting over NATS; and several of everything on one database.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from ghasi.storage import embedded
from tests.conftest import named
from tests.engines import Engine, nats_server, redis_server
from tests.partition import Partition, partition
from tests.ports import reserved_ports

UPSTREAMS = ("auth-service", "sms-orchestrator", "message-store", "webhook-dispatcher", "billing-service")
OF_SERVICE = {
    "auth-service": "auth", "sms-orchestrator": "messages", "message-store": "messages",
    "webhook-dispatcher": "webhooks", "billing-service": "billing",
}  # fmt: skip
"""Whose database an upstream works on."""
WORK = {"dispatch": "messages", "webhooks": "webhooks", "billing": "billing", "auth": "auth"}
START_S = 60.0


@dataclass
class Deployment:
    """A running Ghasi: its addresses, its processes by name, and the environment that its commands take.

    `again` is what a process was started with; where there are several gateways, `api` names each in turn.
    """

    folder: Path
    environment: dict[str, str]
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    again: dict[str, tuple[list[str], dict[str, str]]] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    way_to_nats: Partition | None = None
    gateways: list[str] = field(default_factory=lambda: ["api"])
    turns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports[self.gateways[next(self.turns) % len(self.gateways)]]}"

    @property
    def identity(self) -> str:
        return f"http://127.0.0.1:{self.ports['identity']}/identitytoolkit.googleapis.com/v1"

    @property
    def portal(self) -> str:
        return f"http://127.0.0.1:{self.ports['portal']}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.ports['metrics']}/metrics"

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `ghasi ARGUMENTS` and wait until it prints `ready`."""
        self.again[name] = list(arguments), environment
        output = self.folder / f"{name}.out"
        with output.open("ab") as log:
            began = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "ghasi", *arguments],
                env=self.environment | environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.processes[name] = process
        deadline = time.monotonic() + START_S
        while not re.search(rb"(?m)^ready", output.read_bytes()[began:]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} did not start:\n{output.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        return process

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        """Signal a process of ours and wait for its end; return its exit status."""
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(within_s)

    def restart(self, name: str) -> subprocess.Popen[bytes]:
        """Start a process as it was started before."""
        arguments, environment = self.again[name]
        return self.start(name, *arguments, **environment)

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        """Run a `ghasi` command to its end and return what it printed; one that fails, on stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "ghasi", *arguments],
            env=self.environment | environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if expect else done.stdout

    def admin(self, *arguments: str) -> Any:
        """Run `ghasi admin ... --json` and decode what it printed."""
        return json.loads(self.run("admin", *arguments, "--json"))

    def child(self, name: str) -> int:
        """The process id of a child of `ghasi up`, by its part."""
        (supervisor,) = (process for part, process in self.processes.items() if part == "up")
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == supervisor.pid and f"\0{name}\0" in (folder / "cmdline").read_text():
                    return int(folder.name)
        raise AssertionError(f"`ghasi up` has no child {name}")

    def output(self) -> str:
        """All that its processes have printed."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("*.out")))


@contextlib.contextmanager
def _deployment(**environment: str) -> Iterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="ghasi-e2e-"))
    folder.chmod(0o711)
    names = ("api", "portal", "smsc", "identity", "metrics", "second", *UPSTREAMS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}
    with reserved_ports(len(names)) as reserved:
        ports = dict(zip(names, reserved, strict=True))
        settings = {f"GHASI_{name.upper()}_PORT": str(ports[name]) for name in names[:5]}
        deployment = Deployment(
            folder, inherited | settings | {"GHASI_DATA_DIR": str(folder / "data")} | environment, ports
        )
        try:
            yield deployment
        finally:
            for name in reversed(deployment.processes.copy()):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    deployment.stop(name)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def together(**environment: str) -> Iterator[Deployment]:
    """All of it, by `ghasi up --dev`."""
    with _deployment(**environment) as deployment:
        deployment.start("up", "up", "--dev")
        yield deployment


def _begin_apart(deployment: Deployment) -> str:
    """Start the database and set what processes of one's own need; return the metrics port, which one of them takes."""
    deployment.start("database", "database")
    ports = deployment.ports
    secrets = json.loads((deployment.folder / "data" / "secrets.json").read_text())
    deployment.environment |= {
        "GHASI_DEV": "true",
        "GHASI_FIREBASE_PROJECT_ID": "demo-ghasi",
        "GHASI_FIREBASE_CERTS_URL": f"http://127.0.0.1:{ports['identity']}"
        "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com",
        "GHASI_FIREBASE_AUTH_URL": f"http://127.0.0.1:{ports['identity']}/identitytoolkit.googleapis.com",
        "GHASI_UPSTREAM_SECRET": secrets["upstream_secret"],
        "GHASI_PORTAL_SECRET": secrets["portal_secret"],
    }
    return deployment.environment.pop("GHASI_METRICS_PORT")


def urls_of(deployment: Deployment) -> dict[str, str]:
    """Where the gateway finds the upstreams."""
    return {
        f"GHASI_{name.upper().replace('-', '_')}_URL": f"http://127.0.0.1:{deployment.ports[name]}"
        for name in UPSTREAMS
    }


@contextlib.contextmanager
def split(**environment: str) -> Iterator[Deployment]:
    """Every upstream a process of its own over one database, behind our gateway over HTTP."""
    with _deployment(**environment) as deployment:
        metrics = _begin_apart(deployment)
        deployment.start("simulator", "serve", "simulator")
        deployment.start("identity", "serve", "identity")
        for name in UPSTREAMS:
            deployment.start(name, "serve", name, "--port", str(deployment.ports[name]))
        deployment.start("gateway", "serve", "gateway", **urls_of(deployment))
        deployment.start("portal", "serve", "portal")
        deployment.start("worker", "work", GHASI_METRICS_PORT=metrics)
        yield deployment


def _make_databases(deployment: Deployment) -> dict[str, str]:
    """Make a database for each service, migrated, and return the setting of each."""
    running = embedded.running(deployment.folder / "data")
    assert running is not None
    url = running.url

    async def make() -> None:
        connection = await asyncpg.connect(url)
        for name in sorted(set(WORK.values())):
            await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(make())
    urls = {f"GHASI_{name.upper()}_DATABASE_URL": named(url, name) for name in set(WORK.values())}
    deployment.run("migrate", **urls)
    return urls


@contextlib.contextmanager
def spread(**environment: str) -> Iterator[Deployment]:
    """Every upstream and every work a process of its own, each service over its own database alone; NATS and Redis."""
    with (
        nats_server() as nats, partition(nats.port) as way, redis_server() as redis,
        _deployment(**environment) as deployment,
    ):  # fmt: skip
        deployment.engines |= {"nats": nats, "redis": redis}
        deployment.way_to_nats = way
        metrics = _begin_apart(deployment)
        deployment.environment |= {"GHASI_NATS_URL": f"nats://127.0.0.1:{way.port}", "GHASI_REDIS_URL": redis.url}
        databases = _make_databases(deployment)

        def own(service: str) -> dict[str, str]:
            setting = f"GHASI_{service.upper()}_DATABASE_URL"
            return {setting: databases[setting]}

        deployment.start("simulator", "serve", "simulator")
        deployment.start("identity", "serve", "identity", **own("auth"))
        for name in UPSTREAMS:
            deployment.start(name, "serve", name, "--port", str(deployment.ports[name]), **own(OF_SERVICE[name]))
        deployment.start("gateway", "serve", "gateway", **urls_of(deployment))
        deployment.start("portal", "serve", "portal")
        for name, service in WORK.items():
            more = {"GHASI_METRICS_PORT": metrics} if name == "dispatch" else {}
            deployment.start(name, "work", name, **own(service), **more)
        deployment.environment |= databases  # for commands, which work on any of them
        yield deployment


@contextlib.contextmanager
def crowd(**environment: str) -> Iterator[Deployment]:
    """Two API processes and three workers over one database; Redis holds the limits that they share."""
    with redis_server() as redis, _deployment(**environment) as deployment:
        deployment.engines["redis"] = redis
        metrics = _begin_apart(deployment)
        deployment.environment["GHASI_REDIS_URL"] = redis.url
        deployment.start("simulator", "serve", "simulator")
        deployment.start("identity", "serve", "identity")
        deployment.gateways = ["api", "second"]
        for name in deployment.gateways:
            deployment.start(name, "serve", "gateway", GHASI_API_PORT=str(deployment.ports[name]))
        deployment.start("portal", "serve", "portal")
        for number in range(3):
            more = {"GHASI_METRICS_PORT": metrics} if number == 0 else {}
            deployment.start(f"worker-{number}", "work", **more)
        yield deployment


SHAPES = {"together": together, "split": split, "spread": spread, "crowd": crowd}


async def until(condition: Any, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """Wait until an async condition is truthy and return it; the last time that it is asked is after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        asked_at = time.monotonic()
        if value := await condition():
            return value
        assert asked_at < deadline, "it did not happen in time"
        await asyncio.sleep(every_s)
