"""The configuration as YAML that people read: comments, flowing lists, Lua in blocks, one order.

Owns the text, and nothing of what it says. Kong reads it with libyaml; no anchors, for Kong writes into what it reads.
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_WIDTH = 120
_FLOWING = frozenset({"tags", "methods", "headers", "http_statuses"})
"""Lists that stay on one line; others are short ones."""


class _FlowingList(list[Any]):
    """A list on one line."""


class _FlowingDict(dict[str, Any]):
    """A plugin's configuration on one line."""


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, knows no aliases, and writes several lines as a block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else "'" if text.startswith(("~", "^")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    _FlowingList, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)
_Dumper.add_representer(
    _FlowingDict, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


def write(sections: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Return a YAML document of sections, each a comment and its keys; a list's items stand apart."""
    return "\n".join(comment(text) + _section(keys) for text, keys in sections)


def comment(text: str) -> str:
    """Return a text as comment lines."""
    lines = "\n".join(textwrap.fill(line, _WIDTH - 2) for line in text.splitlines())
    return "".join(f"# {line}".rstrip() + "\n" for line in lines.splitlines())


def _section(keys: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for key, value in keys.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            parts.append(f"{key}:\n" + "\n".join(textwrap.indent(_dump([item]), "  ") for item in value))
        else:
            parts.append(_dump({key: value}))
    return "".join(parts)


def _dump(value: Any) -> str:
    text = yaml.dump(_arranged(value), Dumper=_Dumper, sort_keys=False, width=_WIDTH * 4, allow_unicode=True)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _arranged(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        arranged = {key: _arranged(item, key) for key, item in value.items()}
        return _FlowingDict(arranged) if name == "config" and _fits(value) else arranged
    if isinstance(value, list):
        scalars = not any(isinstance(item, dict | list) for item in value)
        flowing = scalars and _fits(value) and (name in _FLOWING or len(value) <= 1)
        return _FlowingList(value) if flowing else [_arranged(item) for item in value]
    return value


def _fits(value: Any) -> bool:
    written = repr(value)
    return "\\n" not in written and len(written) <= _WIDTH


def lua_string(text: str) -> str:
    """Return a text as a Lua string."""
    written = "".join(
        f"\\{byte:03d}" if byte < ord(" ") or byte > ord("~") or chr(byte) in '"\\' else chr(byte)
        for byte in text.encode()
    )
    return f'"{written}"'
