"""`ghasi contract diff`: which documents, what it prints, and what its exit status says."""

import sys
from collections import Counter
from typing import Annotated, Any

from cyclopts import Parameter

from ghasi.commands.failures import FAILED, USAGE
from ghasi.commands.output import print_rows
from ghasi.contract.comparing import DocumentUnreadable, Level, compare, read_document

CURRENT = "current"
SHOWN_ROUTES = 2
Document = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        help="An OpenAPI document: a file, a URL, `-`, or `current`, which this Ghasi has",
    ),
]


def diff(
    old: Document,
    new: Document = CURRENT,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON", negative="")] = False,
    strict: Annotated[bool, Parameter(help="Exit with 1 for risky changes too", negative="")] = False,
) -> int:
    """Say what a client of an old version of the contract would notice of a new one; breaking changes first.

    Exits with 1 when something breaks, with 2 when a document can't be read.
    """
    try:
        changes = compare(read_document(old), read_document(new))
    except DocumentUnreadable as error:
        sys.stderr.write(f"ghasi: {error}\n")
        return USAGE
    rows: list[dict[str, Any]] = [
        {
            "level": one.level.value, "change": one.kind, "what": one.place, "old": one.old, "new": one.new,
            "routes": one.routes if json else _some(one.routes),
        }
        for one in changes
    ]  # fmt: skip
    print_rows(rows, as_json=json, columns=("level", "change", "what", "old", "new", "routes"))
    found = Counter(one.level for one in changes)
    if not json:
        sys.stdout.write("\n" + ", ".join(f"{found[level]} {level.value}" for level in Level) + "\n")
    return FAILED if found[Level.BREAKING] or (strict and found[Level.RISKY]) else 0


def _some(routes: tuple[str, ...]) -> str:
    """Write the first routes, and how many more there are."""
    more = f" and {len(routes) - SHOWN_ROUTES} more" if len(routes) > SHOWN_ROUTES else ""
    return ", ".join(routes[:SHOWN_ROUTES]) + more
