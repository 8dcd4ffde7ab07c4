"""A carrier over SMPP 3.4: its links, kept alive, and the spacing of what goes out over them.

Owns the choice of the link, the throughput and what an operator sees of the carrier. Stores nothing, so whatever was
in flight when the process dies is for its caller to settle.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Literal

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
        self._lines: list[Line] = []
        self._senders: list[Line] = []
        self._detail = "not started"
        throughput = configuration.throughput_per_s
        self._interval_s = 0.0 if throughput is None else _SPARE / throughput
        self._next_at = 0.0

    async def start(self, on_receipts: ReceiptSink, on_inbound: InboundSink) -> None:
        """Begin to connect, and keep connecting until stop; raises OSError when a TLS file can't be read."""
        if self._lines:
            raise RuntimeError(f"carrier {self.name} is started already")
        told = self._configuration
        context: ssl.SSLContext | None = None
        if told.tls:
            context = ssl.create_default_context(cafile=told.tls_ca_file)
            if told.tls_cert_file is not None:
                context.load_cert_chain(told.tls_cert_file, told.tls_key_file)
        terms = Terms(told, self._timing, on_receipts, on_inbound, self._submitter)
        roles = _ROLES[told.bind]
        self._lines = [Line(terms, role, number, context) for number in range(told.binds) for role in roles]
        self._senders = [line for line in self._lines if line.role != "receiver"]

    async def stop(self) -> None:
        """Wait for outstanding answers, unbind and close; every future has its result afterwards."""
        lines, self._lines, self._senders = self._lines, [], []
        await asyncio.gather(*(line.stop() for line in lines))
        self._detail = "stopped"

    def split(self, text: str) -> Split:
        """Return a text as this carrier's submits; raises ValueError for a text that no message can carry."""
        return self._submitter.split(text)

    @property
    def links(self) -> list[Link]:
        """The links that segments can be submitted on now."""
        return [line.link for line in self._senders if line.link is not None and line.link.open]

    def capacity(self) -> int:
        """Return how many segments the windows and throughput_per_s allow now: 0 when not bound."""
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
        return CarrierState(
            name=self.name,
            kind="smpp",
            bound=any(line.is_open for line in self._senders),
            links=sum(line.is_open for line in self._lines),
            links_wanted=told.binds * len(_ROLES[told.bind]),
            window=told.window * told.binds,
            outstanding=sum(len(line.link.outstanding) for line in self._senders if line.link is not None),
            throughput_per_s=told.throughput_per_s,
            detail=self._describe(),
        )

    def _describe(self) -> str:
        """Return the links' detail: that of the only one, or how many are up and what is wrong with the first other."""
        lines = self._lines
        if not lines:
            return self._detail
        down = [line for line in lines if not line.is_open]
        if not down or len(lines) == 1:
            return lines[0].detail
        return f"{len(lines) - len(down)} of {len(lines)} links; {down[0].role}: {down[0].detail}"
