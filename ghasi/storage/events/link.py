"""The connection of a process to NATS: made when it is first needed, and anew after whatever went wrong with it.

nats-py's own reconnecting is off. It brings back subscriptions but not what was asked for, and does not notice a server
that hangs; a new connection begins with nothing that could be half right. So every wait has an end here, and whoever
loses an answer drops the connection. Credentials stay in the URLs: no log has those.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from prometheus_client import Gauge

from ghasi.storage.events.carrier import CarrierAwayError

T = TypeVar("T")
CONNECT_S, ANSWER_S, CLOSE_S = 2, 3.0, 1.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 1.0
_PENDING_BYTES = 64 * 1024 * 1024
"""Above what a batch takes: where nats-py has to wait for room it swallows a cancellation."""
_AWAY = (
    OSError,
    TimeoutError,
    nats.errors.TimeoutError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.NoRespondersError,
    NoStreamResponseError,
    ServiceUnavailableError,
)
log = structlog.get_logger("ghasi.storage")


@cache
def _up() -> Gauge:
    """Return the metric, made by who connects: of another process it would say that NATS is away."""
    return Gauge("ghasi_nats_up", "Whether this process is connected to NATS", multiprocess_mode="livemin")


class NatsAwayError(CarrierAwayError):
    """NATS is not to be reached, or does not answer."""


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


@dataclass(frozen=True, slots=True)
class Server:
    """One of the servers in GHASI_NATS_URL; `url` is without the credentials, which are percent-decoded."""

    url: str
    wants_tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """Read nats://host, nats://token@host, nats://user:password@host, or tls:// with any of these."""
        parts = urlsplit(url)
        server = cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.scheme == "tls")
        if parts.username is None:
            return server
        if parts.password is None:
            return replace(server, token=unquote(parts.username))
        return replace(server, user=unquote(parts.username), password=unquote(parts.password))


class Connection:
    """One connection, as long as it lasts; everything that waits for an answer waits in `within`."""

    def __init__(self) -> None:
        self.client = Client()
        self.jetstream: JetStreamContext = self.client.jetstream(timeout=ANSWER_S)
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None
        self._forgetting: set[asyncio.Task[None]] = set()

    async def open(self, server: Server, name: str) -> None:
        """Connect; raises what nats-py raises, or TimeoutError, having dropped what was opened."""

        async def on_closed() -> None:
            self.drop()

        async def on_error(error: Exception) -> None:
            log.debug("nats_error", error=type(error).__name__)

        connecting = asyncio.create_task(
            self.client.connect(
                [server.url], name=name, user=self._told(server, server.user),
                password=self._told(server, server.password), token=self._told(server, server.token),
                allow_reconnect=False, connect_timeout=CONNECT_S, reconnect_time_wait=0, max_reconnect_attempts=1,
                pending_size=_PENDING_BYTES, error_cb=on_error, closed_cb=on_closed,
            )
        )  # fmt: skip
        try:
            await asyncio.wait([connecting], timeout=CONNECT_S)
        finally:
            if not _succeeded(connecting):
                connecting.cancel()
                self.drop()
        if not connecting.done():
            raise TimeoutError
        connecting.result()
        try:
            self._insist(server)
        except ConnectionError:
            self.drop()
            raise

    def _told(self, server: Server, secret: str | None) -> Callable[[], str] | None:
        """Return what nats-py asks for a credential when it is about to send it, if there is any."""
        if secret is None:
            return None

        def tell() -> str:
            self._insist(server)
            return secret

        return tell

    def _insist(self, server: Server) -> None:
        """Raise ConnectionError where TLS is wanted and there is none: nats-py leaves that to the server."""
        if server.wants_tls and not self._is_encrypted():
            raise ConnectionError("the server offers no TLS")

    def _writer(self) -> asyncio.StreamWriter | None:
        transport = self.client._transport  # noqa: SLF001 - nats-py shows it to nobody
        return transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001 - likewise

    def _is_encrypted(self) -> bool:
        writer = self._writer()
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    @property
    def is_open(self) -> bool:
        """Whether it may be used still."""
        return not self._lost.done()

    def drop(self) -> None:
        """Give it up, and all that waits on it; returns at once."""
        if not self._lost.done():
            self._lost.set_result(None)
            self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        closing = asyncio.create_task(self.client.close())
        await asyncio.wait([closing], timeout=CLOSE_S)
        if not _succeeded(closing):  # a server that hangs takes no goodbye
            closing.cancel()
            if (writer := self._writer()) is not None:
                writer.transport.abort()

    async def closed(self) -> None:
        """Drop it and wait until it is closed."""
        self.drop()
        if self._closing is not None:
            await asyncio.wait([self._closing])

    def forget(self, subscription: Subscription) -> None:
        """End a subscription; returns at once."""
        if self.is_open:
            task = asyncio.create_task(self._unsubscribe(subscription))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _unsubscribe(self, subscription: Subscription) -> None:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def within(self, answer: asyncio.Future[T], timeout_s: float = ANSWER_S) -> T:
        """Wait for an answer; raises NatsAwayError, having dropped the connection, when none comes."""
        try:
            await asyncio.wait((answer, self._lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        self.drop()
        raise NatsAwayError("no answer")

    async def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Await a call of nats-py's; raises NatsAwayError, or what the server says is wrong with it.

        In a task of its own: nats-py waits in ways that may swallow a cancellation.
        """
        with self.guarded():
            return await self.within(asyncio.create_task(question), 2 * ANSWER_S)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what nats-py raises when the server is away into NatsAwayError, and drop the connection."""
        try:
            yield
        except _AWAY as error:
            self.drop()
            raise NatsAwayError(type(error).__name__) from error


class Link:
    """Keeps at most one connection of the process. `url` is one server or several, by commas."""

    def __init__(self, url: str, name: str = "ghasi") -> None:
        self._servers = [Server.of(server.strip()) for server in url.split(",") if server.strip()]
        self._name = name
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._not_before = 0.0
        self._was_away = False

    async def connection(self) -> Connection:
        """Return the connection, made anew where it was lost; raises NatsAwayError."""
        if self._connection is not None and self._connection.is_open:
            return self._connection
        if self._connecting is None or self._connecting.done():
            _up().set(0)
            if time.monotonic() < self._not_before:
                raise NatsAwayError("tried a moment ago")
            self._connecting = asyncio.create_task(self._connect())
        connecting = self._connecting
        await asyncio.wait([connecting])  # whoever asks may be cancelled; the others wait on
        return connecting.result()

    async def _connect(self) -> Connection:
        reason = ""
        for server in random.sample(self._servers, len(self._servers)):
            connection = Connection()
            try:
                await connection.open(server, self._name)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                continue
            self._connection = connection
            _up().set(1)
            self._backoff_s = FIRST_BACKOFF_S
            if self._was_away:
                log.info("nats_back")
            self._was_away = False
            return connection
        self._not_before = time.monotonic() + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        if not self._was_away:
            log.warning("nats_away", reason=reason)
        self._was_away = True
        raise NatsAwayError(reason)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await self._connection.closed()
