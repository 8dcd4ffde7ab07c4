"""JSON Pointer (RFC 6901): finds a value in a decoded document. Never raises over what a document holds."""

import re
from collections.abc import Sequence
from typing import Any

Pointer = tuple[str, ...]
"""The reference tokens, unescaped; () is the whole document."""
_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def parse_pointer(text: str) -> Pointer:
    """Read a pointer such as `/messages/0/id`; raises ValueError (section 3)."""
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError("is no JSON pointer (RFC 6901): it must begin with /")
    if _BAD_ESCAPE.search(text):
        raise ValueError("is no JSON pointer (RFC 6901): ~ is written ~0, and / within a name ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def find_value(document: Any, pointer: Pointer) -> Any:
    """Return what a pointer leads to, or None where there is nothing (section 4)."""
    value = document
    for token in pointer:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value


def find_word(document: Any, pointer: Pointer) -> str | None:
    """Return a string, a number or a boolean as it is written in JSON; None for anything else, and for nothing."""
    value = find_value(document, pointer)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value if isinstance(value, str) else None


def find_words(document: Any, pointers: Sequence[Pointer]) -> list[str]:
    """Return the words that pointers lead to, in their order, without those that lead to none."""
    return [word for pointer in pointers if (word := find_word(document, pointer)) is not None]
