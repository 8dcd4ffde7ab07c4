"""How a call of the API is made: the session, the time-outs of the contract's table, cookies and answers.

Owns how a request is written and its answer read. It keeps no cookies but the refresh cookie it was given, repeats
nothing by itself and knows nothing of the services behind.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from ghasi.client.errors import ApiError, ApiUnreachableError, read_error
from ghasi.contract import shapes
from ghasi.contract.row import Auth, Row
from ghasi.contract.table import BY_OPERATION

T = TypeVar("T")
REFRESH_COOKIES = ("__Host-ghasi_refresh", "ghasi_refresh")
"""The refresh cookie's names: the first where the API's URL is https."""
EXACTLY = math.inf
"""From this many seconds on aiohttp may end a time-out up to a second late; its own default is 5."""


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """The refresh token in its cookie; `set_cookie` is the header that set it, to be handed on to a browser."""

    name: str
    value: str
    set_cookie: str = ""


def open_session() -> aiohttp.ClientSession:
    """Open a session that several clients may share: it keeps no cookies, so that none is sent for another."""
    # shorter than servers keep idle connections, so that no POST goes out on one that is just being closed
    connector = aiohttp.TCPConnector(keepalive_timeout=4, timeout_ceil_threshold=EXACTLY)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class Transport:
    """Makes calls of the API at `base_url` for one caller: `token` is an API key or an access token.

    Used as an async context manager it opens a session of its own unless it is given one (see open_session).
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        refresh_cookie: RefreshCookie | None = None,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.refresh_cookie = refresh_cookie
        self._session = session
        self._owns_session = session is None
        self._headers = dict(headers or {})

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, if it is this client's own."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self,
        operation: str,
        shape: type[T],
        *,
        path: Mapping[str, str] | None = None,
        query: shapes.Input | None = None,
        body: shapes.Input | None = None,
        idempotency_key: str | None = None,
    ) -> T:
        """Make one call; `shape` NoneType is for operations that answer with nothing, bytes for what is no JSON."""
        row = BY_OPERATION[operation]
        timeout = aiohttp.ClientTimeout(total=row.timeout_s, ceil_threshold=EXACTLY)
        async with self._answer(row, timeout, path=path, query=query, body=body, key=idempotency_key) as answer:
            raw = await answer.read()
        if row.auth is not Auth.BEARER:
            self._take_cookie(answer.headers.getall("Set-Cookie", []))
        if shape is bytes:
            return raw  # type: ignore[return-value] # mypy does not narrow T by comparing it
        return _decode(answer, raw, shape)

    @asynccontextmanager
    async def _stream(
        self, operation: str, *, query: shapes.Input | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Begin a call of any size; the time-out runs between the pieces of its answer."""
        row = BY_OPERATION[operation]
        timeout = aiohttp.ClientTimeout(
            total=None, connect=row.timeout_s, sock_read=row.timeout_s, ceil_threshold=EXACTLY
        )
        async with self._answer(row, timeout, query=query) as answer:
            yield answer.content.iter_any()

    @asynccontextmanager
    async def _answer(
        self,
        row: Row,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's, of several parts
        *,
        path: Mapping[str, str] | None = None,
        query: shapes.Input | None = None,
        body: shapes.Input | None = None,
        key: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a call and give its answer, if that is a success; what goes wrong within is told as ours is."""
        if self._session is None:
            raise RuntimeError("use the client as an async context manager, or give it a session")
        target = row.path.format_map({name: quote(value, safe="") for name, value in (path or {}).items()})
        try:
            async with self._session.request(
                row.method,
                URL(f"{self.base_url}{target}", encoded=True).with_query(_query(query)),
                data=None if body is None else msgspec.json.encode(body),
                headers=self._headers_of(row, key, has_body=body is not None),
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                if answer.status != row.success:
                    raise read_error(answer.status, answer.headers, await answer.read())
                yield answer
        except TimeoutError as error:
            raise ApiUnreachableError(row.operation, f"no answer within {row.timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ApiUnreachableError(row.operation, str(error) or type(error).__name__) from error

    def _headers_of(self, row: Row, idempotency_key: str | None, *, has_body: bool) -> dict[str, str]:
        headers = dict(self._headers)
        if row.auth is Auth.BEARER and self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if row.auth is Auth.REFRESH_COOKIE and self.refresh_cookie is not None:
            headers["Cookie"] = f"{self.refresh_cookie.name}={self.refresh_cookie.value}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        if has_body:
            headers["Content-Type"] = "application/json"
        return headers

    def _take_cookie(self, set_cookies: Sequence[str]) -> None:
        for set_cookie in set_cookies:
            name, _, value = set_cookie.partition(";")[0].strip().partition("=")
            if name in REFRESH_COOKIES:
                self.refresh_cookie = RefreshCookie(name, value, set_cookie)


def _query(query: shapes.Input | None) -> dict[str, str]:
    values = {} if query is None else msgspec.to_builtins(query)
    return {name: str(value) for name, value in values.items() if value is not None}


def _decode(answer: aiohttp.ClientResponse, raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw or b"null", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        request_id = answer.headers.get("X-Kong-Request-Id")
        raise ApiError(answer.status, "invalid_answer", str(error), request_id) from error
