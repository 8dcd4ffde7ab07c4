"""The one way to a service: called in this process, or over HTTP where it is split off.

Owns connections and what their failures mean. Deadlines are the caller's, who cancels; it retries nothing that might
have been carried out.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ghasi.contract.row import Upstream
from ghasi.contract.serving import UPSTREAM_SECRET_HEADER, Asgi, RawHeaders, Receive, ServiceApp
from ghasi.settings import Settings

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_CONNECTIONS = 256
KEEP_ALIVE_S = 3.0
"""Less than the 5 s after which uvicorn closes an idle connection, so that a request seldom meets a closed one."""
_PATH_SAFE = "/:@!$&'()*+,;=-._~"
_QUERY_SAFE = _PATH_SAFE + '?%[]{}|\\^`<>"'
_SWITCHING_PROTOCOLS = 101


class UpstreamError(Exception):
    """The upstream gave no whole answer; `answered` says that it had begun one."""

    def __init__(self, detail: str, *, answered: bool = False) -> None:
        super().__init__(detail)
        self.answered = answered


class NameNotResolved(UpstreamError):  # noqa: N818 - says what happened
    """The upstream's name has no address."""


class _StaleConnection(UpstreamError):  # noqa: N818 - says what happened
    """A kept-alive connection ended before the answer began: most likely the upstream had closed it already."""


@dataclass(slots=True)
class _Attempt:
    """What aiohttp's tracing tells of one attempt."""

    reused_connection: bool = False


@dataclass(slots=True)
class UpstreamRequest:
    """A request as an upstream gets it; `path` is decoded, `query` is as the client wrote it."""

    method: str
    path: str
    query: bytes
    headers: RawHeaders
    body: bytes = b""


@dataclass(slots=True)
class UpstreamAnswer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: RawHeaders
    body: bytes


@dataclass(slots=True)
class UpstreamStream:
    """An answer of any size, of which the head is here; header names are in lower case.

    `pieces` come as they are asked for, and little is kept of what was not; they raise UpstreamError, `answered`,
    where the answer breaks off.
    """

    status: int
    headers: RawHeaders
    pieces: AsyncIterator[bytes]

    async def read(self) -> UpstreamAnswer:
        """Return it as a whole answer; raises UpstreamError beyond MAX_ANSWER_BYTES."""
        return UpstreamAnswer(self.status, self.headers, await _join(self.pieces))


class UpstreamClient(Protocol):
    """Sends a request to one upstream; raises UpstreamError. Cancelling it is the deadline."""

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Send a request and return the whole answer."""

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        """Send a request and give its answer as it comes; leaving ends it, also in the upstream."""

    async def close(self) -> None:
        """Give back connections."""


class InProcessUpstream:
    """Calls an ASGI app of this process; services without ASGI's messages, where the answer is no stream."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Call the app; an exception or an unfinished answer of its is an UpstreamError."""
        if not isinstance(self._app, ServiceApp):
            return await self._send_by_asgi(request)
        status, headers, body = await self._app.respond(
            request.method, request.path, request.query, request.headers, request.body
        )
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamError("the answer is too large", answered=True)
        return UpstreamAnswer(status, headers, body)

    async def _send_by_asgi(self, request: UpstreamRequest) -> UpstreamAnswer:
        answer = UpstreamAnswer(0, [], b"")
        chunks: list[bytes] = []
        finished = False
        size = 0

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal finished, size
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [(name.lower(), value) for name, value in message.get("headers", ())]
                return
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamError("the answer is too large", answered=True)
            chunks.append(chunk)
            finished = not message.get("more_body", False)

        try:
            await self._app(_scope(request), _receiving(request.body), send)
        except UpstreamError:
            raise
        except Exception as error:
            raise UpstreamError(f"{type(error).__name__} in the service", answered=answer.status != 0) from error
        if not finished or not answer.status:
            raise UpstreamError("the service did not finish its answer", answered=answer.status != 0)
        answer.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return answer

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Run the app beside, never more than a message ahead; leaving cancels it."""
        messages: asyncio.Queue[MutableMapping[str, Any] | UpstreamError] = asyncio.Queue(1)

        async def run() -> None:
            fault = UpstreamError("the service did not finish its answer")
            try:
                await self._app(_scope(request), _receiving(request.body), messages.put)
            except Exception as error:  # noqa: BLE001 - whatever it was, the answer ends here
                fault = UpstreamError(f"{type(error).__name__} in the service")
                fault.__cause__ = error
            await messages.put(fault)

        running = asyncio.create_task(run())
        try:
            start = await messages.get()
            if isinstance(start, UpstreamError):
                raise start
            headers = [(name.lower(), value) for name, value in start.get("headers", ())]
            async with aclosing(_pieces(messages)) as pieces:
                yield UpstreamStream(start["status"], headers, pieces)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def close(self) -> None:
        """Nothing is held."""


def _scope(request: UpstreamRequest) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": ("127.0.0.1", 0),
        "server": None,
    }


def _receiving(body: bytes) -> Receive:
    received = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal received
        if received:
            await asyncio.get_running_loop().create_future()  # the client is there until the call is cancelled
        received = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _pieces(messages: asyncio.Queue[MutableMapping[str, Any] | UpstreamError]) -> AsyncGenerator[bytes, None]:
    """Give the body's pieces of an app's messages behind the first."""
    more = True
    while more:
        message = await messages.get()
        if isinstance(message, UpstreamError):
            message.answered = True
            raise message
        if piece := message.get("body", b""):
            yield piece
        more = message.get("more_body", False)


class HttpUpstream:
    """Speaks HTTP/1.1 to a split upstream over kept-alive connections, at most MAX_CONNECTIONS."""

    def __init__(self, url: str, upstream_secret: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._proof: RawHeaders = [(UPSTREAM_SECRET_HEADER, upstream_secret.encode())] if upstream_secret else []
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Send a request; a GET that met a stale connection is sent once more, anything else never."""
        headers = self._headers(request)
        try:
            return await self._send_once(request, headers)
        except _StaleConnection:
            if request.method != "GET":
                raise
            return await self._send_once(request, headers)

    async def _send_once(self, request: UpstreamRequest, headers: CIMultiDict[str]) -> UpstreamAnswer:
        if self._session is None:
            self._session = self._open()
        answered = False
        attempt = _Attempt()
        try:
            async with self._session.request(
                request.method,
                self._target(request),
                headers=headers,
                data=request.body or None,
                allow_redirects=False,
                trace_request_ctx=attempt,
            ) as response:
                answered = True
                if response.status == _SWITCHING_PROTOCOLS:
                    raise UpstreamError("the upstream switched protocols", answered=True)
                body = await _read(response)
                answer_headers = [(name.lower(), value) for name, value in response.raw_headers]
                return UpstreamAnswer(response.status, answer_headers, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _fault(error, attempt, answered=answered) from error

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Send a request and give its answer as it comes; a GET that met a stale connection is sent once more.

        Leaving before the end closes the connection, which is how the upstream learns of it.
        """
        try:
            response = await self._begin(request)
        except _StaleConnection:
            if request.method != "GET":
                raise
            response = await self._begin(request)
        try:
            if response.status == _SWITCHING_PROTOCOLS:
                raise UpstreamError("the upstream switched protocols", answered=True)
            headers = [(name.lower(), value) for name, value in response.raw_headers]
            async with aclosing(_chunks(response)) as pieces:
                yield UpstreamStream(response.status, headers, pieces)
        finally:
            response.close()

    async def _begin(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Send a request and return its answer once the head is there."""
        if self._session is None:
            self._session = self._open()
        attempt = _Attempt()
        try:
            return await self._session.request(
                request.method,
                self._target(request),
                headers=self._headers(request),
                data=request.body or None,
                allow_redirects=False,
                trace_request_ctx=attempt,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _fault(error, attempt, answered=False) from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _headers(self, request: UpstreamRequest) -> CIMultiDict[str]:
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in (*request.headers, *self._proof):
            headers.add(name.decode("latin-1"), _text(value))
        return headers

    def _target(self, request: UpstreamRequest) -> URL:
        target = self._url + quote(request.path, safe=_PATH_SAFE)
        if request.query:
            target += "?" + quote(request.query, safe=_QUERY_SAFE)
        return URL(target, encoded=True)

    @staticmethod
    def _open() -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reused)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            trace_configs=[tracing],
        )
        # of itself it would send PUT and DELETE again, and a DELETE that was carried out would then answer 404
        session._retry_connection = False  # noqa: SLF001 - there is no public switch
        return session


async def _note_reused(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
    context.trace_request_ctx.reused_connection = True


def _fault(error: Exception, attempt: _Attempt, *, answered: bool) -> UpstreamError:
    """Say what a failure of aiohttp's means."""
    detail = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NameNotResolved(detail)
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamError(detail, answered=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError(detail)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        stale = attempt.reused_connection and not answered
        return (_StaleConnection if stale else UpstreamError)(detail, answered=answered)
    return UpstreamError(detail, answered=answered)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > MAX_ANSWER_BYTES:
        raise UpstreamError("the answer is too large", answered=True)
    return await _join(response.content.iter_any())


async def _join(pieces: AsyncIterator[bytes]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in pieces:
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamError("the answer is too large", answered=True)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Give a body as it comes; aiohttp stops reading from the connection while nobody asks for more."""
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _fault(error, _Attempt(), answered=True) from error


def _text(value: bytes) -> str:
    """Decode so that aiohttp, which writes UTF-8, sends the same bytes again wherever they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def connect_upstreams(settings: Settings, in_process: Asgi | None) -> dict[Upstream, UpstreamClient]:
    """Return the way to each upstream: over HTTP where its URL is set, else `in_process`; nothing is opened yet.

    Raises ValueError, naming the setting, for an upstream that has neither.
    """
    clients: dict[Upstream, UpstreamClient] = {}
    shared = InProcessUpstream(in_process) if in_process is not None else None
    for upstream in Upstream:
        setting = f"{upstream.value.replace('-', '_')}_url"
        url: str | None = getattr(settings, setting)
        if url:
            clients[upstream] = HttpUpstream(url, settings.upstream_secret)
        elif shared is not None:
            clients[upstream] = shared
        else:
            raise ValueError(f"GHASI_{setting.upper()} must be set: {upstream.value} does not run in this process")
    return clients
