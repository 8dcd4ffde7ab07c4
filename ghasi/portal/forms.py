"""Reads forms as browsers send them, and says beside which field an API error belongs.

Owns how a form's body and its Idempotency-Key are read. Checks no rule of the API's.
"""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl
from uuid import uuid4

from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ghasi.client.errors import ApiError

MAX_FORM_BYTES = 16 * 1024
"""More than the longest message of 10 segments, percent-encoded; a page may allow more."""
FORM_S = 60.0
MAX_FIELDS = 200
_KEY = re.compile(r"[A-Za-z0-9-]{16,64}", re.ASCII)
_ABOUT_INPUT = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})


async def read_form(request: Request, max_bytes: int = MAX_FORM_BYTES) -> ImmutableMultiDict[str, str]:
    """Read a form: `form["name"]`, `form.get("name", "")`, `form.getlist("events")`.

    Raises HTTPException 413 or 408 when it is larger or slower than ours can be, and 400 for too many fields.
    """
    try:
        text = (await read_body(request, max_bytes)).decode("utf-8", "replace")
        return ImmutableMultiDict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise HTTPException(400) from None


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read what our own pages send; raises HTTPException 413 or 408 when it is larger or slower than that can be."""
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise HTTPException(413)
    except TimeoutError:
        # RFC 9110, section 15.5.9: nothing waits for the rest
        raise HTTPException(408, headers={"connection": "close"}) from None
    return bytes(body)


def input_errors(error: ApiError, fields: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return {field: message} for a form; "" is the form as a whole. Raises the error again if input is not to blame.

    `fields` says which input belongs to a code or to a field of the API where the names differ:
    `{"duplicate_name": "name", "from": "sender"}`; a field that is not in the form should be mapped to "".
    """
    if error.status not in _ABOUT_INPUT:
        raise error
    names = fields or {}
    if not error.errors:
        return {names.get(error.code, ""): error.message}
    found: dict[str, str] = {}
    for one in error.errors:
        plain = "" if one.field == "$" else one.field
        found.setdefault(names.get(plain, names.get(plain.partition("[")[0].partition(".")[0], plain)), one.message)
    return found


def new_key() -> str:
    """Make an Idempotency-Key for a form to carry."""
    return str(uuid4())


def key_of(form: ImmutableMultiDict[str, str]) -> str:
    """Return the Idempotency-Key that a form carries in `idempotency_key`, or a new one."""
    key = form.get("idempotency_key", "")
    return key if _KEY.fullmatch(key) else new_key()


def sentence(text: str) -> str:
    """Make a sentence of an API's `must be a number`."""
    words = text.strip()
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', '!', '?')) else '.'}"
