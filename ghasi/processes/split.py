"""`ghasi serve`, `ghasi work` and `ghasi database`: the same parts as under `up`, in processes of one's own.

Owns which of them share a port, what each needs, and what is refused. Restarts nothing: that is for what runs these
processes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from ghasi.contract.row import Upstream
from ghasi.processes import metrics
from ghasi.processes.database import check_events, keep_embedded, migrate_all, with_databases
from ghasi.processes.health import HealthChecks
from ghasi.processes.hosting import PACKAGES, WORKERS, CannotRun, Host, url_setting, wait_until_answering
from ghasi.processes.lifetime import Lifetime
from ghasi.processes.listening import HttpServer, address_of, bind, is_loopback, port_of
from ghasi.processes.secrets_file import find_secrets, make_secrets, with_secrets
from ghasi.processes.supervisor import LOOPBACK, check_carriers, with_development_defaults
from ghasi.settings import Settings
from ghasi.storage import embedded
from ghasi.storage.databases import SERVICES, own_variables, url_of

UPSTREAMS = tuple(upstream.value for upstream in Upstream)
PARTS = ("gateway", "portal", *UPSTREAMS, "identity", "simulator")
PORTS = {
    "gateway": "api_port", "portal": "portal_port", "identity": "identity_port", "simulator": "smsc_port",
}  # fmt: skip
"""The setting that holds a part's port; upstreams have none."""
Tell = Callable[[str], None]


async def serve(names: Sequence[str], port: int | None, settings: Settings, tell: Tell) -> int:
    """Serve parts until SIGTERM: the gateway and upstreams on one port, each other part on its own.

    Raises CannotRun where settings are missing or do not fit; CannotListen; one of UNAVAILABLE.
    """
    lifetime = Lifetime()
    wanted = list(dict.fromkeys(names))
    _check_names(wanted, port, settings)
    settings = with_development_defaults(settings, settings.near_host if "identity" in wanted else LOOPBACK)
    upstreams = [Upstream(name) for name in wanted if name in UPSTREAMS]
    if "gateway" in wanted:
        # what runs here is not asked for elsewhere, and what is nowhere else runs here
        settings = settings.model_copy(update={url_setting(item): None for item in upstreams})
        upstreams = [item for item in Upstream if not getattr(settings, url_setting(item))]
    if Upstream.AUTH in upstreams and settings.firebase_project_id is None:
        raise CannotRun("GHASI_FIREBASE_PROJECT_ID is not set: sign-in needs a Firebase project (or give --dev)")
    packages = [PACKAGES[upstream] for upstream in upstreams] + (["auth"] if "identity" in wanted else [])
    if packages:
        check_events(settings)
        settings = await with_databases(settings, packages)
    else:
        settings = with_secrets(settings, find_secrets(settings.data_dir))
    listeners = await _listen(wanted, port, settings, tell)
    had = {PORTS[name]: port_of(listener) for name, listener in listeners.items() if name in PORTS}
    settings = settings.model_copy(update=had)
    async with Host(settings, lifetime.stopping) as host, _metrics_served(host, tell):
        if "gateway" in wanted:
            services = await host.open_services(upstreams) if upstreams else None
            await host.add_gateway(listeners["gateway"], services, instance=uuid4().hex)
        elif upstreams:
            app = await host.open_services(upstreams, upstream_secret=settings.upstream_secret)
            host.add_server(" ".join(wanted), app, listeners["upstreams"])
        if "portal" in wanted:
            host.add_portal(listeners["portal"])
        if "identity" in wanted:
            await host.add_identity(listeners["identity"])
        if "simulator" in wanted:
            await host.add_simulator(listeners["simulator"])
        addresses = [f"  {name:10}{address_of(listener)}" for name, listener in listeners.items()]
        await _run(host, tell, "\n".join(["ready", *addresses]))
    return 0


async def work(names: Sequence[str], settings: Settings, tell: Tell) -> int:
    """Run background work until SIGTERM; raises CannotRun, or one of UNAVAILABLE."""
    lifetime = Lifetime()
    if unknown := [name for name in names if name not in WORKERS]:
        raise CannotRun(f"no such work: {', '.join(unknown)}; there are {', '.join(WORKERS)}")
    names = names or tuple(WORKERS)
    settings = check_carriers(with_development_defaults(settings))
    check_events(settings)
    settings = await with_databases(settings, [WORKERS[name] for name in names])
    if settings.carriers is None and not settings.dev and "dispatch" in names:
        raise CannotRun("GHASI_CARRIERS is not set: it is the path of carriers.toml (or give --dev)")
    async with Host(settings, lifetime.stopping) as host, _metrics_served(host, tell):
        await host.add_workers(names)
        await _run(host, tell, f"ready\n  working: {', '.join(names)}")
    return 0


async def keep_database(settings: Settings, tell: Tell) -> int:
    """Run the embedded database until SIGTERM, migrated, with the secrets that other processes need.

    Raises CannotRun where others are set for all services; EmbeddedError, MigrationError.
    """
    services = [service for service in SERVICES if url_of(settings, service) is None]
    if not services:
        named = "GHASI_DATABASE_URL is" if settings.database_url else f"{', '.join(own_variables(settings))} are"
        raise CannotRun(f"{named} set: the embedded database is not used")
    lifetime = Lifetime(limit_s=None)
    settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
    with embedded.locked(settings.data_dir):
        make_secrets(settings.data_dir)
        async with keep_embedded(settings.data_dir, tell) as url:
            await migrate_all(settings.model_copy(update={"database_url": url}), services)
            tell("ready")
            await lifetime.stopping.wait()
    return 0


def _check_names(wanted: Sequence[str], port: int | None, settings: Settings) -> None:
    unknown = [name for name in wanted if name not in PARTS]
    if unknown or not wanted:
        raise CannotRun(
            f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}" if unknown else "no part named"
        )
    upstreams = [name for name in wanted if name in UPSTREAMS]
    if upstreams and "gateway" not in wanted and not is_loopback(settings.host) and not settings.upstream_secret:
        raise CannotRun(
            f"{upstreams[0]} on {settings.host} could be reached by others than the gateway: "
            "set GHASI_UPSTREAM_SECRET, here and for the gateway"
        )
    if port is not None and len(_listening(wanted)) > 1:
        raise CannotRun("--port fits one port; these parts have several: use --api-port, --portal-port and so on")


def _listening(wanted: Sequence[str]) -> list[str]:
    names = [name for name in ("gateway", "portal", "identity", "simulator") if name in wanted]
    return names if "gateway" in wanted or not set(wanted) & set(UPSTREAMS) else ["upstreams", *names]


async def _listen(wanted: Sequence[str], port: int | None, settings: Settings, tell: Tell) -> dict[str, socket.socket]:
    """Bind what the parts listen on."""
    listeners = {}
    for name in _listening(wanted):
        setting = PORTS.get(name)
        hint = "--port" if setting is None or port is not None else f"GHASI_{setting.upper()}"
        default = 0 if setting is None else getattr(settings, setting)
        listeners[name] = await bind(settings.host, default if port is None else port, hint, on_wait=tell)
    return listeners


@asynccontextmanager
async def _metrics_served(host: Host, tell: Tell) -> AsyncIterator[None]:
    """Serve this process's metrics and health where a port is set; outlives the parts, to show how they drain."""
    settings = host.settings
    if settings.metrics_port is None:
        yield
        return
    listener = await bind(settings.host, settings.metrics_port, "GHASI_METRICS_PORT", on_wait=tell)
    server = HttpServer(metrics.metrics_app(metrics.collect_own, HealthChecks(lambda: host.checks)), listener)
    serving = asyncio.create_task(server.run_until_stopped())
    try:
        tell(f"metrics: http://{address_of(listener)}/metrics")
        yield
    finally:
        server.stop()
        await serving


async def _run(host: Host, tell: Tell, ready: str) -> None:
    saying = asyncio.create_task(wait_until_answering(HealthChecks(lambda: host.checks), lambda: tell(ready)))
    try:
        await host.run()
    finally:
        saying.cancel()
        await asyncio.wait([saying])
