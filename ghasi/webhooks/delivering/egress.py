"""The way out to endpoints: straight, or through the proxy of GHASI_WEBHOOK_PROXY. On both the rules of addresses hold.

A proxy is asked for an address that was resolved and judged here, never for a name, which it might resolve to another;
the Host header, and the name that the certificate must be for, stay the endpoint's. The proxy's own address is the
operator's choice, and judged by nobody. A proxy that the environment names (HTTP_PROXY) is never used.
"""

import asyncio
import contextlib
import os
import ssl
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import ResolveResult
from multidict import CIMultiDict
from yarl import URL

from ghasi.webhooks.delivering.addresses import (
    KEEP_ALIVE_S,
    NAMES_KEPT_S,
    AddressRefusedError,
    GuardedResolver,
    Lookup,
    check,
    open_connector,
    parse,
)
from ghasi.webhooks.delivering.answers import BoundedConnector

_MOST_ADDRESSES = 3
_MOST_NAMES = 10_000
_PROXY_AUTHENTICATION_REQUIRED = 407


Headers = Sequence[tuple[str, str]]


class UnresolvedError(OSError):
    """An endpoint's name has no address."""


class ProxyError(OSError):
    """The operator's proxy, not the endpoint, is why a request was not made; names no address of the proxy's."""


class TunnelError(OSError):
    """The proxy opened no connection to the endpoint: which of the two is at fault it alone knows."""


class Egress(Protocol):
    """Makes requests to endpoints."""

    def post(self, url: URL, *, data: bytes, headers: Headers) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Make one request, without following a redirect; `headers` has a User-Agent.

        Raises what aiohttp does, and the errors of this module.
        """


@asynccontextmanager
async def open_egress(
    *, private_allowed: bool, timeout_s: float, lookup: Lookup, proxy: str | None, read_bytes: int
) -> AsyncIterator[Egress]:
    """Open the way out that all endpoints share; a request ends after `timeout_s`, its answer read or not."""
    # of this moment: SSL_CERT_FILE may name an authority of the operator's
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    options: dict[str, Any] = {
        "cookie_jar": aiohttp.DummyCookieJar(),
        "auto_decompress": False,
        "skip_auto_headers": ("Accept-Encoding",),
        "read_bufsize": read_bytes,
        "trust_env": False,
    }
    if proxy is None:
        connector = open_connector(private_allowed=private_allowed, lookup=lookup, tls=tls)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, **options) as session:
            yield _Straight(session)
        return
    names = _Names(private_allowed=private_allowed, lookup=lookup)
    # it connects to the proxy alone, whose address is not judged
    to_proxy = BoundedConnector(ssl=tls, limit=0, keepalive_timeout=KEEP_ALIVE_S)
    url = URL(proxy)
    try:
        async with aiohttp.ClientSession(
            connector=to_proxy,
            timeout=aiohttp.ClientTimeout(total=None),  # that of _Proxied has the lookup in it
            trace_configs=[_told_when_connected()],
            proxy=url.with_user(None),
            **options,
        ) as session:
            yield _Proxied(session, names, timeout_s, _authorization(url))
    finally:
        await names.close()


class _Straight:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def post(self, url: URL, *, data: bytes, headers: Headers) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.post(url, data=data, headers=headers, allow_redirects=False)


class _Proxied:
    def __init__(
        self, session: aiohttp.ClientSession, names: "_Names", timeout_s: float, authorization: dict[str, str]
    ) -> None:
        self._session = session
        self._names = names
        self._timeout_s = timeout_s
        self._authorization = authorization

    @asynccontextmanager
    async def post(self, url: URL, *, data: bytes, headers: Headers) -> AsyncIterator[aiohttp.ClientResponse]:
        progress = SimpleNamespace(asked=False, connected=False)
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._names.addresses(url.raw_host or "")
                progress.asked = True
                async with await self._ask(url, addresses, data, CIMultiDict(headers), progress) as answer:
                    yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            if (
                progress.asked
                and not progress.connected
                and not isinstance(failure, ProxyError | aiohttp.ClientSSLError)
            ):
                raise _fault(failure) from failure
            raise

    async def _ask(
        self, url: URL, addresses: list[str], data: bytes, headers: CIMultiDict[str], progress: SimpleNamespace
    ) -> aiohttp.ClientResponse:
        """Ask for one address after the other until the proxy connects to one; no request is made twice."""
        headers["Host"] = url.host_port_subcomponent or ""
        tunnelled = url.scheme == "https"
        to_proxy = {"User-Agent": headers["User-Agent"], **self._authorization}
        if not tunnelled:
            headers.update(to_proxy)

        async def ask(address: str) -> aiohttp.ClientResponse:
            return await self._session.post(
                url.with_host(address),
                data=data,
                headers=headers,
                allow_redirects=False,
                server_hostname=(url.raw_host or "").rstrip("."),
                proxy_headers=to_proxy if tunnelled else None,
                trace_request_ctx=progress,
            )

        *others, last = addresses
        for address in others:
            with contextlib.suppress(aiohttp.ClientHttpProxyError):
                return await ask(address)
        answer = await ask(last)
        # of a request without a tunnel no other status is certainly the proxy's
        if not tunnelled and answer.status == _PROXY_AUTHENTICATION_REQUIRED:
            answer.close()
            raise ProxyError(_answered(answer.status))
        return answer


def _authorization(proxy: URL) -> dict[str, str]:
    """Return the header that proves to the proxy who asks (RFC 7617); none without a user name."""
    if not proxy.user:
        return {}
    return {"Proxy-Authorization": "Basic " + b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()}


def _told_when_connected() -> aiohttp.TraceConfig:
    """Note in a request's context when it has a connection: until then the proxy is at fault, later the endpoint."""

    async def note(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.connected = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    trace.on_connection_reuseconn.append(note)
    return trace


def _fault(failure: BaseException) -> ProxyError | TunnelError:
    if isinstance(failure, aiohttp.ClientHttpProxyError):
        kind = ProxyError if failure.status == _PROXY_AUTHENTICATION_REQUIRED else TunnelError
        return kind(_answered(failure.status))
    if isinstance(failure, TimeoutError):
        return TunnelError("opened no connection in time")
    if isinstance(failure, aiohttp.ClientConnectorDNSError):
        return ProxyError("has a name that does not resolve")
    if isinstance(failure, aiohttp.ClientProxyConnectionError):
        number = failure.os_error.errno
        return ProxyError(f"cannot be reached ({os.strerror(number) if number else 'no connection'})")
    return ProxyError("broke the connection off")


def _answered(status: int) -> str:
    return f"answered {status}"


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    looking_up: "asyncio.Task[list[ResolveResult]]"


class _Names:
    """Judged addresses of endpoints' names, kept as long as a connector keeps them; one lookup at a time for each."""

    def __init__(self, *, private_allowed: bool, lookup: Lookup) -> None:
        self._private_allowed = private_allowed
        self._resolver = GuardedResolver(private_allowed=private_allowed, lookup=lookup)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def addresses(self, host: str) -> list[str]:
        """Return up to three addresses, those of IPv4 first: most proxies have no other.

        Raises AddressRefusedError when one is refused, UnresolvedError when there is none.
        """
        if parse(host) is not None:
            check(host, private_allowed=self._private_allowed)
            return [host]
        known, now = self._known.get(host), time.monotonic()
        if known is None or (known.looking_up.done() and known.until < now):
            known = _Known(now + NAMES_KEPT_S, asyncio.create_task(self._resolver.resolve(host)))
            known.looking_up.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._known[host] = known
            if len(self._known) > _MOST_NAMES:
                self._known.popitem(last=False)
        try:
            found = await asyncio.shield(known.looking_up)
        except AddressRefusedError:
            raise
        except OSError as error:
            raise UnresolvedError(error.strerror or str(error)) from error
        return sorted(dict.fromkeys(one["host"] for one in found), key=lambda text: ":" in text)[:_MOST_ADDRESSES]

    async def close(self) -> None:
        """Let the lookups go."""
        for known in self._known.values():
            known.looking_up.cancel()
        await self._resolver.close()
