"""The contract as a table for the terminal.

Owns the columns. Knows no fact that is not in the contract's table.
"""

from rich import box
from rich.console import Console
from rich.table import Table

from ghasi.contract.emit.openapi import DEFAULTS, limit_per_minute
from ghasi.contract.extensions import EXTENSIONS
from ghasi.contract.row import Auth, LimitGroup, Row
from ghasi.contract.table import CONTRACT
from ghasi.settings import Settings

LONGEST_PATH = 32


def show(console: Console, settings: Settings | None = None) -> None:
    """Print every route with its upstream, auth, limit a minute and time-out; in 100 columns nothing is folded."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("Method", min_width=len("DELETE"))
    for heading in ("Path", "Upstream", "Auth", "Limit/min"):
        table.add_column(heading, overflow="fold")
    table.add_column("Time", min_width=len("10 s"), justify="right")
    for row in CONTRACT:
        table.add_row(*_cells(row, settings or DEFAULTS))
    table.add_section()
    for row in EXTENSIONS:
        table.add_row(*_cells(row, settings or DEFAULTS))
    console.print(table)
    console.print(_LEGEND, markup=False, highlight=False)


def describe_limit(row: Row, settings: Settings) -> str:
    """Write a row's limit: `60 per account`."""
    if row.limit is None:
        return "none"
    return f"{limit_per_minute(row.limit, settings)} per {_per(row.limit)}"


def describe_auth(row: Row) -> str:
    """Write what a caller must present: `bearer [messages:send]`, `bearer` (JWT only), `refresh cookie`, `none`."""
    return f"{row.auth.value} [{row.scope}]" if row.auth is Auth.BEARER and row.scope else row.auth.value


def _per(group: LimitGroup) -> str:
    return "IP" if group.per == "ip" else group.per


def _broken(path: str) -> str:
    """Break a long path before a slash, so that the table fits into 100 columns."""
    if len(path) <= LONGEST_PATH:
        return path
    at = path.rindex("/", 0, LONGEST_PATH)
    return f"{path[:at]}\n {path[at:]}"


def _cells(row: Row, settings: Settings) -> tuple[str, ...]:
    return (
        row.method,
        _broken(row.path) + (" +" if row.extension else ""),
        "\n".join(upstream.value for upstream in row.upstreams),
        "user" if row.auth is Auth.BEARER and row.scope is None else row.scope or row.auth.value,
        f"{limit_per_minute(row.limit, settings)}/{_per(row.limit)}" if row.limit else "none",
        f"{row.timeout_s:g} s",
    )


_LEGEND = (
    f"{len(CONTRACT)} routes of the contract and {len(EXTENSIONS)} extensions (+). Time: the time-out.\n"
    "Auth: a scope is for a user's JWT, or an API key that has it; user is for a JWT only.\n"
    "Of two upstreams the second answers when the first refuses. A group of limits has one window."
)
