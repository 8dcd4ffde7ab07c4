"""The local identity server over HTTP: Firebase Auth's REST API at the paths of Google's emulator.

Owns paths, bodies and how an error is written. It stands in for Firebase on one machine: it sends no e-mail, knows no
provider but the password, and is never reached by the rest of Ghasi in any way but this API.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.identity import oob_codes, service
from ghasi.identity.model import Credentials, Exchange, Lookup, OobRequest, Refusal, Reset, Update
from ghasi.identity.service import House
from ghasi.storage.pool import UNAVAILABLE, check
from ghasi.storage.resources import Resources

MAX_BODY_BYTES = 64 * 1024
BODY_S = 60.0
CERTIFICATES_MAX_AGE_S = 3600
ACCOUNTS = "/identitytoolkit.googleapis.com/v1/accounts"
TOKEN = "/securetoken.googleapis.com/v1/token"  # noqa: S105 - a path
OOB_CODES = "/emulator/v1/projects/{project}/oobCodes"
CERTIFICATES = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
_PORT = re.compile(r":\d*$", re.ASCII)
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: nested too deep
Shape = TypeVar("Shape", bound=msgspec.Struct)
log = structlog.get_logger("ghasi.identity")


def identity_app(resources: Resources, project_id: str = "demo-ghasi") -> Starlette:
    """Make the app: ID tokens have `project_id` as audience. Its lifespan opens the keys and must be run."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with service.open_house(resources, project_id) as house:
            app.state.house = house
            yield

    async def health(_: Request) -> Response:
        await check(resources.pool)
        return _json({"status": "ok"})

    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = dict.fromkeys(UNAVAILABLE, _unavailable)
    handlers |= {Refusal: _refused, HTTPException: _not_here, ClientDisconnect: _gone, Exception: _broken}
    app = Starlette(
        routes=[
            _account("signUp", Credentials, service.sign_up),
            _account("signInWithPassword", Credentials, service.sign_in_with_password),
            _account("lookup", Lookup, service.look_up),
            _account("update", Update, _update),
            _account("sendOobCode", OobRequest, oob_codes.send_oob_code),
            _account("resetPassword", Reset, oob_codes.reset_password),
            Route(TOKEN, _token, methods=["POST"]),
            Route(CERTIFICATES, _certificates),
            Route(OOB_CODES, _oob_codes),
            Route("/healthz", health),
        ],
        # tokens travel in bodies, never in cookies: any page may call, as it may call Firebase
        middleware=[
            Middleware(
                CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "POST"], allow_headers=["*"], max_age=3600
            )
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would lead to whatever host the request names
    return app


def _account(action: str, shape: type[Shape], serve: Callable[[House, Shape], Awaitable[dict[str, Any]]]) -> Route:
    async def handle(request: Request) -> Response:
        return _json(await serve(request.app.state.house, _decode(await _read(request), shape)))

    return Route(f"{ACCOUNTS}:{action}", handle, methods=["POST"])


async def _token(request: Request) -> Response:
    raw = await _read(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        fields = _decode_fields(raw)
    else:
        fields = dict(parse_qsl(raw.decode("utf-8", "replace")))
    # protobuf's JSON takes both spellings
    exchange = Exchange(
        fields.get("grant_type") or fields.get("grantType"), fields.get("refresh_token") or fields.get("refreshToken")
    )
    return _json(await service.exchange(request.app.state.house, exchange))


async def _update(house: House, request: Update) -> dict[str, Any]:
    serve = service.update if request.oob_code is None else oob_codes.verify_email
    return await serve(house, request)


async def _oob_codes(request: Request) -> Response:
    """List the codes, as Google's emulator does, but to this machine alone and not to the scripts of pages.

    Whoever reads one can set a password. The name that was asked for has to be this machine's too: a page whose own
    name was made to lead here (DNS rebinding) reads as the same origin, and sends no Origin.
    """
    house: House = request.app.state.house
    if "origin" in request.headers:
        raise Refusal("PERMISSION_DENIED : Pages of other origins can't read this", 403)
    peer = request.client.host if request.client is not None else ""
    asked = _PORT.sub("", request.headers.get("host", "")).strip("[]")
    if not _is_this_machine(peer) or not _is_this_machine(asked):
        raise Refusal("PERMISSION_DENIED : The codes are listed on this machine alone; their links are in the log", 403)
    if request.path_params["project"] != house.keys.project_id:
        raise HTTPException(404)
    return _json(await oob_codes.list_oob_codes(house))


def _is_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


async def _certificates(request: Request) -> Response:
    house: House = request.app.state.house
    cached = {"cache-control": f"public, max-age={CERTIFICATES_MAX_AGE_S}, must-revalidate, no-transform"}
    return _json(dict(house.keys.certificates), headers=cached)


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(f"REQUEST_TOO_LARGE : At most {MAX_BODY_BYTES} bytes", 413)
    except TimeoutError:
        raise Refusal("REQUEST_TIMEOUT : The body did not come in time", 408) from None
    return bytes(body)


def _decode(raw: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(raw or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise Refusal(f"INVALID_ARGUMENT : {error}") from None
    except _NO_JSON:
        raise Refusal("Invalid JSON payload received.") from None


def _decode_fields(raw: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(raw or b"{}", type=dict[str, str])
    except _NO_JSON:
        raise Refusal("Invalid JSON payload received.") from None


def _json(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status, headers or {"cache-control": "no-store"}, media_type="application/json"
    )


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    answer = _json(error.body(), error.status)
    if error.status == 408:  # noqa: PLR2004 - HTTP's number
        answer.headers["connection"] = "close"  # RFC 9110, section 15.5.9: nothing waits for the rest
    return answer


async def _not_here(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _json(Refusal("METHOD_NOT_ALLOWED" if status == 405 else "NOT_FOUND", status).body(), status)  # noqa: PLR2004 - HTTP's number


async def _gone(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=400)  # nobody reads it


async def _unavailable(request: Request, error: Exception) -> Response:
    log.warning("unavailable", path=request.url.path, error=type(error).__name__)
    return _json(Refusal("UNAVAILABLE : Try again shortly", 503).body(), 503)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("internal_error", path=request.url.path, error=type(error).__name__)
    return _json(Refusal("INTERNAL_ERROR", 500).body(), 500)
