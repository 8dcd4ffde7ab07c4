"""A carrier over SMPP 3.4: one bound transceiver that is kept alive.

Owns the reconnecting, the throughput cap and what an operator sees of the carrier. What goes over the socket is
link.py's; it stores nothing, so whatever was in flight when the process dies is for its caller to settle.
"""

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import structlog

from ghasi.carriers.carrier import CarrierState, Outcome, Receipt, ReceiptSink, Segment, SubmitResult
from ghasi.carriers.smpp import statuses
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing
from ghasi.carriers.smpp.link import Link, ReceiptHandle

_log = structlog.get_logger("ghasi.carriers")


class SmppCarrier:
    """Implements the Carrier protocol over one SMPP 3.4 transceiver.

    A submit without room (see `capacity`) is not queued: it is UNSENT at once. A deliver_sm that is no receipt (a
    mobile-originated message), or one that can't be read, is refused for good with ESME_RX_P_APPN and logged
    without its text, since an SMSC would send it again for days otherwise.
    """

    def __init__(self, configuration: SmppConfiguration, timing: Timing | None = None) -> None:
        self.name: str = configuration.name
        self.on_unknown_submit: Literal["resend", "unknown"] = configuration.on_unknown_submit
        self._configuration = configuration
        self._timing = timing or Timing()
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._detail = "not started"
        self._recent: deque[float] = deque()  # when the submits of the last second were made

    async def start(self, on_receipts: ReceiptSink) -> None:
        """Begin to connect, and keep connecting until stop; raises OSError when tls_ca_file can't be read."""
        if self._task is not None:
            raise RuntimeError(f"carrier {self.name} is started already")
        context: ssl.SSLContext | None = None
        if self._configuration.tls:
            context = ssl.create_default_context(cafile=self._configuration.tls_ca_file)
        self._stopping = False
        self._task = asyncio.create_task(self._keep_connected(on_receipts, context), name=f"carrier {self.name}")

    async def stop(self) -> None:
        """Wait for outstanding answers (5 s), unbind and close; every future has its result afterwards."""
        self._stopping = True
        if self._link is not None:
            await self._link.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._detail = "stopped"

    def capacity(self) -> int:
        """Return how many segments the window and throughput_per_s allow now: 0 when not bound."""
        link = self._link
        if link is None or not link.open:
            return 0
        room = self._configuration.window - len(link.outstanding)
        throughput = self._configuration.throughput_per_s
        if throughput is None:
            return max(room, 0)
        recent, second_ago = self._recent, asyncio.get_running_loop().time() - 1
        while recent and recent[0] <= second_ago:
            recent.popleft()
        return max(min(room, throughput - len(recent)), 0)

    def submit(self, segment: Segment) -> asyncio.Future[SubmitResult]:
        """Submit a segment; the future always gets a result, never an exception."""
        link = self._link
        if link is None or self.capacity() < 1:
            result: asyncio.Future[SubmitResult] = asyncio.get_running_loop().create_future()
            result.set_result(SubmitResult(Outcome.UNSENT, detail="the carrier is not bound, or has no room"))
            return result
        if self._configuration.throughput_per_s is not None:
            self._recent.append(asyncio.get_running_loop().time())
        return link.submit(segment)

    def acknowledge(self, receipts: Sequence[Receipt], *, accepted: bool) -> None:
        """Answer receipts with ESME_ROK, or with ESME_RX_T_APPN, for which the SMSC sends them again.

        Those of a link that has closed meanwhile are passed over: the SMSC sends them again on the next one.
        """
        status = statuses.ESME_ROK if accepted else statuses.ESME_RX_T_APPN
        for receipt in receipts:
            handle = receipt.handle
            if isinstance(handle, ReceiptHandle):
                handle.link.acknowledge(handle.sequence, status)

    def state(self) -> CarrierState:
        """Return what an operator sees."""
        link = self._link
        return CarrierState(
            name=self.name,
            kind="smpp",
            bound=link is not None and link.open,
            window=self._configuration.window,
            outstanding=0 if link is None else len(link.outstanding),
            detail=self._detail,
        )

    async def _keep_connected(self, on_receipts: ReceiptSink, context: ssl.SSLContext | None) -> None:
        """Connect, and after each end again, waiting longer each time unless the link had lasted."""
        loop, timing = asyncio.get_running_loop(), self._timing
        failures = 0
        while True:
            begun = loop.time()
            bound = await self._connect_once(on_receipts, context)
            if self._stopping:
                return
            longest = min(timing.least_backoff_s * 2 ** min(failures, 16), timing.most_backoff_s)
            if bound and loop.time() - begun > longest * 2:
                failures, longest = 0, timing.least_backoff_s
            failures += 1
            # jitter: the links of many processes, broken together, must not come back together
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - not a secret

    async def _connect_once(self, on_receipts: ReceiptSink, context: ssl.SSLContext | None) -> bool:
        """Connect, bind and wait for the link's end; return whether it was bound."""
        configuration, timing = self._configuration, self._timing
        self._detail = f"connecting to {configuration.host}:{configuration.port}"
        link = Link(configuration, timing, on_receipts)
        try:
            async with asyncio.timeout(timing.connect_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link, configuration.host, configuration.port, ssl=context
                )
            self._link = link
            return await self._run(link)
        except (OSError, ValueError) as error:  # also a time-out, a bad certificate, a host name that can't be one
            cause = str(error) or "no connection in time"
            self._detail = f"connection failed: {cause}"
            _log.warning("carrier_connection_failed", carrier=self.name, cause=cause)
            return False
        finally:
            link.abort("stopped")

    async def _run(self, link: Link) -> bool:
        ends: list[asyncio.Future[Any]] = [link.bound, link.closed]
        await asyncio.wait(ends, timeout=self._timing.response_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if link.closed.done():
            why = link.closed.result()
        elif not link.bound.done():
            why = "the bind was not answered in time"
        elif (status := link.bound.result()) != statuses.ESME_ROK:
            why = f"the bind was refused: {statuses.status_name(status)}"
        else:
            self._detail = "bound"
            _log.info("carrier_bound", carrier=self.name, host=self._configuration.host, port=self._configuration.port)
            why = await link.closed
            self._detail = f"link lost: {why}"
            if not self._stopping:
                _log.warning("carrier_link_lost", carrier=self.name, cause=why)
            return True
        self._detail = why
        if not self._stopping:
            _log.warning("carrier_bind_failed", carrier=self.name, cause=why)
        return False
