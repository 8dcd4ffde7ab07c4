"""Reads an OpenAPI document and finds one's way in it: references, operations, events.

Owns where a document comes from and what makes it unreadable. Judges nothing.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ghasi.contract import emit

Json = dict[str, Any]
CURRENT = "current"
FETCH_TIMEOUT_S = 20
MAX_BYTES = 64 * 1024 * 1024
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MOST_REFERENCES = 100
"""In a row; more go in a circle."""


class DocumentUnreadable(Exception):  # noqa: N818 - says what is the matter
    """There is no such document, or it is no OpenAPI 3."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path; `route` is how people write both."""

    route: str
    path: str
    item: Json
    content: Json


class Document:
    """An OpenAPI 3 document; raises DocumentUnreadable wherever it turns out to be none."""

    def __init__(self, content: Any, source: str = "the document") -> None:
        self.source = source
        if not isinstance(content, dict) or not isinstance(content.get("paths"), dict):
            raise DocumentUnreadable(f"{source} is no OpenAPI document: it has no paths")
        if not str(content.get("openapi", "")).startswith("3."):
            raise DocumentUnreadable(f"{source} is no OpenAPI 3 document")
        self.content: Json = content
        self.extensions = frozenset(
            name for operation in self.operations().values() for name in operation.content if name.startswith("x-")
        )

    def resolve(self, value: Any) -> Json:
        """Return what an object stands for: itself, or what its `$ref` leads to."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(value, dict):
                raise DocumentUnreadable(f"{self.source} has {json.dumps(value)[:60]} where an object belongs")
            reference = value.get("$ref")
            if reference is None:
                return value
            value = self.find(reference)
        raise DocumentUnreadable(f"{self.source} has references that go in a circle")

    def find(self, reference: Any) -> Any:
        """Return what a reference within the document leads to."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise DocumentUnreadable(f"{self.source} refers to what is not in it: {reference}")
        found: Any = self.content
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (KeyError, IndexError, ValueError, TypeError):
                raise DocumentUnreadable(f"{self.source} refers to what is not in it: {reference}") from None
        return found

    def operations(self) -> Mapping[tuple[str, str], Operation]:
        """Return the operations by method and by path without the names of its parameters, which nobody sends."""
        found = {}
        for path, method, item, content in self._methods(self.content["paths"]):
            key = (method, re.sub(r"{[^}]*}", "{}", path))
            found[key] = Operation(f"{method.upper()} {path}", path, item, content)
        return found

    def events(self) -> Mapping[tuple[str, str], Operation]:
        """Return what endpoints are sent, by name and method."""
        found = self._methods(self.resolve(self.content.get("webhooks", {})))
        return {
            (name, method): Operation(f"event {name}", name, item, content) for name, method, item, content in found
        }

    def _methods(self, items: Json) -> Iterator[tuple[str, str, Json, Json]]:
        for name, value in items.items():
            item = self.resolve(value)
            for method in METHODS:
                if method in item:
                    yield name, method, item, self.resolve(item[method])


def read_document(source: str) -> Document:
    """Read a document from a file, `-` (standard input) or a URL; `current` is this version's own contract.

    Raises DocumentUnreadable.
    """
    name = "standard input" if source == "-" else source
    try:
        return Document(json.loads(_read(source)), name)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DocumentUnreadable(f"{name} can't be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise DocumentUnreadable(f"{name} is no JSON: {error}") from error


def _read(source: str) -> str | bytes:
    if source == CURRENT:
        return emit.openapi_json()
    if source == "-":
        return sys.stdin.buffer.read(MAX_BYTES)
    if re.match(r"https?://", source, re.IGNORECASE):
        with urlopen(source, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 - http and https alone come here
            content: bytes = answer.read(MAX_BYTES)
            return content
    return Path(source).read_bytes()
