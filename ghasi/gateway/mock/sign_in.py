"""A sign-in page's other end: as much of the Firebase Auth REST API as a browser needs, at the emulator's paths.

Owns nothing: whoever signs up or in is who they say, with any password; no e-mail is sent. The portal signs in here
when GHASI_FIREBASE_AUTH_URL says so.
"""

import time
from typing import Any
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid5

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ghasi.gateway.mock.people import People, read_claims

PROJECT_ID = "demo-ghasi"
IDENTITY, TOKENS = "/identitytoolkit.googleapis.com", "/securetoken.googleapis.com"
_LIFETIME_S = 3600
_ACTIONS = frozenset({"signUp", "signInWithPassword", "lookup", "update", "sendOobCode"})


def sign_in_app(people: People) -> Starlette:
    """Make the app, whose ID tokens are signed by the key of `people`."""

    async def act(request: Request) -> Response:
        action, body = request.path_params["action"], await _read(request)
        if action not in _ACTIONS:
            return JSONResponse({"error": {"code": 404, "message": "NOT_FOUND"}}, 404)
        claims = read_claims(str(body.get("idToken", "")))
        email = str(body.get("email") or claims.get("email") or people.user["email"])
        name = str(body.get("displayName") or claims.get("name") or email.partition("@")[0].title())
        if action in {"signUp", "signInWithPassword"} and not body.get("password"):
            return JSONResponse({"error": {"code": 400, "message": "MISSING_PASSWORD"}}, 400)
        user = {"localId": _local_id(email), "email": email, "displayName": name, "emailVerified": True}
        if action == "lookup":
            return JSONResponse({"users": [{**user, "providerUserInfo": [_provider(email)]}]})
        return JSONResponse({**user, "registered": True, **_tokens(people, email, name)})

    async def exchange(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        claims = read_claims(form.get("refresh_token", ""))
        email, name = (str(claims.get(field) or people.user[field]) for field in ("email", "name"))
        tokens = _tokens(people, email, name)
        return JSONResponse(
            {
                "id_token": tokens["idToken"], "access_token": tokens["idToken"], "token_type": "Bearer",
                "refresh_token": tokens["refreshToken"], "expires_in": tokens["expiresIn"], "project_id": PROJECT_ID,
                "user_id": _local_id(email),
            }
        )  # fmt: skip

    return Starlette(
        routes=[
            Route(f"{IDENTITY}/v1/accounts:{{action}}", act, methods=["POST"]),
            Route(f"{TOKENS}/v1/token", exchange, methods=["POST"]),
        ],
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"], allow_headers=["*"])],
    )


async def _read(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _local_id(email: str) -> str:
    return uuid5(NAMESPACE_URL, email.lower()).hex[:28]


def _provider(email: str) -> dict[str, str]:
    return {"providerId": "password", "email": email, "federatedId": email, "rawId": email}


def _tokens(people: People, email: str, name: str) -> dict[str, str]:
    now = int(time.time())
    token = people.sign(
        {
            "iss": f"https://securetoken.google.com/{PROJECT_ID}", "aud": PROJECT_ID, "sub": _local_id(email),
            "user_id": _local_id(email), "auth_time": now, "iat": now, "exp": now + _LIFETIME_S, "email": email,
            "email_verified": True, "name": name,
            "firebase": {"identities": {"email": [email]}, "sign_in_provider": "password"},
        }
    )  # fmt: skip
    return {"idToken": token, "refreshToken": token, "expiresIn": str(_LIFETIME_S)}
