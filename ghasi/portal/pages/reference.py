"""The API reference: the contract's OpenAPI document, and the page that shows it.

Owns the index beside the operations and the document with this installation's own API address and limits. Asks the API
nothing: all of it is in the contract and the settings.
"""

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.emit.openapi import openapi
from ghasi.contract.emit.sections import SECTIONS, section_of
from ghasi.contract.row import Row
from ghasi.contract.table import ROWS
from ghasi.portal.access import signed_in
from ghasi.portal.rendering import accepted_encodings, page
from ghasi.portal.sessions import Portal, Visit
from ghasi.settings import Settings

PROBLEM = json.dumps(EXAMPLES["Problem"], ensure_ascii=False, indent=2)


@dataclass(frozen=True, slots=True)
class Document:
    """The OpenAPI document as bytes, compressed too; `tag` is its ETag (RFC 9110, section 8.8.3)."""

    content: bytes
    compressed: bytes
    tag: str


@lru_cache(4)
def document_of(settings: Settings) -> Document:
    """Return the document of an installation; it is made once."""
    content = msgspec.json.encode(openapi(settings))
    return Document(content, gzip.compress(content, mtime=0), f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def operations_by_section() -> list[tuple[str, list[Row]]]:
    """Return what the index shows: the sections in their order, each with its operations."""
    sections: dict[str, list[Row]] = {name: [] for name in SECTIONS}
    for row in ROWS:
        sections.setdefault(section_of(row), []).append(row)
    return [(name, rows) for name, rows in sections.items() if rows]


async def show_reference(_: Request, visit: Visit) -> Response:
    """Show the page; its script fetches the document."""
    return page("reference/reference.html", visit=visit, sections=operations_by_section(), problem=PROBLEM)


async def send_document(request: Request, _: Visit) -> Response:
    """Answer with the OpenAPI document, or 304 to a browser that has this very one."""
    portal: Portal = request.app.state.portal
    document = document_of(portal.settings)
    headers = {"Cache-Control": "private, no-cache", "ETag": document.tag, "Vary": "Accept-Encoding"}
    known = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
    if document.tag in known:
        return Response(status_code=304, headers=headers)
    content = document.content
    if "gzip" in accepted_encodings(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        content = document.compressed
    return Response(content, media_type="application/json", headers=headers)


ROUTES = [
    Route("/reference", signed_in(show_reference)),
    Route("/reference/openapi.json", signed_in(send_document)),
]
