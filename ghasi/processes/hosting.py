"""What one process hosts: services behind one app, the gateway, the portal, workers, the simulated carrier.

Each part is imported when it is hosted, so that a process loads only what it runs. Owns the order of starting and
draining: listeners first, then parts, databases last. Knows nothing of the supervisor.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import structlog

from ghasi.contract.row import Upstream
from ghasi.contract.serving import Asgi, Handler, ServiceApp
from ghasi.contract.table import BY_OPERATION
from ghasi.processes.health import Check, HealthChecks
from ghasi.processes.listening import DRAIN_S, HttpServer
from ghasi.processes.resources import ResourcesByService
from ghasi.settings import Settings
from ghasi.storage.pool import UNAVAILABLE, check
from ghasi.storage.resources import Resources

PACKAGES: dict[Upstream, str] = {
    Upstream.AUTH: "auth",
    Upstream.ORCHESTRATOR: "messages",
    Upstream.STORE: "messages",
    Upstream.WEBHOOKS: "webhooks",
    Upstream.BILLING: "billing",
}
WORKERS: dict[str, str] = {"dispatch": "messages", "webhooks": "webhooks", "billing": "billing", "auth": "auth"}
"""What `ghasi work NAME` runs, by package."""
log = structlog.get_logger("ghasi.process")


class CannotRun(Exception):  # noqa: N818 - says what is the matter
    """The settings or what surrounds this process do not allow it to run; to start it again does not help."""


class PartEnded(Exception):  # noqa: N818 - says what happened
    """A part returned although nobody stopped it."""


class Host:
    """The parts of this process: add them, then `run`. An async context manager, which closes them in reverse order.

    `checks` are what this process answers for, by part.
    """

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self.settings = settings
        self.checks: dict[str, Check] = {}
        self._stopping = stopping
        self._stack = AsyncExitStack()
        self._resources = ResourcesByService(settings, stopping, self._stack, self.checks)
        self._servers: list[HttpServer] = []
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._watches: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def open_resources(self, service: str) -> Resources:
        """Return what a service's parts get; opened once for all services of its database."""
        return await self._resources.open(service)

    async def open_services(self, upstreams: Iterable[Upstream], *, upstream_secret: str | None = None) -> ServiceApp:
        """Open the services of upstreams and return their one app.

        `upstream_secret` is what the gateway must prove itself by, where others than it could reach the app.
        """
        wanted = frozenset(upstreams)
        handlers: dict[str, Handler] = {}
        pools = set()
        for package in dict.fromkeys(PACKAGES[upstream] for upstream in Upstream if upstream in wanted):
            resources = await self.open_resources(package)
            pools.add(resources.pool)
            routes = import_module(f"ghasi.{package}.routes")
            handlers |= await self._stack.enter_async_context(routes.serve(resources))
        served = {name: item for name, item in handlers.items() if wanted.intersection(BY_OPERATION[name].upstreams)}

        async def health() -> None:
            await asyncio.gather(*map(check, pools))

        return ServiceApp(served, health=health, unavailable=UNAVAILABLE, upstream_secret=upstream_secret)

    async def add_gateway(
        self,
        listener: socket.socket,
        services: Asgi | None,
        *,
        instance: str,
        neighbours: Mapping[str, Check] | None = None,
    ) -> None:
        """Host the gateway before services of this process, split ones, or both.

        GET /healthz reports this process's checks and those of `neighbours`. Raises ValueError, naming the setting,
        for an upstream that is nowhere; CannotRun when a setting does not fit, or another gateway is running: from
        `run` when that comes later.
        """
        app = import_module("ghasi.gateway.app")
        gateway_exists = import_module("ghasi.gateway.state").GatewayExists
        upstreams = import_module("ghasi.gateway.upstreams").connect_upstreams(self.settings, services)
        own = self.checks
        # the gateway adds its own state
        others = HealthChecks(
            lambda: {name: item for name, item in own.items() if name != "gateway"} | dict(neighbours or {})
        )
        try:
            gateway = app.Gateway(self.settings, upstreams, instance=instance, health=others.run)
        except ValueError as error:
            raise CannotRun(str(error)) from error
        self._stack.push_async_callback(gateway.close)
        try:
            await gateway.start()
        except gateway_exists as error:
            raise CannotRun(str(error)) from error

        async def hold_lease() -> None:
            try:
                await gateway.lease_lost()
            except gateway_exists as error:
                raise CannotRun(str(error)) from error

        watch = self.add_task("gateway", hold_lease())
        self._watches.append(watch)
        # it answers without lease and keys too, but no caller can be verified then
        self.add_server("gateway", gateway, listener, ready=lambda: gateway.ready)

    def add_portal(self, listener: socket.socket) -> None:
        """Host the portal; CannotRun when its scripts and styles are not built."""
        portal = import_module("ghasi.portal.app")
        try:
            app = portal.portal_app(self.settings)
        except portal.AssetsMissingError as error:
            raise CannotRun(str(error)) from error
        self.add_server("portal", app, listener)

    async def add_identity(self, listener: socket.socket) -> None:
        """Host the local identity server, whose users lie with auth's data."""
        identity = import_module("ghasi.identity.app")
        project_id = self.settings.firebase_project_id or "demo-ghasi"
        resources = await self.open_resources("auth")
        self.add_server("identity", identity.identity_app(resources, project_id), listener)

    async def add_simulator(self, listener: socket.socket) -> None:
        """Host the simulated carrier."""
        simulator = await import_module("ghasi.carriers.simulator").serve_simulator(sock=listener)
        self._stack.push_async_callback(simulator.close)
        self.checks["simulator"] = _nothing  # it answers if this process does

    async def add_workers(self, names: Iterable[str], *, run: str | None = None) -> None:
        """Run background work by its names in WORKERS; `run` names a run in which one such process follows another."""
        opened = {name: replace(await self.open_resources(WORKERS[name]), run=run) for name in names}
        for name, resources in opened.items():
            self.checks[name] = _nothing  # while this process answers: it ends when its work does
            self.add_task(name, import_module(f"ghasi.{WORKERS[name]}.worker").work(resources))

    def add_server(
        self, name: str, app: Any, listener: socket.socket, *, ready: Callable[[], bool] = lambda: True
    ) -> None:
        """Serve an ASGI app on a socket; it passes its check once it listens and is `ready`."""
        server = HttpServer(app, listener)

        async def answers() -> Mapping[str, str]:
            return {name: "ok" if server.started and ready() else "not ready"}

        self.checks[name] = answers
        self._servers.append(server)
        self.add_task(name, server.run_until_stopped())

    def add_task(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine that must not end before the process is stopped."""
        task = asyncio.create_task(work, name=name)
        self._tasks[task] = name
        return task

    async def run(self) -> None:
        """Run until the process is stopped, then drain; raises what ended a part, or PartEnded, when one ended before.

        A part that has not drained after 9 s is cancelled.
        """
        self.add_task("stop", self._stopping.wait())
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = [(name, task) for task, name in self._tasks.items() if task in done and name != "stop"]
        early = [] if self._stopping.is_set() else ended
        self._stopping.set()
        for server in self._servers:
            server.stop()
        for task in self._watches:
            task.cancel()
        _, late = await asyncio.wait(self._tasks, timeout=DRAIN_S + 1.0)
        for task in late:
            log.error("part_cancelled", name=self._tasks[task])
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for (task, name), result in zip(self._tasks.items(), results, strict=True):
            if isinstance(result, Exception) and task not in done:
                log.error("part_failed_to_drain", name=name, error=type(result).__name__, exc_info=result)
        for name, task in early:
            if (error := task.exception()) is not None:
                raise error
            raise PartEnded(f"{name} ended by itself")


def url_setting(upstream: Upstream) -> str:
    """Return the name of the setting that says where a split upstream is."""
    return f"{upstream.value.replace('-', '_')}_url"


async def wait_until_answering(checks: HealthChecks, on_ready: Callable[[], None]) -> None:
    """Call `on_ready` once all checks pass."""
    while (await checks.run())["status"] != "ok":
        await asyncio.sleep(0.05)
    on_ready()


async def _nothing() -> None:
    return None
