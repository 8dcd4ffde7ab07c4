"""A carrier over SMPP 3.4: its links, kept alive, and the spacing of what goes out over them.

Owns the choice of the link, the throughput and what an operator sees of the carrier. Stores nothing, so whatever was
in flight when the process dies is for its caller to settle.
"""

import asyncio
import math
import ssl
import time
from collections.abc import Collection, Sequence
from typing import Literal

import structlog

from ghasi.carriers.binds import Lease, part_of
from ghasi.carriers.carrier import (
    CarrierState,
    InboundPart,
    InboundSink,
    Outcome,
    Receipt,
    ReceiptSink,
    Segment,
    Split,
    SubmitResult,
)
from ghasi.carriers.smpp import statuses
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing, timing_of
from ghasi.carriers.smpp.line import Line
from ghasi.carriers.smpp.link import DeliveryHandle, Link, Role
from ghasi.carriers.smpp.submit import Submitter
from ghasi.carriers.smpp.terms import Terms

AHEAD_S = 0.3
"""How far ahead submits are taken that throughput_per_s lets out later: longer than a dispatcher takes to come back."""
_SPARE = 1.02
"""The spacing is a fiftieth wider than it had to be: timers and networks bunch what was evenly spaced."""
_ROLES: dict[str, tuple[Role, ...]] = {
    "transceiver": ("transceiver",),
    "transmitter_receiver": ("transmitter", "receiver"),
}
_log = structlog.get_logger("ghasi.carriers")


class SmppCarrier:
    """Implements the Carrier protocol over SMPP 3.4.

    A submit without room (see `capacity`) is not queued: it is UNSENT at once. What was brought and can never be read
    is refused for good with ESME_RX_P_APPN and logged without its text, since an SMSC would send it again for days.
    """

    def __init__(self, configuration: SmppConfiguration, timing: Timing | None = None) -> None:
        self.name: str = configuration.name
        self.on_unknown_submit: Literal["resend", "unknown"] = configuration.on_unknown_submit
        self._configuration = configuration
        self._timing = timing or timing_of(configuration)
        self._submitter = Submitter(configuration)
        self._terms: Terms | None = None
        self._context: ssl.SSLContext | None = None
        self._lease = Lease()
        self._lapses: asyncio.TimerHandle | None = None
        self._binds: dict[int, list[Line]] = {}
        # let go, and waiting for their last answers
        self._leaving: dict[int, tuple[list[Line], asyncio.Task[None]]] = {}
        self._senders: list[Line] = []
        self._detail = "not started"
        self._throughput: float | None = None
        self._interval_s = 0.0
        self._next_at = 0.0

    async def start(
        self, on_receipts: ReceiptSink, on_inbound: InboundSink, *, binds: Collection[int] | None = None
    ) -> None:
        """Begin to connect, and keep connecting until stop; raises OSError when a TLS file can't be read."""
        if self._terms is not None:
            raise RuntimeError(f"carrier {self.name} is started already")
        told = self._configuration
        context: ssl.SSLContext | None = None
        if told.tls:
            context = ssl.create_default_context(cafile=told.tls_ca_file)
            if told.tls_cert_file is not None:
                context.load_cert_chain(told.tls_cert_file, told.tls_key_file)
        self._context = context
        self._terms = Terms(told, self._timing, on_receipts, on_inbound, self._submitter, self._lease)
        self._detail = "no bind is held here"
        self.hold(range(1, told.binds + 1) if binds is None else binds, math.inf)

    async def stop(self) -> None:
        """Wait for outstanding answers, unbind and close; every future has its result afterwards."""
        self._terms = None
        if self._lapses is not None:
            self._lapses.cancel()
        lines = [line for pair in self._binds.values() for line in pair]
        self._binds.clear()
        self._share()
        leaving = list(self._leaving.values())
        # what was let go before and still waits gets no more time than the rest
        await asyncio.gather(*(line.stop() for line in (*lines, *(line for pair, _ in leaving for line in pair))))
        await asyncio.gather(*(task for _, task in leaving), return_exceptions=True)
        self._detail = "stopped"

    def hold(self, binds: Collection[int], until: float) -> None:
        """Have exactly these binds from now on, until time.monotonic() is `until`; one that still leaves comes later.

        One that is let go closes when it has its answers, which it is given as long for as any submit.
        """
        if self._terms is None:
            return
        self._lease.until = until
        if self._lapses is not None:
            self._lapses.cancel()
            self._lapses = None
        if until != math.inf:
            self._lapses = asyncio.get_running_loop().call_later(
                max(0.0, self._lease.submits_until - time.monotonic()), self._lapse
            )
        for number in self._binds.keys() - set(binds):
            self._let_go(number, self._timing.response_timeout_s)
        roles = _ROLES[self._configuration.bind]
        for number in sorted(set(binds) - self._binds.keys() - self._leaving.keys()):
            self._binds[number] = [Line(self._terms, role, number, self._context) for role in roles]
        self._share()

    def held(self) -> Collection[int]:
        """Return the binds that are here: those too that were let go, while they wait for answers."""
        return self._binds.keys() | self._leaving.keys()

    def _share(self) -> None:
        """Work out what the binds held here may do."""
        told = self._configuration
        self._senders = [line for pair in self._binds.values() for line in pair if line.role != "receiver"]
        if told.throughput_per_s is not None:
            self._throughput = part_of(told.throughput_per_s, told.binds, self._binds.keys())
            self._interval_s = _SPARE / self._throughput if self._throughput else 0.0

    def _let_go(self, number: int, patience_s: float | None) -> None:
        lines = self._binds.pop(number)
        task = asyncio.create_task(self._leave(lines, patience_s), name=f"carrier {self.name} leaves {number}")
        self._leaving[number] = lines, task
        task.add_done_callback(lambda _: self._leaving.pop(number, None))

    async def _leave(self, lines: Sequence[Line], patience_s: float | None) -> None:
        # what other links were given ahead is spaced as if this one were here: nobody else has it before that is out
        ahead = [asyncio.sleep(AHEAD_S)] if self._interval_s else []
        await asyncio.gather(*(line.stop(patience_s) for line in lines), *ahead)

    def _lapse(self) -> None:
        """Let all binds go, as the lease runs out: others may have them soon."""
        _log.warning("carrier_lease_lapsed", carrier=self.name, binds=len(self._binds))
        for number in list(self._binds):
            self._let_go(number, None)
        self._share()
        self._lapses = asyncio.get_running_loop().call_later(max(0.0, self._lease.until - time.monotonic()), self._drop)

    def _drop(self) -> None:
        for lines, _ in self._leaving.values():
            for line in lines:
                line.abort("its lease has run out")

    def split(self, text: str) -> Split:
        """Return a text as this carrier's submits; raises ValueError for a text that no message can carry."""
        return self._submitter.split(text)

    @property
    def links(self) -> list[Link]:
        """The links that segments can be submitted on now."""
        return [line.link for line in self._senders if line.link is not None and line.link.open]

    def capacity(self) -> int:
        """Return how many segments the windows and throughput_per_s allow now: 0 when not bound, or not for long."""
        if time.monotonic() >= self._lease.submits_until:
            return 0
        window = self._configuration.window
        room = 0
        for line in self._senders:
            link = line.link
            if link is not None and link.open:
                free = window - len(link.outstanding)
                if free > 0:
                    room += free
        interval_s = self._interval_s
        if not interval_s or not room:
            return room
        ahead_s = AHEAD_S - self._next_at + asyncio.get_running_loop().time()
        return 0 if ahead_s < 0 else min(room, 1 + int(min(ahead_s, AHEAD_S) / interval_s))

    def submit(self, segment: Segment) -> asyncio.Future[SubmitResult]:
        """Submit a segment; the future always gets a result, never an exception."""
        link = self._roomiest()
        interval_s = self._interval_s
        if link is not None:
            if not interval_s:
                return link.submit(segment)
            now = asyncio.get_running_loop().time()
            due = max(self._next_at, now)
            if due <= now + AHEAD_S:
                self._next_at = due + interval_s
                return link.submit(segment, due)
        result: asyncio.Future[SubmitResult] = asyncio.get_running_loop().create_future()
        result.set_result(SubmitResult(Outcome.UNSENT, detail="the carrier is not bound, or has no room"))
        return result

    def _roomiest(self) -> Link | None:
        """Return the open link with the fewest submits outstanding, if it has room."""
        if time.monotonic() >= self._lease.submits_until:
            return None
        best: Link | None = None
        fewest = self._configuration.window
        for line in self._senders:
            link = line.link
            if link is not None and link.open and len(link.outstanding) < fewest:
                best, fewest = link, len(link.outstanding)
        return best

    def acknowledge(self, words: Sequence[Receipt | InboundPart], *, accepted: bool) -> None:
        """Answer what was brought with ESME_ROK, or with ESME_RX_T_APPN, for which the SMSC sends it again.

        What came over a link that has closed meanwhile is passed over: the SMSC sends it again on the next one.
        """
        status = statuses.ESME_ROK if accepted else statuses.ESME_RX_T_APPN
        for word in words:
            handle = word.handle
            if isinstance(handle, DeliveryHandle):
                handle.link.acknowledge(handle.sequence, status, handle.command)

    def state(self) -> CarrierState:
        """Return what an operator sees; `bound` is whether a link for submits is up."""
        told = self._configuration
        lines = [line for pair in self._binds.values() for line in pair]
        waiting = [*lines, *(line for pair, _ in self._leaving.values() for line in pair)]
        return CarrierState(
            name=self.name,
            kind="smpp",
            bound=any(line.is_open for line in self._senders) and time.monotonic() < self._lease.submits_until,
            links=sum(line.is_open for line in lines),
            links_wanted=len(lines),
            window=told.window * len(self._binds),
            outstanding=sum(len(line.link.outstanding) for line in waiting if line.link is not None),
            throughput_per_s=None if self._throughput is None else math.ceil(self._throughput),
            detail=self._describe(lines),
        )

    def _describe(self, lines: Sequence[Line]) -> str:
        """Return the links' detail: that of the only one, or how many are up and what is wrong with the first other."""
        if not lines:
            return self._detail
        down = [line for line in lines if not line.is_open]
        if not down or len(lines) == 1:
            return lines[0].detail
        return f"{len(lines) - len(down)} of {len(lines)} links; {down[0].role}: {down[0].detail}"
