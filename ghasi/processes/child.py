"""The child's side: `python -m ghasi child PART ORDER`, an internal command of the supervisor's.

Owns which parts make up the API process, the worker, the simulator and the identity server. Ends when told to or when
its supervisor does.
"""

import asyncio
import gc
import socket
from pathlib import Path

import msgspec
import structlog

from ghasi.contract.row import Upstream
from ghasi.processes.children import ChildOrder
from ghasi.processes.health import HealthChecks, neighbour, socket_path
from ghasi.processes.hosting import WORKERS, CannotRun, Host, PartEnded, url_setting
from ghasi.processes.lifetime import Lifetime, run
from ghasi.processes.listening import HttpServer, bind_unix
from ghasi.processes.logs import configure_logs
from ghasi.settings import Settings
from ghasi.storage.pool import UNAVAILABLE
from ghasi.storage.sealing import SealError

log = structlog.get_logger("ghasi.process")


def main(arguments: list[str]) -> int:
    """Run one child; returns its exit code, 2 when to start it again does not help."""
    part, text = arguments
    order = msgspec.json.decode(text, type=ChildOrder)
    settings = Settings()
    configure_logs(part, settings.log_level)
    return run(lambda: _run(order, settings))


async def _run(order: ChildOrder, settings: Settings) -> int:
    lifetime = Lifetime(order.lifeline)
    try:
        async with Host(settings, lifetime.stopping) as host:
            opened = asyncio.Event()
            health = _health_server(order, host, opened)
            serving = asyncio.create_task(health.run_until_stopped())
            try:
                await _open(order, host)
                gc.freeze()  # the collector has no need to look through what stays
                gc.enable()
                opened.set()
                await host.run()
            finally:
                health.stop()
                await serving
    except (CannotRun, SealError) as error:
        log.error("cannot_run", reason=str(error))  # noqa: TRY400 - it speaks for itself
        return 2
    except PartEnded as error:
        log.error("part_ended", reason=str(error))  # noqa: TRY400 - it speaks for itself
        return 1
    except UNAVAILABLE as error:
        log.error("unavailable", error=type(error).__name__, reason=str(error))  # noqa: TRY400 - the database is away
        return 1
    except Exception:
        log.exception("process_failed")
        return 1
    return 0


def _health_server(order: ChildOrder, host: Host, opened: asyncio.Event) -> HttpServer:
    async def starting() -> dict[str, str]:
        return {order.part: "starting"}

    checks = HealthChecks(lambda: host.checks if opened.is_set() else {order.part: starting})
    return HttpServer(checks, bind_unix(socket_path(Path(order.run_folder), order.part)))


async def _open(order: ChildOrder, host: Host) -> None:
    listen = {name: socket.socket(fileno=number) for name, number in order.listen.items()}
    match order.part:
        case "api":
            host.add_portal(listen["portal"])
            services = await host.open_services(_in_process(host.settings))
            folder = Path(order.run_folder)
            neighbours = {part: neighbour(part, folder) for part in order.neighbours}
            await host.add_gateway(listen["api"], services, instance=order.instance, neighbours=neighbours)
        case "worker":
            await host.add_workers(WORKERS, run=Path(order.run_folder).name)
        case "simulator":
            await host.add_simulator(listen["simulator"])
        case "identity":
            await host.add_identity(listen["identity"])
        case _:
            raise CannotRun(f"there is no part {order.part}")


def _in_process(settings: Settings) -> list[Upstream]:
    """Return the upstreams whose URL is not set."""
    return [item for item in Upstream if not getattr(settings, url_setting(item))]
