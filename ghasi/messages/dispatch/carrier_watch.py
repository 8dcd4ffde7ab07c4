"""Keeps a process's fleet as carriers.toml and the operators want it, and tells what it sees of it.

Owns the reading again of the file, the modes from the database, and what is written of carriers once a second. A file
that can't be used is refused and shown; what runs goes on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import structlog
from prometheus_client import Gauge

from ghasi.carriers.configuration import (
    CarrierConfigurationError,
    CarriersFile,
    parse_carriers_file,
    read_carriers_file,
    simulator_configuration,
)
from ghasi.carriers.fleet import Fleet, Member, Wanted
from ghasi.carriers.routing import Routes
from ghasi.messages.dispatch import carrier_queries as queries
from ghasi.messages.dispatch import queries as dispatch_queries
from ghasi.messages.dispatch.carrier_queries import Seen
from ghasi.messages.dispatch.dispatching import Dispatcher
from ghasi.messages.dispatch.flights import Tally
from ghasi.settings import Settings
from ghasi.storage.pool import Pool

MODES = ("active", "paused", "draining", "drained")
RELEASED_AT_ONCE = 2_000
HELD_COUNTED_EVERY_S = 10.0

log = structlog.get_logger("ghasi.carriers")
_links = Gauge("ghasi_carrier_links", "Connections that are up", ["carrier"], multiprocess_mode="livesum")
_links_wanted = Gauge(
    "ghasi_carrier_links_wanted", "Connections that should be up", ["carrier"], multiprocess_mode="livesum"
)
_outstanding = Gauge("ghasi_carrier_outstanding", "Submits not answered yet", ["carrier"], multiprocess_mode="livesum")
_window = Gauge("ghasi_carrier_window", "Submits that may be unanswered", ["carrier"], multiprocess_mode="livesum")
_queue = Gauge(
    "ghasi_carrier_queue", "Claimed messages that wait for the carrier", ["carrier"], multiprocess_mode="livesum"
)
_held = Gauge(
    "ghasi_carrier_held", "Messages that lie aside until the carrier takes them", ["carrier"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
_mode = Gauge("ghasi_carrier_mode", "1 for the carrier's mode", ["carrier", "mode"], multiprocess_mode="livemax")
_faulty = Gauge("ghasi_carriers_file_faulty", "1 while carriers.toml is refused", multiprocess_mode="livemax")


class CarrierWatch:
    """carriers.toml of one process: `read` at the start, `look_again` and `tell` once a second."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        fleet: Fleet[Any],
        use_routes: Callable[[Routes | None], None],
        *,
        process: str,
    ) -> None:
        self._path = settings.carriers
        self._simulated = settings.dev and settings.carriers is None
        self._smsc_port = settings.smsc_port
        self._pool = pool
        self._fleet = fleet
        self._use_routes = use_routes
        self._process = process
        self._content: bytes | None = None
        self._release = False
        self._known: set[str] = set()
        # of the carriers used, and of those that the database was last told of
        self._version, self._told_version = 0, -1
        self._told_at = time.monotonic()
        self._held_counted_at = 0.0
        self.fault: str | None = None

    async def begin(self) -> None:
        """Start the carriers; with a file that can't be used there are none until it can."""
        await self._read_modes()
        if self._simulated:
            await self._use(CarriersFile([simulator_configuration("127.0.0.1", self._smsc_port)]))
        elif self._path is not None:
            self._content = await asyncio.to_thread(_read, self._path)
            await self._reread(self._path)

    async def look_again(self) -> None:
        """Take the file if its content has changed, and what operators want; then have the fleet tend its carriers."""
        if self._path is not None:
            content = await asyncio.to_thread(_read, self._path)
            if content != self._content:
                self._content = content
                await self._reread(self._path)
        await self._read_modes()
        await self._fleet.tend()
        if self._release:
            # what lies aside may go another way by now; in batches, decided as it is claimed
            self._release = await dispatch_queries.release_held(self._pool, RELEASED_AT_ONCE) == RELEASED_AT_ONCE

    async def _reread(self, path: Path) -> None:
        try:
            file = _parse(path, self._content)
        except CarrierConfigurationError as error:
            self.fault = str(error)
            log.error("carriers_file_refused", fault=self.fault)  # noqa: TRY400 - the fault is all there is to say
        else:
            self.fault = None
            await self._use(file)
            log.info("carriers_file_taken", carriers=len(file.carriers), routes=len(file.routes))

    async def _use(self, file: CarriersFile) -> None:
        # without rules every carrier may take every message, which needs no deciding
        self._use_routes(file.routing if file.routes else None)
        await self._fleet.apply(file.carriers)
        self._version += 1
        self._release = True

    async def _read_modes(self) -> None:
        self._fleet.set_modes(cast("Mapping[str, Wanted]", await queries.read_modes(self._pool)))

    async def tell(self, dispatcher: Dispatcher) -> None:
        """Write down what the carriers do, for operators and for metrics."""
        now, version = time.monotonic(), self._version  # others may come while this is written
        elapsed_s, self._told_at = max(now - self._told_at, 0.001), now
        waiting = dispatcher.count_waiting()
        seen = [
            _see(member, position, waiting.get(member.name, 0), dispatcher.tallies[member.name], elapsed_s)
            for position, member in enumerate(self._fleet.members.values())
        ]
        await queries.write_carriers(self._pool, self._process, seen)
        for one in seen:
            tally = dispatcher.tallies[one.state.name]
            tally.submitted -= one.submitted
            tally.refused -= one.refused
            tally.receipts -= one.receipts
            tally.resubmitted -= one.resubmitted
        if self._told_version != version:
            await queries.set_configured(self._pool, [one.state.name for one in seen])
            self._told_version = version
        await queries.write_fault(self._pool, self._process, self.fault)
        await self._measure(seen)

    async def leave(self) -> None:
        """Take back what this process said of carriers, as it ends."""
        await queries.forget_process(self._pool, self._process)

    async def _measure(self, seen: Sequence[Seen]) -> None:
        """Set the gauges; of a carrier that is no more they are gone."""
        _faulty.set(self.fault is not None)
        names = {one.state.name for one in seen}
        for gone in self._known - names:
            for gauge in (_links, _links_wanted, _outstanding, _window, _queue, _held):
                gauge.labels(gone).set(0)
            for mode in MODES:
                _mode.labels(gone, mode).set(0)
        self._known = names
        for one in seen:
            state = one.state
            _links.labels(state.name).set(state.links)
            _links_wanted.labels(state.name).set(state.links_wanted)
            _outstanding.labels(state.name).set(state.outstanding)
            _window.labels(state.name).set(state.window)
            _queue.labels(state.name).set(one.waiting)
            for mode in MODES:
                _mode.labels(state.name, mode).set(mode == one.mode)
        if time.monotonic() - self._held_counted_at >= HELD_COUNTED_EVERY_S:
            self._held_counted_at = time.monotonic()
            held = await dispatch_queries.count_held(self._pool)
            for name in names:
                _held.labels(name).set(held.get(name, 0))


def _see(member: Member[Any], position: int, waiting: int, tally: Tally, elapsed_s: float) -> Seen:
    return Seen(
        state=member.state(),
        position=position,
        mode=member.mode,
        waiting=waiting,
        submitted=tally.submitted,
        refused=tally.refused,
        receipts=tally.receipts,
        resubmitted=tally.resubmitted,
        submitted_per_s=tally.submitted / elapsed_s,
        refused_per_s=tally.refused / elapsed_s,
        receipts_per_s=tally.receipts / elapsed_s,
    )


def _parse(path: Path, content: bytes | None) -> CarriersFile:
    return read_carriers_file(path) if content is None else parse_carriers_file(path, content)


def _read(path: Path) -> bytes | None:
    """Return the file's content; None where it can't be read, which its reader says better."""
    try:
        return path.read_bytes()
    except OSError:
        return None
