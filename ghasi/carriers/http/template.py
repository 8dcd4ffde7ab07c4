"""The small language of templates: `{to}`, `{text}` and the like inside the strings of a table.

Owns the placeholders and how they are filled in. A template is a table whose strings are filled one by one, so that
what is filled in never becomes structure; the result is encoded as JSON or as a form by who sends it.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

PLACEHOLDERS = frozenset(
    {"to", "from", "text", "id", "part", "parts", "segments", "encoding", "validity_s"}
)  # fmt: skip
NUMBERS = frozenset({"part", "parts", "segments", "validity_s"})
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER_SUFFIX = ":number"
_ENVIRONMENT = "env:"

Values = Mapping[str, str | int | None]
Fill = Callable[[Values], Any]
LEFT_OUT = object()
"""What a template gives that is a placeholder alone and has no value: its key is left out."""


class MissingVariableError(ValueError):
    """An environment variable that a configuration names is not set; the message names it."""


def compile_template(source: Any, allowed: frozenset[str] = PLACEHOLDERS) -> Fill:
    """Turn a table, list or string into a function that fills it in.

    `{name}` is the value as a string, `{name:number}` alone in its string as a number, `{env:NAME}` an environment
    variable, which is read now; `{{` and `}}` are braces. A string that is wholly `env:NAME` is that variable too.
    Raises ValueError for what is no template, MissingVariableError for a variable that is not set.
    """
    return _compile(source, allowed, read_variable)


def check_template(source: Any, allowed: frozenset[str] = PLACEHOLDERS) -> None:
    """Raise ValueError for what is no template; environment variables need not be set."""
    _compile(source, allowed, lambda _: "")


def read_secret(source: str) -> str:
    """Return a secret that is in the file, or in the variable that `env:NAME` names; raises MissingVariableError."""
    return read_variable(source.removeprefix(_ENVIRONMENT)) if source.startswith(_ENVIRONMENT) else source


def read_variable(name: str) -> str:
    """Return an environment variable; raises MissingVariableError where it is not set or empty."""
    value = os.environ.get(name)
    if not value:
        raise MissingVariableError(f"the environment variable {name} is not set")
    return value


def _compile(source: Any, allowed: frozenset[str], read: Callable[[str], str]) -> Fill:
    if isinstance(source, str):
        return _compile_string(source, allowed, read)
    if isinstance(source, dict):
        fields = [(name, _compile(value, allowed, read)) for name, value in source.items()]
        return lambda values: {
            name: filled for name, fill in fields if (filled := fill(values)) is not LEFT_OUT
        }  # fmt: skip
    if isinstance(source, list):
        items = [_compile(item, allowed, read) for item in source]
        return lambda values: [filled for fill in items if (filled := fill(values)) is not LEFT_OUT]
    if source is None or isinstance(source, bool | int | float):
        return lambda _: source
    raise ValueError("dates and times are written as strings")


def _compile_string(source: str, allowed: frozenset[str], read: Callable[[str], str]) -> Fill:
    if source.startswith(_ENVIRONMENT) and _VARIABLE.fullmatch(source.removeprefix(_ENVIRONMENT)):
        variable = read(source.removeprefix(_ENVIRONMENT))
        return lambda _: variable
    pieces = _split(source, allowed, read)
    if len(pieces) == 1 and not pieces[0][1]:
        return _alone(pieces[0][0])
    if any(is_literal is False and name.endswith(_NUMBER_SUFFIX) for name, is_literal in pieces):
        raise ValueError("a placeholder with :number stands alone in its string")
    if all(is_literal for _, is_literal in pieces):
        literal = "".join(text for text, _ in pieces)
        return lambda _: literal
    return lambda values: "".join(text if is_literal else _written(values[text]) for text, is_literal in pieces)


def _alone(name: str) -> Fill:
    plain = name.removesuffix(_NUMBER_SUFFIX)
    if plain == name:
        return lambda values: LEFT_OUT if values[name] is None else str(values[name])
    if plain not in NUMBERS:
        raise ValueError(f"{{{plain}}} is no number")
    return lambda values: LEFT_OUT if values[plain] is None else values[plain]


def _written(value: str | int | None) -> str:
    return "" if value is None else str(value)


def _split(source: str, allowed: frozenset[str], read: Callable[[str], str]) -> list[tuple[str, bool]]:
    """Return the pieces of a string, each with whether it is literal text or a placeholder's name."""
    pieces: list[tuple[str, bool]] = []
    end = 0
    for token in _TOKEN.finditer(source):
        if token.start() > end:
            pieces.append((source[end : token.start()], True))
        end = token.end()
        name = token[1]
        if token[0] in ("{{", "}}"):
            pieces.append((token[0][0], True))
        elif name is None:
            raise ValueError("a brace without its pair; a brace as such is written {{ or }}")
        elif name.startswith(_ENVIRONMENT) and _VARIABLE.fullmatch(name.removeprefix(_ENVIRONMENT)):
            pieces.append((read(name.removeprefix(_ENVIRONMENT)), True))
        elif name.removesuffix(_NUMBER_SUFFIX) not in allowed:
            known = ", ".join(f"{{{one}}}" for one in sorted(allowed))
            raise ValueError(f"{{{name[:40]}}} is no placeholder; known are {known} and {{env:NAME}}")
        else:
            pieces.append((name, False))
    if end < len(source):
        pieces.append((source[end:], True))
    return pieces
