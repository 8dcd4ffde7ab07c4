"""`ghasi admin storage`: the months of messages, and taking an old one out of the database."""

from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import App, Parameter

from ghasi.commands.operator import Operator, OperatorFlags, do
from ghasi.commands.output import print_line, print_rows
from ghasi.contract.errors import Problem
from ghasi.messages.keeping import partitions
from ghasi.messages.keeping.partitions import Detached, Partition

storage = App(name="storage")

HERE = Operator()
Before = Annotated[str | None, Parameter(help="All months before this one, which stays")]
Drop = Annotated[bool, Parameter(help="Delete the month's table too", negative="")]
_UNITS = ("B", "KB", "MB", "GB", "TB")
_KILO = 1024


@storage.command(name="partitions")
def list_partitions(*, operator: OperatorFlags = HERE) -> None:
    """List the months of messages, newest first, with an estimate of their rows; `other` is empty as a rule."""
    found = do(operator, "messages", lambda it: partitions.list_partitions(it.pool))
    rows = [asdict(one) if operator.json else _row(one) for one in found]
    print_rows(rows, as_json=operator.json, columns=("month", "rows", "size", "attached", "table"))


def _row(one: Partition) -> dict[str, Any]:
    return {
        "month": one.month or "other",
        "rows": None if one.rows < 0 else f"{one.rows:,}",
        "size": _size(one.size_bytes),
        "attached": one.attached,
        "table": f"messages.{one.table}",
    }


def _size(size_bytes: float) -> str:
    for unit in _UNITS[:-1]:
        if size_bytes < _KILO:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= _KILO
    return f"{size_bytes:.1f} {_UNITS[-1]}"


@storage.command(name="detach")
def detach(
    month: str | None = None, *, before: Before = None, drop: Drop = False, operator: OperatorFlags = HERE
) -> None:
    """Take a month (2026-05), or all before one, out of what Ghasi reads; the tables stay, to be saved or dropped."""
    variable = "GHASI_MESSAGES_DATABASE_URL" if operator.settings().messages_database_url else "GHASI_DATABASE_URL"
    if month is not None and before is None:
        done = do(operator, "messages", lambda it: partitions.detach(it.pool, month, drop=drop, actor=operator.actor))
        print_line(_told(done, variable), _known(done, variable), as_json=operator.json)
    elif before is not None and month is None:
        old = do(
            operator, "messages",
            lambda it: partitions.detach_before(it.pool, before, drop=drop, actor=operator.actor),
        )  # fmt: skip
        told = "\n".join(_told(one, variable) for one in old) or f"There are no months before {before} to be detached."
        print_line(told, {"detached": [_known(one, variable) for one in old]}, as_json=operator.json)
    else:
        raise Problem("invalid_request", "Name a month, or one by --before that all older ones are before.")


def _known(done: Detached, variable: str) -> dict[str, Any]:
    return asdict(done) | {"next": _next(done, variable)}


def _told(done: Detached, variable: str) -> str:
    return "\n".join((_said(done), *_next(done, variable)))


def _said(done: Detached) -> str:
    if done.dropped:
        return f"{done.month} is gone"
    return (
        f"{done.month} is detached: messages.{done.table} is a table by itself now. Save it, drop it, or put it back:"
    )


def _next(done: Detached, variable: str) -> list[str]:
    """Return what may be done with the table, each as a line to be run; `variable` holds the database's URL."""
    if done.dropped:
        return []
    name = f"messages.{done.table}"
    bounds = f"FOR VALUES FROM ('{done.first}') TO ('{done.beyond}')"
    attach = f"ALTER TABLE messages.messages ATTACH PARTITION {name} {bounds}"
    return [
        f'  pg_dump "${variable}" --format=custom --table={name} --file={done.table}.dump',
        f"  ghasi admin storage detach {done.month} --drop",
        f"  {attach};",
    ]
