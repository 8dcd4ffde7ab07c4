"""How operator commands print: a table or a line for people, JSON with --json."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from ghasi.contract.values import rfc3339

Row = Mapping[str, Any]
MOST_ROWS = 10_000
RowLimit = Annotated[int, Parameter(help="How many at most", validator=validators.Number(gte=1, lte=MOST_ROWS))]


def console() -> Console:
    """Return where tables go: piped on, lines must not break at some width."""
    return Console(width=None if sys.stdout.isatty() else 400)


def print_rows(rows: Sequence[Row], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print many things: a table of `columns`, or a JSON list of all that is known of them."""
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_text(row[column]) for column in columns))
    console().print(table if rows else "none", markup=False, highlight=False)


def print_row(row: Row, *, as_json: bool) -> None:
    """Print one thing: a line for each of its fields, or a JSON object."""
    if as_json:
        _print_json(dict(row))
        return
    width = max(len(name) for name in row)
    sys.stdout.writelines(f"{name.replace('_', ' '):{width}}  {_text(value)}\n" for name, value in row.items())


def print_line(text: str, row: Row, *, as_json: bool) -> None:
    """Print what was done: a sentence, or a JSON object."""
    if as_json:
        _print_json(dict(row))
    else:
        sys.stdout.write(text + "\n")


def count(number: int, noun: str) -> str:
    """Return `1 invoice`, `2 invoices`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_plain, indent=2) + "\n")


def _plain(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(item)}" for name, item in value.items()) or "-"
    return str(value)
