"""Keeps this worker's leases on carriers' binds, and gives its fleet the binds that it holds.

Owns when a bind is taken, kept, let go and given back; who should have it is bind_plan's. A lease holds by the
database's clock for everybody else, and for this worker by its own, counted from before the statement that renewed it:
so it has let go before another can take it, whether it is cut off from the database or was stopped.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections import Counter as Counted
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from ghasi.carriers.fleet import Fleet
from ghasi.messages.dispatch import bind_queries as queries
from ghasi.messages.dispatch.bind_plan import Bind, plan
from ghasi.messages.dispatch.bind_queries import Leases
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool

LEASE_S = 6.0
"""Renewed every second: what a dead worker held is somebody else's within 10 s."""
GUARD_S = 0.3
"""How much earlier this worker's own clock ends a lease than the database's."""
RENEWED_EVERY_S, TRIED_AGAIN_S, ANSWERED_WITHIN_S = 1.0, 0.25, 2.0
LET_GO_EVERY_S = 1.0
SETTLES_S = 2.0
"""How long a worker must have been there to be given what others hold: one that keeps dying draws nothing to it."""

log = structlog.get_logger("ghasi.carriers")
_held = Gauge(
    "ghasi_carrier_binds_held", "Binds of the carrier that are held here", ["carrier"], multiprocess_mode="livesum"
)
_moved = Counter(
    "ghasi_carrier_binds_moved_total",
    "Binds taken over from another process, which had given them back or let its lease run out",
    ["carrier", "how"],
)


def name_process(run: str | None) -> str:
    """Return a name for a worker that no other has; of one of a run, its name there, which it has from a dead one."""
    # two containers on one host's network may have the same process id
    return f"{socket.gethostname()}:{run or f'{os.getpid()}:{secrets.token_hex(3)}'}"


class BindKeeper:
    """The leases of one worker: `begin`, then `keep` until it is stopped, then `leave`."""

    def __init__(
        self, pool: Pool, bells: Bells, fleet: Fleet[Any], process: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._bells = bells
        self._bell = bells.event("binds")
        self._fleet = fleet
        self._process = process
        self._clock = clock
        self._leases = Leases()
        self._until = 0.0
        self._leaving: set[Bind] = set()
        self._take: set[Bind] = set()
        self._let_go_at = float("-inf")
        self._known: set[str] = set()
        self.ending = False
        """Whether this worker wants no more binds; what it holds it keeps until `leave`."""

    async def begin(self) -> None:
        """Take what is free at once, so that carriers connect."""
        while await self.renew():
            pass

    async def keep(self) -> None:
        """Renew every second, or as soon as another gives binds back, until cancelled; never raises."""
        while True:
            wait_s = RENEWED_EVERY_S
            self._bell.clear()
            renewing = asyncio.create_task(self.renew())
            renewing.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever waits for it or not
            try:
                # what the database does not answer is not waited for: another connection may be fine
                await asyncio.wait((renewing,), timeout=ANSWERED_WITHIN_S)
                if not renewing.done():
                    log.warning("carrier_binds_not_renewed", cause="no answer in time")
                    wait_s = 0.0
                elif (error := renewing.exception()) is not None:
                    log.warning("carrier_binds_not_renewed", cause=type(error).__name__)
                    wait_s = TRIED_AGAIN_S
                elif renewing.result():
                    wait_s = 0.0
            finally:
                renewing.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._bell.wait()

    async def leave(self) -> None:
        """Give back all binds, after the carriers have ended."""
        if await queries.leave(self._pool, self._process):
            self._bells.ring("binds")

    async def renew(self) -> bool:
        """Renew the leases once, and have the carriers hold what that says; return whether there are binds to take."""
        began, here, fleet = self._clock(), self._fleet.held(), self._fleet
        mine = self._leases.mine | self._leases.held_by(self._process)
        wanted = {(name, number) for name, most in self._wishes().items() for number in range(1, most + 1)}
        give = {bind for bind in mine - here if bind in self._leaving or bind not in wanted}
        before = self._leases
        found = await queries.renew(
            self._pool,
            self._process,
            timedelta(seconds=LEASE_S),
            timedelta(seconds=SETTLES_S),
            {} if self.ending else self._wishes(),
            keep={bind: fleet.is_bound(bind[0]) for bind in sorted(mine - give)},
            give=sorted(give),
            take=[] if self.ending else sorted(self._take - mine),
        )
        self._leases, self._until = found, began + LEASE_S - GUARD_S
        self._count_moves(found.mine - mine, before)
        self._leaving &= found.mine
        if give:
            self._bells.ring("binds")
        self._plan(found)
        self._hold(found)
        # what it holds without having renewed it was taken by a statement whose answer was lost, or by the worker of
        # its name before it
        return bool(self._take or found.held_by(self._process))

    def _wishes(self) -> dict[str, int]:
        return {name: member.configuration.binds for name, member in self._fleet.members.items() if member.wanted}

    def _plan(self, found: Leases) -> None:
        """Decide what to take next, and what to let go: one bind a second, so that others notice little."""
        holders: dict[Bind, str | None] = found.holders | dict.fromkeys(found.mine - self._leaving, self._process)
        holders |= dict.fromkeys(self._leaving)
        planned = plan(holders, found.wishes, found.settled)
        given = {bind for bind, owner in planned.items() if owner == self._process and holders.get(bind) is None}
        self._take = given - self._leaving
        now = self._clock()
        if now - self._let_go_at < LET_GO_EVERY_S or self.ending:
            return
        for bind in sorted(found.mine - self._leaving):
            if planned.get(bind, self._process) != self._process:
                log.info("carrier_bind_let_go", carrier=bind[0], number=bind[1], to=planned[bind])
                self._leaving.add(bind)
                self._let_go_at = now
                return

    def _hold(self, found: Leases) -> None:
        """Have the carriers connect with what this worker holds and keeps; tell them what others have."""
        keeps = found.mine - self._leaving
        elsewhere = {carrier for carrier, _ in found.up} | {carrier for carrier, _ in self._leaving & found.mine}
        for name, member in self._fleet.members.items():
            member.elsewhere = name in elsewhere
            if member.started:
                most = member.configuration.binds
                member.hold([number for carrier, number in keeps if carrier == name and number <= most], self._until)
        for member in self._fleet.leaving:
            if member.started:
                own = [number for number in member.carrier.held() if (member.name, number) in found.mine]
                member.hold(own, self._until)
        held = Counted(carrier for carrier, _ in found.mine)
        self._known |= held.keys()
        for name in self._known:
            _held.labels(name).set(held[name])

    def _count_moves(self, taken: set[Bind], before: Leases) -> None:
        for bind in taken:
            if bind in before.lapsed or bind in before.up:
                how = "lapsed" if bind in before.lapsed else "given"
                _moved.labels(bind[0], how).inc()
                log.info("carrier_bind_taken", carrier=bind[0], number=bind[1], how=how)
