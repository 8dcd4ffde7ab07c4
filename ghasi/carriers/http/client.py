"""A carrier over HTTP: one request a message, as its configuration's templates say.

Owns the session, how many requests are under way, and whether the carrier counts as reachable. It stores nothing,
never follows a redirect, reads 64 KiB of an answer at most, and logs neither a URL's path nor a body nor a header.
"""

import asyncio
import contextlib
import math
import random
import ssl
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import aiohttp
import structlog
from yarl import URL

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
from ghasi.carriers.http.answers import AnswerReader, Reading
from ghasi.carriers.http.configuration import HttpConfiguration
from ghasi.carriers.http.requests import Prepared, RequestMaker
from ghasi.carriers.http.session import Sent, describe, open_session, read_beginning, retry_after_s

RATED_OVER_S = 1.0
"""throughput_per_s holds in any one second."""
MOST_SILENT = 5
"""Requests in a row without an answer, after which the carrier counts as away."""
_ASKS_TO_WAIT = (429, 503)
_log = structlog.get_logger("ghasi.carriers")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the carrier waits, in seconds, for what."""

    stop_timeout_s: float = 1.0
    least_backoff_s: float = 1.0
    most_backoff_s: float = 60.0


class HttpCarrier:
    """Implements the Carrier protocol over HTTP.

    A submit without room (see `capacity`) is not queued: it is UNSENT at once, as is one for which no connection could
    be made. Once there was a connection, a time-out or a break leaves a submit UNANSWERED. After a failed connection,
    an answer that means `away`, or several requests without answer, it waits, connects without a request to see
    whether somebody is there, and then tries with one request at a time until one is answered. Its receipts come by
    the API, so that nothing is ever brought to the sinks. A bind is a part of its window and its throughput, no
    connection: without one it sends nothing, and does not ask whether anybody is there.
    """

    def __init__(self, configuration: HttpConfiguration, timing: Timing | None = None) -> None:
        self.name: str = configuration.name
        self.on_unknown_submit: Literal["resend", "unknown"] = configuration.on_unknown_submit
        self._configuration = configuration
        self._timing = timing or Timing()
        self._answers = AnswerReader(configuration.answer)
        self._maker: RequestMaker | None = None
        self._session: aiohttp.ClientSession | None = None
        self._context: ssl.SSLContext | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._outstanding: set[asyncio.Task[None]] = set()
        self._recent: deque[float] = deque()  # when the submits of the last second were made
        self._lease = Lease()
        self._binds: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()
        self._let_go_at = 0.0
        self._window = 0
        self._throughput: int | None = None
        self._reachable = False
        self._trying = False
        self._failures = 0
        self._silent = 0
        self._held_until = 0.0
        self._detail = "not started"

    async def start(
        self, on_receipts: ReceiptSink, on_inbound: InboundSink, *, binds: Collection[int] | None = None
    ) -> None:
        """Begin to see whether the carrier is there, until stop; raises OSError when tls_ca_file can't be read.

        Where a secret's environment variable is not set the carrier stays unreachable, and its state says so.
        """
        del on_receipts, on_inbound
        if self._session is not None:
            raise RuntimeError(f"carrier {self.name} is started already")
        configuration = self._configuration
        try:
            self._maker = RequestMaker(configuration)
        except ValueError as error:
            self._detail = str(error)
            _log.error("carrier_not_usable", carrier=self.name, cause=str(error))
            return
        if configuration.url.startswith("https:"):
            self._context = ssl.create_default_context(cafile=configuration.tls_ca_file)
        self._session = open_session(self._context)
        self._detail = "no bind is held here"
        self.hold(range(1, configuration.binds + 1) if binds is None else binds, math.inf)

    def hold(self, binds: Collection[int], until: float) -> None:
        """Have exactly these binds from now on, until time.monotonic() is `until`."""
        if self._session is None:
            return
        self._lease.until = until
        before, self._binds = self._binds, frozenset(binds)
        if gone := before - self._binds:
            self._leaving |= gone
            self._let_go_at = time.monotonic()
        self._leaving -= self._binds
        told = self._configuration
        self._window = int(part_of(told.window, told.binds, self._binds))
        if told.throughput_per_s is not None:
            self._throughput = int(part_of(told.throughput_per_s, told.binds, self._binds))
        if self._binds and not before:
            self._detail = "connecting"
            self._recovery = asyncio.create_task(self._recover(0.0), name=f"carrier {self.name}")
        elif before and not self._binds:
            self._reachable, self._detail = False, "no bind is held here"
            if self._recovery is not None:
                self._recovery.cancel()

    def held(self) -> Collection[int]:
        """Return the binds that are here: those too that were let go, while more is under way than the rest may do."""
        if self._leaving and len(self._outstanding) <= self._window:
            rated = self._throughput is not None
            if not rated or time.monotonic() - self._let_go_at >= RATED_OVER_S:
                self._leaving = frozenset()
        return self._binds | self._leaving

    async def stop(self) -> None:
        """Wait for outstanding answers (1 s) and close; every future has its result afterwards."""
        self._reachable = False
        self._binds = self._leaving = frozenset()
        if self._recovery is not None:
            self._recovery.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._recovery
            self._recovery = None
        if self._outstanding:
            await asyncio.wait(self._outstanding, timeout=self._timing.stop_timeout_s)
        late = list(self._outstanding)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._detail = "stopped"

    def split(self, text: str) -> Split:
        """Return a text as one submit, in UTF-8: the carrier splits it; raises ValueError for lone surrogates."""
        return Split("text", [text.encode("utf-8")])

    def capacity(self) -> int:
        """Return how many segments the window and throughput_per_s allow now: 0 when unreachable or held back."""
        if not self._reachable or time.monotonic() >= self._lease.submits_until:
            return 0
        now = asyncio.get_running_loop().time()
        if now < self._held_until:
            return 0
        room = (1 if self._trying else self._window) - len(self._outstanding)
        if self._throughput is not None:
            recent = self._recent
            while recent and recent[0] <= now - RATED_OVER_S:
                recent.popleft()
            room = min(room, self._throughput - len(recent))
        return max(room, 0)

    def submit(self, segment: Segment) -> asyncio.Future[SubmitResult]:
        """Submit a segment; the future always gets a result, never an exception."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[SubmitResult] = loop.create_future()
        if self._session is None or self._maker is None or self.capacity() < 1:
            result.set_result(SubmitResult(Outcome.UNSENT, detail="the carrier is not reachable, or has no room"))
            return result
        if segment.encoding != "text":
            result.set_result(SubmitResult(Outcome.REFUSED, None, "invalid_message", "split for another carrier"))
            return result
        if self._throughput is not None:
            self._recent.append(loop.time())
        task = loop.create_task(self._exchange(self._session, self._maker, segment, result))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)
        task.add_done_callback(lambda _: _settle(result))
        return result

    def acknowledge(self, words: Sequence[Receipt | InboundPart], *, accepted: bool) -> None:
        """Nothing: receipts come by the API, which answers them itself."""

    def state(self) -> CarrierState:
        """Return what an operator sees; the binds of a carrier over HTTP count as links while it is reachable."""
        return CarrierState(
            name=self.name,
            kind="http",
            bound=self._reachable and time.monotonic() < self._lease.submits_until,
            links=len(self._binds) if self._reachable else 0,
            links_wanted=len(self._binds),
            window=self._window,
            outstanding=len(self._outstanding),
            throughput_per_s=self._throughput,
            detail=self._detail,
        )

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        maker: RequestMaker,
        segment: Segment,
        result: asyncio.Future[SubmitResult],
    ) -> None:
        """Make one request and give its result, whatever happens to it."""
        sent = Sent()
        try:
            async with asyncio.timeout(self._configuration.timeout_s):
                reading = await self._ask(session, maker.make(segment), segment.message_id, sent)
            given = reading.result()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            given = self._failed(error, sent)
        except asyncio.CancelledError:
            given = SubmitResult(Outcome.UNANSWERED if sent.begun else Outcome.UNSENT, detail="stopped")
        except Exception as error:  # noqa: BLE001 - a fault of ours must leave nobody waiting
            # without its traceback, whose variables are the message and the secrets
            _log.error("carrier_submit_failed", carrier=self.name, error=type(error).__name__)
            given = SubmitResult(Outcome.UNANSWERED if sent.begun else Outcome.UNSENT, detail="internal error")
        if not result.done():  # unless its caller has cancelled it
            result.set_result(given)

    async def _ask(self, session: aiohttp.ClientSession, prepared: Prepared, own_id: str, sent: Sent) -> Reading:
        async with session.request(
            self._configuration.method,
            prepared.url,
            data=prepared.body,
            headers=prepared.headers,
            allow_redirects=False,
            trace_request_ctx=sent,
        ) as answer:
            try:
                body = await read_beginning(answer)
            except (aiohttp.ClientError, OSError):
                body = b""  # the status is there, and says what it says; what needs a body is in doubt
            reading = self._answers.read(answer.status, body, own_id)
            self._answered(reading, answer)
            return reading

    def _answered(self, reading: Reading, answer: aiohttp.ClientResponse) -> None:
        """Draw from an answer whether the carrier takes requests."""
        self._silent = 0
        if reading.verdict == "away":
            self._fail(reading.detail)
            return
        if reading.verdict == "accepted" and reading.carrier_message_id is None:
            _log.warning("carrier_gave_no_id", carrier=self.name)
        if reading.verdict == "throttled" and answer.status in _ASKS_TO_WAIT:
            wait_s = retry_after_s(answer.headers.get("Retry-After"), datetime.now(UTC))
            self._held_until = max(self._held_until, asyncio.get_running_loop().time() + wait_s)
        if not self._reachable:  # it was sent before the carrier went away
            return
        if self._trying:
            _log.info("carrier_bound", carrier=self.name)
        self._trying, self._failures = False, 0
        wait_s = self._held_until - asyncio.get_running_loop().time()
        self._detail = "reachable" if wait_s <= 0 else f"reachable, and asked to wait {wait_s:.0f} s"

    def _failed(self, error: BaseException, sent: Sent) -> SubmitResult:
        cause = describe(error)
        if not sent.begun:
            self._fail(f"connection failed: {cause}")
            return SubmitResult(Outcome.UNSENT, detail=cause)
        self._silent += 1
        if self._trying or self._silent >= MOST_SILENT:
            self._fail(f"no answer: {cause}")
        return SubmitResult(Outcome.UNANSWERED, detail=cause)

    def _fail(self, detail: str) -> None:
        """Take the carrier for away, and begin to look for it again."""
        if not self._reachable:
            return
        self._reachable, self._silent = False, 0
        self._failures += 1
        self._detail = detail
        _log.warning("carrier_connection_failed", carrier=self.name, cause=detail)
        self._recovery = asyncio.create_task(self._recover(self._backoff_s()), name=f"carrier {self.name}")

    def _backoff_s(self) -> float:
        timing = self._timing
        longest = min(timing.least_backoff_s * 2 ** min(self._failures - 1, 16), timing.most_backoff_s)
        # jitter: many processes that lost a carrier together must not come back together
        return random.uniform(longest / 2, longest)  # noqa: S311 - not a secret

    async def _recover(self, wait_s: float) -> None:
        """Wait, connect without sending anything, and let one request try once somebody is there."""
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self._connect()
            except (OSError, TimeoutError, ValueError) as error:  # also a bad certificate or host name
                self._failures += 1
                self._detail = f"connection failed: {describe(error)}"
                _log.warning("carrier_connection_failed", carrier=self.name, cause=self._detail)
                wait_s = self._backoff_s()
                continue
            self._trying = self._failures > 0
            self._reachable = True
            if not self._trying:
                self._detail = "reachable"
                _log.info("carrier_bound", carrier=self.name)
            return

    async def _connect(self) -> None:
        url = URL(self._configuration.url)
        async with asyncio.timeout(self._configuration.timeout_s):
            _, writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        writer.transport.abort()


def _settle(result: asyncio.Future[SubmitResult]) -> None:
    """Give a submit that was cancelled before it began its result."""
    if not result.done():
        result.set_result(SubmitResult(Outcome.UNSENT, detail="stopped"))
