"""`ghasi up`: all of Ghasi on one machine.

Owns the order: lock the data folder, wait for what an earlier run left, bind the ports, start the database, migrate,
start the children and keep them; at the end drain the children first and stop the database last. Serves the metrics of
all. Does no work of any part itself, so that it is there when they are not.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import structlog

from ghasi.processes import metrics
from ghasi.processes.children import Child, ChildOrder, environment_of
from ghasi.processes.database import check_events, migrate_all, open_databases
from ghasi.processes.health import Health, HealthChecks, ask, neighbour
from ghasi.processes.hosting import CannotRun
from ghasi.processes.lifetime import Lifetime
from ghasi.processes.listening import HttpServer, address_of, bind, port_of
from ghasi.processes.run_folder import open_run
from ghasi.processes.secrets_file import make_secrets, with_secrets
from ghasi.settings import Settings, near_url
from ghasi.storage import embedded
from ghasi.storage.sealing import Sealer

LOOPBACK = "127.0.0.1"
METRICS_PORT = 9464
CHILDREN_DRAIN_S, OTHERS_DRAIN_S = 11.0, 1.5
PATIENCE_S = 10.0
CERTIFICATES_PATH = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
AUTH_PATH = "/identitytoolkit.googleapis.com"
log = structlog.get_logger("ghasi.supervisor")
Tell = Callable[[str], None]


def check_settings(settings: Settings) -> Settings:
    """Return the settings as `up` takes them; raises CannotRun."""
    if not settings.dev and settings.firebase_project_id is None:
        raise CannotRun("GHASI_FIREBASE_PROJECT_ID is not set: sign-in needs a Firebase project (or start with --dev)")
    if not settings.dev and settings.carriers is None:
        raise CannotRun("GHASI_CARRIERS is not set: it is the path of carriers.toml (or start with --dev)")
    check_events(settings)
    settings = check_carriers(settings)
    return settings.model_copy(update={"data_dir": settings.data_dir.resolve()})


def check_carriers(settings: Settings) -> Settings:
    """Return the settings with the full path of carriers.toml; raises CannotRun, saying what is wrong in it."""
    if settings.carriers is None:
        return settings
    from ghasi.carriers.configuration import CarrierConfigurationError, read_carriers_file  # noqa: PLC0415 - seldom

    try:
        read_carriers_file(settings.carriers)
    except CarrierConfigurationError as error:
        raise CannotRun(f"GHASI_CARRIERS: {error}") from error
    # not its real path: where it is a link, as a ConfigMap's is, another file takes its place
    return settings.model_copy(update={"carriers": settings.carriers.absolute()})


async def supervise(settings: Settings, tell: Tell) -> int:
    """Run all of Ghasi until SIGTERM or SIGINT; returns the exit code.

    `tell` gets what a person should read. Raises CannotRun, CannotListen, EmbeddedError, SecretsError, SealError,
    MigrationError, RunError; one of UNAVAILABLE when a given database does not answer for 30 s.
    """
    settings = check_settings(settings)
    lifetime = Lifetime(limit_s=None)  # the drain below has limits of its own
    with embedded.locked(settings.data_dir):
        run = asyncio.create_task(_run(settings, tell))
        stopping = asyncio.create_task(lifetime.stopping.wait())
        await asyncio.wait([run, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not run.done():
            tell("stopping: what is in flight is finished first")
            run.cancel()
        try:
            return await run
        except asyncio.CancelledError:
            return 0


async def _run(settings: Settings, tell: Tell) -> int:
    async with open_run(settings.data_dir, tell) as (folder, lock):
        kept = make_secrets(settings.data_dir)
        settings = with_secrets(settings, kept)
        Sealer(settings.secret_key or "")  # a malformed key is better known before anything starts
        async with AsyncExitStack() as stack:
            settings, listeners = await _bind_all(settings, stack, tell)
            settings = await stack.enter_async_context(open_databases(settings, tell))
            done = sum(map(len, (await migrate_all(settings)).values()))
            tell(f"migrations: {done} applied" if done else "migrations: up to date")
            supervisor = Supervisor(settings, folder, lock, listeners, kept.gateway_instance)
            async with supervisor.running():
                tell(f"starting: {', '.join(supervisor.parts)}")
                return await supervisor.watch(tell)


async def _bind_all(settings: Settings, stack: AsyncExitStack, tell: Tell) -> tuple[Settings, dict[str, socket.socket]]:
    """Bind what children listen on; return the settings with the ports that were had."""
    wanted = {"api": (settings.host, "api_port"), "portal": (settings.host, "portal_port")}
    if settings.dev and settings.carriers is None:
        wanted["simulator"] = (LOOPBACK, "smsc_port")
    if settings.dev:
        wanted["identity"] = (LOOPBACK, "identity_port")
    wanted["metrics"] = (LOOPBACK, "metrics_port")
    listeners: dict[str, socket.socket] = {}
    changed: dict[str, object] = {}
    for name, (host, setting) in wanted.items():
        port = getattr(settings, setting)
        port = METRICS_PORT if port is None else port
        listeners[name] = stack.enter_context(await bind(host, port, f"GHASI_{setting.upper()}", on_wait=tell))
        changed[setting] = port_of(listeners[name])
    return with_development_defaults(settings.model_copy(update=changed)), listeners


def with_development_defaults(settings: Settings, identity_host: str = LOOPBACK) -> Settings:
    """With --dev, return settings whose sign-in is the local identity server's wherever they do not say otherwise.

    Where Google's emulator is trusted it is the emulator's: the portal makes the tokens there that auth-service takes.
    """
    if not settings.dev:
        return settings
    identity = near_url(identity_host, settings.identity_port)
    trusted = settings.allow_unsigned_emulator and settings.firebase_auth_emulator_host
    sign_in = f"http://{settings.firebase_auth_emulator_host}" if trusted else identity
    defaults = {
        "firebase_project_id": "demo-ghasi",
        "firebase_certs_url": identity + CERTIFICATES_PATH,
        "firebase_auth_url": sign_in + AUTH_PATH,
    }
    missing = {name: value for name, value in defaults.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=missing)


class Supervisor:
    """The children of a run, and what is known of them."""

    def __init__(
        self, settings: Settings, folder: Path, lock: int, listeners: dict[str, socket.socket], instance: str
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._lock = lock
        self._listeners = listeners
        self._instance = instance
        self._refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._children: dict[str, Child] = {}
        self.parts = ["worker", *(part for part in ("simulator", "identity") if part in listeners), "api"]
        self.health = HealthChecks(lambda: {part: neighbour(part, folder) for part in self.parts})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the children; at the end drain them, those that others need last."""
        server = HttpServer(metrics.metrics_app(self._collect, self.health), self._listeners["metrics"])
        serving = asyncio.create_task(server.run_until_stopped())
        lifeline, ours = os.pipe()
        for part in self.parts:
            self._children[part] = self._make(part, lifeline)
        keeping = {part: asyncio.create_task(child.keep()) for part, child in self._children.items()}
        try:
            yield
        finally:
            for listener in self._listeners.values():
                listener.close()  # from here on nobody is to wait for an answer that never comes
            await self._stop(keeping, ("api", "worker"), CHILDREN_DRAIN_S)
            await self._stop(keeping, ("simulator", "identity"), OTHERS_DRAIN_S)
            os.close(ours)
            os.close(lifeline)
            server.stop()
            await asyncio.wait([serving], timeout=1.0)

    def _make(self, part: str, lifeline: int) -> Child:
        names = ("api", "portal") if part == "api" else (part,)
        order = ChildOrder(
            part=part,
            run_folder=str(self._folder),
            lifeline=lifeline,
            instance=self._instance,
            listen={name: self._listeners[name].fileno() for name in names if name in self._listeners},
            neighbours=[other for other in self.parts if other != "api"] if part == "api" else [],
        )
        environment = environment_of(self._settings, {metrics.FOLDER_VARIABLE: str(self._folder / "metrics")})
        return Child(order, environment, self._on_death, self._on_refusal, inherited=(self._lock,))

    async def _stop(self, keeping: dict[str, asyncio.Task[None]], parts: tuple[str, ...], timeout_s: float) -> None:
        await asyncio.gather(
            *(self._children[part].stop(keeping[part], timeout_s) for part in parts if part in self._children)
        )

    async def watch(self, tell: Tell) -> int:
        """Say when all of it answers, then wait; returns an exit code when a child can't run at all."""
        saying = asyncio.create_task(self._say_ready(tell))
        try:
            return await self._refused
        finally:
            saying.cancel()
            await asyncio.wait([saying])

    async def _say_ready(self, tell: Tell) -> None:
        told_at = time.monotonic()
        while True:
            health = await self._ask_api()
            if health["status"] == "ok":
                break
            if time.monotonic() - told_at > PATIENCE_S:
                down = [f"{part} ({state})" for part, state in health.items() if state != "ok" and part != "status"]
                tell(f"not ready yet: {', '.join(down)}")
                told_at = time.monotonic()
            await asyncio.sleep(0.05)
        tell(self._describe_addresses())

    async def _ask_api(self) -> Health:
        try:
            return await ask(self._settings.near_host, self._settings.api_port)
        except (OSError, ValueError, msgspec.MsgspecError):
            return {"status": "unavailable", "api": "no answer"}

    def _describe_addresses(self) -> str:
        addresses = {
            "portal": self._settings.public_portal_url,
            "API": self._settings.public_api_url,
            "identity": f"http://{address_of(self._listeners['identity'])}" if "identity" in self._listeners else None,
            "SMSC": address_of(self._listeners["simulator"]) if "simulator" in self._listeners else None,
            "metrics": f"http://{address_of(self._listeners['metrics'])}/metrics",
        }
        return "\n".join(["ready", *(f"  {name:9}{address}" for name, address in addresses.items() if address)])

    def _on_death(self, part: str) -> None:
        metrics.forget(part, self._folder / "metrics")

    def _on_refusal(self, part: str, status: int) -> None:
        log.error("child_refused", child=part)
        if not self._refused.done():
            self._refused.set_result(status)

    def _collect(self) -> bytes:
        children = [(part, child.pid, child.restarts) for part, child in self._children.items()]
        return metrics.collect_run(self._folder / "metrics", lambda: children)
