"""Opening a page of one thing: its id in the path, and the thing itself if it can be had at once.

Owns which texts are ids and how long a page waits. Shows nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal.formats import Reader, reader_of
from ghasi.portal.sessions import Visit

T = TypeVar("T")
AT_ONCE_S = 0.8
"""A page waits so long for what it is about; a slower one loads into the page."""


def id_of(request: Request, name: str) -> str:
    """Return an id of the path; raises HTTPException 404 for what cannot be one."""
    text: str = request.path_params[name]
    if not is_id(text):
        raise HTTPException(404)
    return text


def is_id(text: str) -> bool:
    """Say whether a text is an id as the API writes them: nothing else, as "..", becomes part of a path of the API."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def reader_for(visit: Visit) -> Reader:
    """Return in which language and zone this visitor reads."""
    return reader_of(visit.request, visit.claims.locale, visit.claims.zoneinfo)


async def find_at_once(visit: Visit, call: Callable[[Ghasi], Awaitable[T]]) -> T | None:
    """Return what the API answers, None when it is slow or fails: the part then asks again, and says what is wrong.

    Raises ApiError when there is no such thing, which is the page for that.
    """
    try:
        async with asyncio.timeout(AT_ONCE_S):
            return await visit.ask(call)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise
    except (ApiUnreachableError, TimeoutError):
        pass
    return None
