"""Turns rows of the contract and their handlers into an ASGI app: bytes to shape, caller from headers, problems out.

Every upstream is such an app, in the gateway's process or behind HTTP. It trusts the headers that the gateway
injects; where others could reach it, the gateway proves itself with the upstream secret. It knows no service's rules.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog

from ghasi.contract.decoding import decode_items, decode_query
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.row import MAX_BODY_BYTES, Auth, Row
from ghasi.contract.table import BY_OPERATION, Matcher

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

UPSTREAM_SECRET_HEADER = b"x-ghasi-upstream-secret"
JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
log = structlog.get_logger("ghasi.service")
_encode = msgspec.json.Encoder().encode
_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


class ClientLeft(Exception):  # noqa: N818 - says what happened
    """The client closed its connection before it had its answer."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, as the gateway verified it: a user's JWT or an API key (then the user is its creator).

    `credential` is the id of the API key, or the kid of the JWT's key.
    """

    account_id: UUID
    user_id: UUID
    is_api_key: bool
    credential: str


@dataclass(slots=True)
class Call:
    """One request to a handler. `body` and `query` have the row's shapes; `caller` is set on bearer rows.

    On a row that takes any body, `body` and `query` are its bytes as they came. `faults` are items that could not be
    read and are not in `body`, by their places in its list; only shapes with `one_by_one` have any.
    """

    row: Row
    headers: RawHeaders
    path: dict[str, str]
    request_id: str
    body: Any = None
    query: Any = None
    faults: Mapping[int, Problem] = field(default_factory=dict)
    _caller: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who calls; only bearer rows have one."""
        if self._caller is None:
            raise Problem("not_from_gateway")
        return self._caller

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header (its name in lower case)."""
        return find_header(self.headers, name)

    @property
    def client_ip(self) -> str:
        """The client's address as the gateway determined it."""
        return (self.header(b"x-forwarded-for") or b"").decode("latin-1")

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header; raises Problem invalid_idempotency_key where it is none."""
        key = self.header(b"idempotency-key")
        if key is None:
            return None
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise invalid("Idempotency-Key", "must be 1 to 255 printable ASCII characters", "invalid_idempotency_key")
        return key.decode("ascii")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a shape, ready bytes (JSON, or what the row's `media` says), or nothing.

    On a row that streams `body` may be an asynchronous generator of bytes. What it raises before its first piece is
    answered as an ordinary problem; afterwards it breaks the connection off. It is closed once its client has left.
    `status` defaults to the row's success.
    """

    body: Any = None
    status: int | None = None
    headers: RawHeaders = field(default_factory=list)


Handler = Callable[[Call], Awaitable[Reply]]
Health = Callable[[], Awaitable[None]]


def find_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a header (its name in lower case)."""
    for key, value in headers:
        if key == name:
            return value
    return None


async def _always_healthy() -> None:
    return None


class ServiceApp:
    """The ASGI app of one or more upstreams.

    `handlers` maps operations of the contract to their functions. `health` raises when the service cannot work.
    `unavailable` are exceptions that mean "try again" (503) rather than a fault of ours (500).
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        health: Health = _always_healthy,
        unavailable: tuple[type[BaseException], ...] = (),
        upstream_secret: str | None = None,
    ) -> None:
        self.handlers = dict(handlers)
        self._health = health
        self._unavailable = unavailable
        self._secret = upstream_secret.encode() if upstream_secret else None
        self._matcher = Matcher(tuple(BY_OPERATION[operation] for operation in handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the module."""
        if scope["type"] != "http":
            return
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        request_id = _request_id(headers)
        try:
            if path == "/healthz":
                await self._health()
                await answer(send, 200, JSON, b'{"status":"ok"}')
                return
            row, reply = await self._serve(method, path, scope["query_string"], headers, receive, request_id=request_id)
            first = await _first_piece(receive, reply.body) if row.streams else None
        except ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 - whatever it was, it is answered
            await answer_problem(send, self._problem(error, request_id, method, path), request_id)
            return
        if first is None:
            media, body = _content(row, reply)
            await answer(send, reply.status or row.success, media, body, reply.headers)
        else:
            media = JSON if row.media is None else row.media.encode()
            headers = [*reply.headers, (b"content-type", media)]
            head = {"type": "http.response.start", "status": reply.status or row.success, "headers": headers}
            await _stream(receive, send, head, first, reply.body, request_id=request_id)

    async def respond(
        self, method: str, path: str, query: bytes, headers: RawHeaders, body: bytes
    ) -> tuple[int, RawHeaders, bytes]:
        """Serve one request of this process, whose body is read; return status, headers and body of the answer.

        The same as by ASGI, without its messages; a row that streams is served by ASGI alone.
        """
        request_id = _request_id(headers)
        try:
            row, reply = await self._serve(method, path, query, headers, body, request_id=request_id)
            media, content = _content(row, reply)
            status = reply.status or row.success
            answered = reply.headers
        except Exception as error:  # noqa: BLE001 - whatever it was, it is answered
            problem = self._problem(error, request_id, method, path)
            status, media, content, answered = problem.status, PROBLEM_JSON, _encode(problem.body(request_id)), []
        return status, [*answered, (b"content-type", media)] if media else answered, content

    def _problem(self, error: Exception, request_id: str, method: str, path: str) -> Problem:
        """Return what a request is answered that failed, and log what is no answer of its handler's."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, self._unavailable):
            log.warning("unavailable", request_id=request_id, error=type(error).__name__)
            return Problem("service_unavailable")
        log.error("internal_error", request_id=request_id, method=method, path=path, exc_info=error)
        return Problem("internal_error")

    async def _serve(
        self, method: str, path: str, query: bytes, headers: RawHeaders, content: Receive | bytes, *, request_id: str
    ) -> tuple[Row, Reply]:
        if self._secret is not None:
            proof = find_header(headers, UPSTREAM_SECRET_HEADER) or b""
            if not hmac.compare_digest(proof, self._secret):
                raise Problem("not_from_gateway")
        found = self._matcher.find(method, path)
        if found is None:
            raise Problem("not_found")
        row, parameters = found
        call = Call(row=row, headers=headers, path=parameters, request_id=request_id)
        if row.auth is Auth.BEARER:
            call._caller = read_caller(headers)  # noqa: SLF001 - filled here, read by handlers through the property
        if row.query is not None:
            call.query = decode_query(query, row.query)
        raw = content if isinstance(content, bytes) else await read_body(content, row.max_body_bytes)
        if row.body is not None:
            call.body, call.faults = decode_items(raw, row.body)
        elif row.takes_any_body:
            call.body, call.query = raw, query
        return row, await self.handlers[row.operation](call)


def _request_id(headers: RawHeaders) -> str:
    return (find_header(headers, b"x-kong-request-id") or b"").decode("latin-1")


def _content(row: Row, reply: Reply) -> tuple[bytes | None, bytes]:
    """Return the media type and the bytes of a whole answer."""
    body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else _encode(reply.body)
    return (JSON if row.media is None else row.media.encode()) if body else None, body


def read_caller(headers: RawHeaders) -> Caller:
    """Read the headers that the gateway injects; raises Problem not_from_gateway where they are missing or wrong."""
    account_id = user_id = None
    username = credential = b""
    for name, value in headers:
        if name == b"x-account-id":
            account_id = value
        elif name == b"x-user-id":
            user_id = value
        elif name == b"x-consumer-username":
            username = value
        elif name == b"x-credential-identifier":
            credential = value
    if account_id is None or user_id is None:
        raise Problem("not_from_gateway")
    return _caller(account_id, user_id, username, credential)


@lru_cache(maxsize=4096)
def _caller(account_id: bytes, user_id: bytes, username: bytes, credential: bytes) -> Caller:
    try:
        return Caller(
            UUID(account_id.decode()), UUID(user_id.decode()), username == b"ghasi-key", credential.decode("latin-1")
        )
    except ValueError as error:
        raise Problem("not_from_gateway") from error


async def read_body(receive: Receive, most: int = MAX_BODY_BYTES) -> bytes:
    """Read a whole request body; raises Problem invalid_request beyond `most` bytes."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("invalid_request", "the client went away")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise Problem("invalid_request", f"the body is larger than {most} bytes")
        if not message.get("more_body"):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


async def answer(
    send: Send, status: int, content_type: bytes | None, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole answer."""
    head: RawHeaders = [*headers]
    if content_type is not None:
        head.append((b"content-type", content_type))
    if status != 204:  # noqa: PLR2004 - RFC 9110, section 8.6: no Content-Length with 204
        head.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _first_piece(receive: Receive, body: Any) -> bytes | None:
    """Return what a stream begins with, b"" where it is empty; None where the body is no stream."""
    if not isinstance(body, AsyncGenerator):
        return None
    return await run_while_present(receive, anext(body, b""))


async def _stream(
    receive: Receive,
    send: Send,
    head: MutableMapping[str, Any],
    first: bytes,
    rest: AsyncGenerator[bytes, None],
    *,
    request_id: str,
) -> None:
    """Send an answer piece by piece, each once the one before is taken; no more of it is made for who has left.

    A fault ends the answer without its end, so that nobody takes a cut one for the whole.
    """

    async def send_pieces() -> None:
        async with aclosing(rest):
            await send(head)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in rest:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # sending to who has left waits for nothing; let that be seen
        await send({"type": "http.response.body", "body": b""})

    try:
        await run_while_present(receive, send_pieces())
    except ClientLeft:
        log.info("stream_left", request_id=request_id)
    except Exception:
        log.exception("stream_broken_off", request_id=request_id)


async def run_while_present(receive: Receive, work: Awaitable[T]) -> T:
    """Return what the work returns; when the client leaves it is cancelled and ClientLeft raised.

    To be called once the request's body is read. Raises what the work raises.
    """
    working: asyncio.Future[T] = asyncio.ensure_future(_await(work))
    leaving = asyncio.ensure_future(_leaves(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _await(work: Awaitable[T]) -> T:
    return await work


async def _leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer_problem(send: Send, problem: Problem, request_id: str) -> None:
    """Send a problem as RFC 9457 JSON."""
    await answer(send, problem.status, PROBLEM_JSON, _encode(problem.body(request_id)))
