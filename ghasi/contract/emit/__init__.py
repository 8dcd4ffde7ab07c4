"""What is derived from the contract's table: OpenAPI, Markdown, a table for the terminal, Kong's configuration.

`python -m ghasi.contract.emit docs` writes the files that are committed.
"""

from collections.abc import Callable, Mapping

import msgspec

from ghasi.contract.emit.documents import contract_markdown, errors_markdown, settings_markdown
from ghasi.contract.emit.openapi import DEFAULTS, openapi
from ghasi.contract.emit.table import show
from ghasi.contract.kong.configuration import configuration
from ghasi.settings import Settings

__all__ = ["COMMITTED", "markdown", "openapi", "openapi_json", "show"]


def openapi_json(settings: Settings | None = None) -> str:
    """Return the OpenAPI document as indented JSON, ending in a line feed."""
    return msgspec.json.format(msgspec.json.encode(openapi(settings)), indent=2).decode() + "\n"


def markdown(settings: Settings | None = None) -> str:
    """Return the contract as Markdown."""
    return contract_markdown(settings)


_SHARED = DEFAULTS.model_copy(update={"redis_url": "redis://:from-its-environment@valkey:6379"})
"""For several Kongs; which password it is, each reads for itself."""
COMMITTED: Mapping[str, Callable[[], str]] = {
    "openapi.json": openapi_json,
    "contract.md": contract_markdown,
    "errors.md": errors_markdown,
    "settings.md": settings_markdown,
    "../deploy/kong.yaml": lambda: configuration(DEFAULTS),
    "../deploy/kubernetes/kong/declarative.yaml": lambda: configuration(_SHARED),
}
"""The files that are emitted, by their paths from docs/; a test holds them equal to what is committed."""
