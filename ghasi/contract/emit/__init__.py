"""What is derived from the contract's table: OpenAPI, Markdown and a table for the terminal.

`python -m ghasi.contract.emit docs` writes the files that are committed.
"""

from collections.abc import Callable, Mapping

import msgspec

from ghasi.contract.emit.documents import contract_markdown, errors_markdown, settings_markdown
from ghasi.contract.emit.openapi import openapi
from ghasi.contract.emit.table import show
from ghasi.settings import Settings

__all__ = ["COMMITTED", "markdown", "openapi", "openapi_json", "show"]


def openapi_json(settings: Settings | None = None) -> str:
    """Return the OpenAPI document as indented JSON, ending in a line feed."""
    return msgspec.json.format(msgspec.json.encode(openapi(settings)), indent=2).decode() + "\n"


def markdown(settings: Settings | None = None) -> str:
    """Return the contract as Markdown."""
    return contract_markdown(settings)


COMMITTED: Mapping[str, Callable[[], str]] = {
    "openapi.json": openapi_json,
    "contract.md": contract_markdown,
    "errors.md": errors_markdown,
    "settings.md": settings_markdown,
}
"""The files of docs/ that are emitted; a test holds them equal to what is committed."""
