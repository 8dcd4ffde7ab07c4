"""Codes that Firebase sends by e-mail ("out of band"): to set a new password and to verify an address.

This server sends no e-mail. A code's link is written to its log and listed at the path of Google's emulator: whoever
reads either can set a password. That is for development on one machine, where nothing else could deliver the link;
it is the only place where Ghasi logs one.
"""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import structlog

from ghasi.identity import queries
from ghasi.identity.model import (
    OOB_CODE_LIFE,
    PASSWORD_RESET,
    VERIFY_EMAIL,
    OobCode,
    OobRequest,
    Refusal,
    Reset,
    Update,
)
from ghasi.identity.service import House, authenticate, checked_email, checked_password, named, providers

MODES = {PASSWORD_RESET: "resetPassword", VERIFY_EMAIL: "verifyEmail"}
EVENTS = {PASSWORD_RESET: "password_reset_link", VERIFY_EMAIL: "verify_email_link"}
PAGE = "/reset-password"
"""The portal's page for all codes, as Firebase knows one "action URL" for all."""
log = structlog.get_logger("ghasi.identity")


async def send_oob_code(house: House, request: OobRequest) -> dict[str, Any]:
    """Make a code and log its link; an unknown address gets the same answer and no code.

    Raises MISSING_REQ_TYPE, INVALID_REQ_TYPE, MISSING_EMAIL, INVALID_EMAIL, RESET_PASSWORD_EXCEED_LIMIT, and for
    VERIFY_EMAIL what look_up raises.
    """
    if not request.request_type:
        raise Refusal("MISSING_REQ_TYPE")
    if request.request_type not in MODES:
        raise Refusal("INVALID_REQ_TYPE : This server knows PASSWORD_RESET and VERIFY_EMAIL alone")
    if request.return_oob_link:
        raise Refusal("INSUFFICIENT_PERMISSION : Links are given to administrators alone")
    if request.request_type == VERIFY_EMAIL:
        user, _ = await authenticate(house, request.id_token)
        email = user.email
    else:
        email = checked_email(request.email)
        if not house.resets.take(email):
            raise Refusal("RESET_PASSWORD_EXCEED_LIMIT : Too many links for this address, try again later")
        found = await queries.find_user_by_email(house.pool, email)
        if found is None:
            return _sent(email)
        user = found
    code = secrets.token_urlsafe(32)
    await queries.insert_oob_code(
        house.pool, code_hash=_hash(code), sealed_code=house.sealer.seal(code.encode()), local_id=user.local_id,
        request_type=request.request_type, expires_at=datetime.now(UTC) + OOB_CODE_LIFE,
    )  # fmt: skip
    log.info(EVENTS[request.request_type], email=email, link=_link(house, request.request_type, code))
    return _sent(email)


async def reset_password(house: House, request: Reset) -> dict[str, Any]:
    """Say what a code is for or, given a new password, set it: then the code and all earlier sign-ins are over.

    Raises MISSING_OOB_CODE, INVALID_OOB_CODE, EXPIRED_OOB_CODE, USER_DISABLED and what is wrong with the password.
    """
    code_hash, code = await _outstanding(house, request.oob_code)
    if request.new_password is None:
        return _reset(code)
    if code.request_type != PASSWORD_RESET:
        raise Refusal("INVALID_OOB_CODE")
    password_hash = await house.passwords.hash(checked_password(request.new_password))
    async with house.pool.acquire() as connection, connection.transaction():
        if await queries.take_oob_code(connection, code_hash) is None:
            raise Refusal("INVALID_OOB_CODE")
        await queries.reset_password(connection, code.local_id, password_hash)
        await queries.revoke_refresh_tokens(connection, code.local_id)
        await queries.delete_oob_codes(connection, code.local_id, PASSWORD_RESET)
    house.attempts.forget(code.email)
    return _reset(code)


async def verify_email(house: House, request: Update) -> dict[str, Any]:
    """Verify the address that a code was made for; raises INVALID_OOB_CODE, EXPIRED_OOB_CODE, USER_DISABLED."""
    code_hash, code = await _outstanding(house, request.oob_code)
    if code.request_type != VERIFY_EMAIL:
        raise Refusal("INVALID_OOB_CODE")
    async with house.pool.acquire() as connection, connection.transaction():
        if await queries.take_oob_code(connection, code_hash) is None:
            raise Refusal("INVALID_OOB_CODE")
        user = await queries.verify_email(connection, code.local_id)
    if user is None:
        raise Refusal("INVALID_OOB_CODE")
    return {
        "kind": "identitytoolkit#SetAccountInfoResponse",
        **named(user),
        "emailVerified": user.email_verified,
        "providerUserInfo": providers(user),
    }


async def list_oob_codes(house: House) -> dict[str, Any]:
    """Return the codes that can still be used, as Google's emulator lists them."""
    listed = []
    for email, request_type, sealed_code in await queries.list_oob_codes(house.pool):
        code = house.sealer.open(sealed_code).decode()
        link = _link(house, request_type, code)
        listed.append({"email": email, "requestType": request_type, "oobCode": code, "oobLink": link})
    return {"oobCodes": listed}


async def _outstanding(house: House, code: str | None) -> tuple[bytes, OobCode]:
    if not code:
        raise Refusal("MISSING_OOB_CODE")
    code_hash = _hash(code)
    found = await queries.find_oob_code(house.pool, code_hash)
    if found is None:
        raise Refusal("INVALID_OOB_CODE")
    if found.expires_at <= datetime.now(UTC):
        raise Refusal("EXPIRED_OOB_CODE")
    user = await queries.find_user(house.pool, found.local_id)
    if user is None:
        raise Refusal("INVALID_OOB_CODE")
    if user.disabled:
        raise Refusal("USER_DISABLED")
    return code_hash, found


def _link(house: House, request_type: str, code: str) -> str:
    return f"{house.portal_url}{PAGE}?{urlencode({'mode': MODES[request_type], 'oobCode': code})}"


def _sent(email: str) -> dict[str, Any]:
    return {"kind": "identitytoolkit#GetOobConfirmationCodeResponse", "email": email}


def _reset(code: OobCode) -> dict[str, Any]:
    return {
        "kind": "identitytoolkit#ResetPasswordResponse", "email": code.email, "requestType": code.request_type,
    }  # fmt: skip


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
