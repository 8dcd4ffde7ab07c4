"""A visitor's session: the access token in the portal's own cookie, and the API's refresh token in another.

Owns reading, renewing and ending a session. Both cookies are named and flagged by the portal's own URL, whatever the
API's is. Nothing is kept here between requests.
"""

import asyncio
import hashlib
import math
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec
import structlog
from starlette.requests import Request

from ghasi.client.api import REFRESH_COOKIES, Ghasi, RefreshCookie
from ghasi.client.errors import ApiError, GhasiError
from ghasi.portal.signatures import Signatures
from ghasi.portal.visitor import Network, find_address, parse_networks
from ghasi.settings import Settings

T = TypeVar("T")
ROLE = "customer"
LONGEST_COOKIE_S = 86400
RENEWED_BEFORE_END_S = 60.0
_TOKEN = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,1000}")  # RFC 6265, section 4.1.1
log = structlog.get_logger("ghasi.portal")


class SignedOutError(Exception):
    """There is no session, or it is over: the visitor has to sign in."""


class Claims(msgspec.Struct, frozen=True):
    """The claims of the contract's section 3 that the portal reads; `exp` is a Unix time in seconds.

    The optional ones are OpenID Connect's (core, section 5.1), the account's name and `iat`; a token may lack them.
    """

    sub: str
    account_id: str
    email: str
    roles: list[str]
    exp: float
    name: str | None = None
    account_name: str | None = None
    locale: str | None = None
    zoneinfo: str | None = None
    iat: float | None = None

    @property
    def ends_soon(self) -> bool:
        """Say whether a minute of the token's life is left, or less: a tenth of a life that is short."""
        life_s = self.exp - self.iat if self.iat is not None else math.inf
        return self.exp - time.time() <= min(RENEWED_BEFORE_END_S, life_s / 10)

    @property
    def initials(self) -> str:
        """One or two letters for the visitor, from the name or else the e-mail address."""
        words = (self.name or "").split() or self.email.partition("@")[0].replace(".", " ").split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"


@dataclass(slots=True)
class Portal:
    """What the pages share: settings, connections, the API's keys, and the renewals under way by the cookie's hash."""

    settings: Settings
    http: aiohttp.ClientSession
    trusted: tuple[Network, ...]
    renewals: dict[bytes, asyncio.Task[Ghasi]] = field(default_factory=dict)
    signatures: Signatures = field(default_factory=Signatures)

    @classmethod
    def open(cls, settings: Settings, http: aiohttp.ClientSession) -> "Portal":
        """Make it; raises ValueError when trusted_proxies is no list of networks."""
        return cls(settings, http, parse_networks(settings.trusted_proxies))

    @property
    def access_cookie(self) -> str:
        """The name of the access token's cookie."""
        return "__Host-ghasi_access" if self.is_secure else "ghasi_access"

    @property
    def refresh_cookie(self) -> str:
        """The name of the refresh token's cookie in the browser."""
        return REFRESH_COOKIES[0 if self.is_secure else 1]

    @property
    def api_refresh_cookie(self) -> str:
        """The name that the API knows the same cookie by."""
        return REFRESH_COOKIES[0 if self.settings.public_api_url.startswith("https:") else 1]

    @property
    def is_secure(self) -> bool:
        """Whether the portal is reached by https, so that cookies can be Secure."""
        return self.settings.public_portal_url.startswith("https:")


@dataclass(slots=True)
class Visit:
    """One request of a signed-in visitor."""

    request: Request
    api: Ghasi
    claims: Claims
    is_renewed: bool

    async def ask(self, call: Callable[[Ghasi], Awaitable[T]]) -> T:
        """Ask the API; a token it refuses is renewed once. Raises SignedOutError, ApiError, ApiUnreachableError."""
        asked = self.api
        try:
            return await call(asked)
        except ApiError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
        if asked is not self.api:
            return await self.ask(call)  # a call beside this one has renewed it meanwhile
        portal: Portal = self.request.app.state.portal
        if self.is_renewed:
            _forget_access(self.request, portal)
            raise SignedOutError
        try:
            self.api, self.claims = await _renew(self.request, portal)
        except SignedOutError:
            _forget_access(self.request, portal)
            raise
        self.is_renewed = True
        return await self.ask(call)


def client_for(request: Request) -> Ghasi:
    """Make a client of the API for this visitor, whose address the API may count by."""
    portal: Portal = request.app.state.portal
    headers = {}
    address = find_address(request, portal.trusted)
    if portal.settings.portal_secret is not None and address is not None:
        headers = {"X-Ghasi-Portal-Secret": portal.settings.portal_secret, "X-Forwarded-For": address}
    return Ghasi(portal.settings.internal_api_url, session=portal.http, headers=headers)


def read_claims(token: str | None) -> Claims | None:
    """Read the claims of a token that has not ended; None for garbage."""
    found = _TOKEN.fullmatch(token or "")
    if found is None:
        return None
    try:
        payload = urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
        claims = msgspec.json.decode(payload, type=Claims)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    return claims if claims.exp > time.time() else None


def find_claims(request: Request) -> Claims | None:
    """Return the claims of the access cookie, when there is one that has not ended."""
    portal: Portal = request.app.state.portal
    return read_claims(request.cookies.get(portal.access_cookie))


async def get_visit(request: Request) -> Visit:
    """Open this request's session, renewed by the refresh cookie when the access token has ended or is about to.

    Raises SignedOutError, and ApiError or ApiUnreachableError when the API can't say.
    """
    portal: Portal = request.app.state.portal
    claims = find_claims(request)
    if claims is not None:
        api = client_for(request)
        api.token = request.cookies[portal.access_cookie]
        if not await portal.signatures.is_forged(api, api.token):
            visit = Visit(request, api, claims, is_renewed=False)
            if claims.ends_soon and find_refresh_cookie(request) is not None:
                await _try_renewing(visit)  # or else the token is good for what is asked now
            return visit
        _forget_access(request, portal)
    api, claims = await _renew(request, portal)
    return Visit(request, api, claims, is_renewed=True)


async def _renew(request: Request, portal: Portal) -> tuple[Ghasi, Claims]:
    """Renew once, however many requests of the browser ask for it at the same time."""
    cookie = find_refresh_cookie(request)
    if cookie is None:
        raise SignedOutError
    key = _key(cookie)
    renewal = portal.renewals.get(key)
    if renewal is None:
        api = client_for(request)
        api.refresh_cookie = cookie
        renewal = portal.renewals[key] = asyncio.create_task(_refresh(api))

        def ended(task: asyncio.Task[Ghasi]) -> None:
            portal.renewals.pop(key, None)
            if not task.cancelled():
                task.exception()  # those who waited have it; perhaps nobody did

        renewal.add_done_callback(ended)
    try:
        renewed = await asyncio.shield(renewal)  # a browser that leaves does not end it for its other tabs
    except ApiError as error:
        if error.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise
        # the refresh cookie is not deleted: a tab that was slow must not end what another has renewed since
        raise SignedOutError from None
    return renewed, keep(request, renewed)


async def renew(visit: Visit) -> bool:
    """Renew the session now, so that its token says what was just changed; False where that can't be.

    Then the next renewal brings it, when the access token ends. A renewal under way may have read what was before the
    change: another follows it, and the API answers both alike.
    """
    portal: Portal = visit.request.app.state.portal
    cookie = find_refresh_cookie(visit.request)
    under_way = portal.renewals.get(_key(cookie)) if cookie is not None else None
    if under_way is not None:
        await asyncio.wait({under_way})
    return await _try_renewing(visit)


async def _try_renewing(visit: Visit) -> bool:
    portal: Portal = visit.request.app.state.portal
    try:
        visit.api, visit.claims = await _renew(visit.request, portal)
    except (SignedOutError, GhasiError) as error:
        log.warning("renewal_failed", error=str(error) or type(error).__name__)
        return False
    visit.is_renewed = True
    return True


def _key(cookie: RefreshCookie) -> bytes:
    return hashlib.sha256(f"{cookie.name}={cookie.value}".encode()).digest()


async def _refresh(api: Ghasi) -> Ghasi:
    await api.refresh_session()
    return api


def keep(request: Request, api: Ghasi) -> Claims:
    """Set the cookies of a session that was just signed in or renewed; raises ApiError when its token is unreadable."""
    portal: Portal = request.app.state.portal
    claims = read_claims(api.token)
    if claims is None:
        raise ApiError(HTTPStatus.OK, "invalid_answer", "the access token has none of the contract's claims")
    life_s = min(int(claims.exp - time.time()), LONGEST_COOKIE_S)
    request.state.set_cookies.append(_access_cookie(portal, api.token or "", life_s))
    if api.refresh_cookie is not None and api.refresh_cookie.set_cookie:
        request.state.set_cookies.append(_own_refresh_cookie(portal, api.refresh_cookie.set_cookie))
    return claims


async def end(request: Request) -> None:
    """End the session here and at the API; an API that is away does not keep anyone signed in."""
    portal: Portal = request.app.state.portal
    api = client_for(request)
    api.refresh_cookie = find_refresh_cookie(request)
    if api.refresh_cookie is not None:
        try:
            await api.sign_out()
        except GhasiError as error:
            log.warning("sign_out_not_heard", error=str(error))
    _forget_access(request, portal)
    if portal.refresh_cookie in request.cookies:
        gone = f"{portal.refresh_cookie}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        request.state.set_cookies.append(_own_refresh_cookie(portal, gone))


def find_refresh_cookie(request: Request) -> RefreshCookie | None:
    """Return the refresh cookie that the browser sent, if it can be one, by the name that the API knows."""
    portal: Portal = request.app.state.portal
    value = request.cookies.get(portal.refresh_cookie)
    if value is not None and _COOKIE_VALUE.fullmatch(value):
        return RefreshCookie(portal.api_refresh_cookie, value)
    return None


def _own_refresh_cookie(portal: Portal, set_cookie: str) -> str:
    """Hand on the API's Set-Cookie under the portal's name, Secure where the portal is reached by https."""
    _, _, rest = set_cookie.partition("=")
    value, *attributes = (part.strip() for part in rest.split(";"))
    kept = [attribute for attribute in attributes if attribute.lower() != "secure"]
    return "; ".join([f"{portal.refresh_cookie}={value}", *kept, *(["Secure"] if portal.is_secure else [])])


def _forget_access(request: Request, portal: Portal) -> None:
    request.state.set_cookies.append(_access_cookie(portal, "", 0))


def _access_cookie(portal: Portal, token: str, life_s: int) -> str:
    secure = "; Secure" if portal.is_secure else ""
    expires = formatdate(time.time() + life_s if life_s else 0, usegmt=True)
    return (
        f"{portal.access_cookie}={token}; Max-Age={life_s}; Expires={expires}; Path=/; HttpOnly; SameSite=Lax{secure}"
    )
