"""How operator commands print: a table or a line for people, JSON with --json."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ghasi.contract.values import rfc3339

Row = Mapping[str, Any]
MOST_ROWS = 10_000
GAP = 2
"""Between the columns of a table."""
RowLimit = Annotated[int, Parameter(help="How many at most", validator=validators.Number(gte=1, lte=MOST_ROWS))]


def console() -> Console:
    """Return where tables go: piped on, lines must not break at some width."""
    return Console(width=None if sys.stdout.isatty() else 400)


def print_rows(rows: Sequence[Row], *, as_json: bool, columns: Sequence[str]) -> None:
    """Print many things: a table of `columns`, or a JSON list of all that is known of them.

    A terminal that is too narrow for a table whose numbers and ids are whole gets a block of lines for each row.
    """
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    out = console()
    names = [column.replace("_", " ") for column in columns]
    texts = [[_text(row[column]) for column in columns] for row in rows]
    widths = _fit([(name, *cells) for name, *cells in zip(names, *texts, strict=True)], out.width)
    if rows and widths is None:
        for number, row in enumerate(texts):
            sys.stdout.write("\n" if number else "")
            print_row(dict(zip(columns, row, strict=True)), as_json=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, width in zip(names, widths or [], strict=False):
        table.add_column(name, overflow="fold", width=width)
    for row in texts:
        table.add_row(*row)
    out.print(table if rows else "none", markup=False, highlight=False)


def _fit(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return widths at which columns stand beside each other without a word that is broken; None where there are none.

    What lacks is taken from those that have most to give.
    """
    least = [max(cell_len(word) for cell in cells for word in cell.split() or [""]) for cells in columns]
    widths = [max(map(cell_len, cells)) for cells in columns]
    room -= GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        spare = [width - needed for width, needed in zip(widths, least, strict=True)]
        widths[spare.index(max(spare))] -= 1
    return widths


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
