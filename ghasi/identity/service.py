"""The rules of the local identity server: what Firebase Auth's REST API does with e-mail addresses and passwords.

Each function takes the house and a request's shape, returns the answer's JSON and raises Refusal. Firebase's documented
error codes are kept (https://firebase.google.com/docs/reference/rest/auth). Nothing here speaks HTTP.
"""

import hashlib
import re
import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ghasi.identity import queries
from ghasi.identity.keys import Keys, open_keys, read_id_token, sign_id_token
from ghasi.identity.model import ID_TOKEN_LIFE_S, Credentials, Exchange, Lookup, Refusal, Update, User
from ghasi.identity.passwords import Attempts, Passwords
from ghasi.storage.pool import Connection, Pool
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import Sealer

SHORTEST_PASSWORD, LONGEST_PASSWORD = 6, 4096
LONGEST_NAME, LONGEST_EMAIL = 256, 256
RECENT_SIGN_IN = timedelta(minutes=5)
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f<>()\[\]\\,;:\"]+@[^@\s\x00-\x1f\x7f<>()\[\]\\,;:\"]+")
_ID_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class House:
    """What the rules work with."""

    pool: Pool
    keys: Keys
    passwords: Passwords
    attempts: Attempts
    resets: Attempts
    sealer: Sealer
    portal_url: str


@asynccontextmanager
async def open_house(resources: Resources, project_id: str) -> AsyncIterator[House]:
    """Open the keys and the threads that hash; raises SealError when GHASI_SECRET_KEY is another than before."""
    passwords = Passwords()
    try:
        keys = await open_keys(resources.pool, resources.sealer, project_id)
        portal_url = resources.settings.public_portal_url
        yield House(resources.pool, keys, passwords, Attempts(), Attempts(), resources.sealer, portal_url)
    finally:
        passwords.close()


async def sign_up(house: House, request: Credentials) -> dict[str, Any]:
    """Create a user and sign in; raises EMAIL_EXISTS and what is wrong with address, password or name."""
    if request.email is None and request.password is None:
        raise Refusal("OPERATION_NOT_ALLOWED : Anonymous sign-in is not supported")
    email = checked_email(request.email)
    password = checked_password(request.password)
    display_name = _checked_name(request.display_name)
    password_hash = await house.passwords.hash(password)
    local_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(28))
    async with house.pool.acquire() as connection, connection.transaction():
        user = await queries.insert_user(
            connection, local_id=local_id, email=email, display_name=display_name, password_hash=password_hash
        )
        if user is None:
            raise Refusal("EMAIL_EXISTS")
        tokens = _new_tokens(house, user)
        await _keep(connection, user, tokens)
    return {"kind": "identitytoolkit#SignupNewUserResponse", **named(user), **tokens.answer()}


async def sign_in_with_password(house: House, request: Credentials) -> dict[str, Any]:
    """Sign in; an unknown address costs the same time and answers the same as a wrong password.

    Raises INVALID_LOGIN_CREDENTIALS, USER_DISABLED (to who knows the password) and TOO_MANY_ATTEMPTS_TRY_LATER.
    """
    email = checked_email(request.email)
    if not request.password:
        raise Refusal("MISSING_PASSWORD")
    if not house.attempts.take(email):
        raise Refusal("TOO_MANY_ATTEMPTS_TRY_LATER : Too many failed sign-ins for this address, try again later")
    user = await queries.find_user_by_email(house.pool, email)
    right = await house.passwords.verify(user.password_hash if user else None, request.password)
    if user is None or not right:
        raise Refusal("INVALID_LOGIN_CREDENTIALS")
    house.attempts.forget(email)
    if user.disabled:
        raise Refusal("USER_DISABLED")
    tokens = _new_tokens(house, user)
    await _keep(house.pool, user, tokens)
    return {
        "kind": "identitytoolkit#VerifyPasswordResponse",
        "registered": True,
        **named(user),
        "displayName": user.display_name or "",
        **tokens.answer(),
    }


async def look_up(house: House, request: Lookup) -> dict[str, Any]:
    """Return the account of an ID token; raises INVALID_ID_TOKEN, TOKEN_EXPIRED, USER_NOT_FOUND, USER_DISABLED."""
    user, _ = await authenticate(house, request.id_token)
    account = {
        **named(user),
        "emailVerified": user.email_verified,
        "providerUserInfo": providers(user),
        "validSince": str(int(user.valid_since.timestamp())),
        "disabled": user.disabled,
        "lastLoginAt": str(int(user.last_login_at.timestamp() * 1000)),
        "createdAt": str(int(user.created_at.timestamp() * 1000)),
    }
    return {"kind": "identitytoolkit#GetAccountInfoResponse", "users": [account]}


async def update(house: House, request: Update) -> dict[str, Any]:
    """Change the name or the password; a new password ends all earlier sign-ins and answers with new tokens.

    Raises, beside what look_up raises, CREDENTIAL_TOO_OLD_LOGIN_AGAIN when a password is changed more than 5 minutes
    after the sign-in, and OPERATION_NOT_ALLOWED for what this server does not keep or change.
    """
    user, auth_time = await authenticate(house, request.id_token)
    if request.email is not None or request.photo_url is not None:
        raise Refusal("OPERATION_NOT_ALLOWED : This server changes the name and the password alone")
    now = datetime.now(UTC)
    name = user.display_name if request.display_name is None else _checked_name(request.display_name)
    if "DISPLAY_NAME" in request.delete_attribute:
        name = None
    password_hash = None
    if request.password is not None:
        if now - auth_time > RECENT_SIGN_IN:
            raise Refusal("CREDENTIAL_TOO_OLD_LOGIN_AGAIN")
        password_hash = await house.passwords.hash(checked_password(request.password))
    async with house.pool.acquire() as connection, connection.transaction():
        changed = await queries.update_user(connection, user.local_id, display_name=name, password_hash=password_hash)
        if changed is None:
            raise Refusal("USER_NOT_FOUND")
        tokens = None
        if password_hash is not None:
            await queries.revoke_refresh_tokens(connection, user.local_id)
        if password_hash is not None or request.return_secure_token:
            tokens = _new_tokens(house, changed, None if password_hash else auth_time)
            await _keep(connection, changed, tokens)
    return {
        "kind": "identitytoolkit#SetAccountInfoResponse",
        **named(changed),
        "emailVerified": changed.email_verified,
        "providerUserInfo": providers(changed),
        **(tokens.answer() if tokens else {}),
    }


async def exchange(house: House, request: Exchange) -> dict[str, Any]:
    """Give a new ID token for a refresh token, which stays as it is; the sign-in's time stays too.

    Raises INVALID_GRANT_TYPE, MISSING_REFRESH_TOKEN, INVALID_REFRESH_TOKEN, TOKEN_EXPIRED (the password was changed),
    USER_DISABLED.
    """
    if request.grant_type != "refresh_token":
        raise Refusal("INVALID_GRANT_TYPE")
    if not request.refresh_token:
        raise Refusal("MISSING_REFRESH_TOKEN")
    token = await queries.find_refresh_token(house.pool, _hash(request.refresh_token))
    if token is None:
        raise Refusal("INVALID_REFRESH_TOKEN")
    if token.revoked:
        raise Refusal("TOKEN_EXPIRED")
    user = await queries.find_user(house.pool, token.local_id)
    if user is None:
        raise Refusal("USER_NOT_FOUND")
    if user.disabled:
        raise Refusal("USER_DISABLED")
    id_token = sign_id_token(house.keys, user, token.auth_time, datetime.now(UTC))
    return {
        "access_token": id_token,
        "expires_in": str(ID_TOKEN_LIFE_S),
        "token_type": "Bearer",
        "refresh_token": request.refresh_token,
        "id_token": id_token,
        "user_id": user.local_id,
        "project_id": house.keys.project_id,
    }


@dataclass(frozen=True, slots=True)
class _Tokens:
    id_token: str
    refresh_token: str
    auth_time: datetime

    def answer(self) -> dict[str, Any]:
        return {
            "idToken": self.id_token, "refreshToken": self.refresh_token, "expiresIn": str(ID_TOKEN_LIFE_S),
        }  # fmt: skip


def _new_tokens(house: House, user: User, auth_time: datetime | None = None) -> _Tokens:
    now = datetime.now(UTC)
    signed_in_at = auth_time or now
    return _Tokens(sign_id_token(house.keys, user, signed_in_at, now), f"ghr_{secrets.token_urlsafe(32)}", signed_in_at)


async def _keep(connection: Connection | Pool, user: User, tokens: _Tokens) -> None:
    await queries.insert_refresh_token(
        connection, token_hash=_hash(tokens.refresh_token), local_id=user.local_id, auth_time=tokens.auth_time
    )


async def authenticate(house: House, id_token: str | None) -> tuple[User, datetime]:
    """Return the user of an ID token and the time of the sign-in; raises what look_up raises."""
    local_id, auth_time = read_id_token(house.keys, id_token)
    user = await queries.find_user(house.pool, local_id)
    if user is None:
        raise Refusal("USER_NOT_FOUND")
    if user.disabled:
        raise Refusal("USER_DISABLED")
    if auth_time < user.valid_since:
        raise Refusal("TOKEN_EXPIRED")
    return user, auth_time


def named(user: User) -> dict[str, Any]:
    """Write what every answer about a user has."""
    named = {"localId": user.local_id, "email": user.email}
    return {**named, "displayName": user.display_name} if user.display_name else named


def providers(user: User) -> list[dict[str, Any]]:
    """Write how a user can sign in."""
    provider = {"providerId": "password", "federatedId": user.email, "email": user.email, "rawId": user.email}
    return [{**provider, "displayName": user.display_name} if user.display_name else provider]


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()


def checked_email(email: str | None) -> str:
    """Return an address in lower case; raises MISSING_EMAIL or INVALID_EMAIL."""
    if not email:
        raise Refusal("MISSING_EMAIL")
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise Refusal("INVALID_EMAIL")
    return email.lower()


def checked_password(password: str | None) -> str:
    """Return a new password as it is; raises MISSING_PASSWORD and what is wrong with its length."""
    if not password:
        raise Refusal("MISSING_PASSWORD")
    if len(password) < SHORTEST_PASSWORD:
        raise Refusal(f"WEAK_PASSWORD : Password should be at least {SHORTEST_PASSWORD} characters")
    if len(password) > LONGEST_PASSWORD:
        raise Refusal(f"PASSWORD_DOES_NOT_MEET_REQUIREMENTS : At most {LONGEST_PASSWORD} characters")
    return password


def _checked_name(name: str | None) -> str | None:
    if not name:
        return None
    if len(name) > LONGEST_NAME or "\0" in name:
        raise Refusal(f"INVALID_DISPLAY_NAME : At most {LONGEST_NAME} characters, none of them NUL")
    return name
