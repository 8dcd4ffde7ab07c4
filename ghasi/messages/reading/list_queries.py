"""The SQL of lists of messages: pages by filter that cost the same however many messages an account has.

Owns which filter leads. One filter's column never changes and has an index in the order of the list: that one is
followed. What the others let pass is looked for among the next MOST_LOOKED_AT messages and no further: where fewer are
found the page is short, though it may not be the last, and says where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ghasi.contract.shapes import MessageExportQuery, MessageQuery
from ghasi.contract.values import first_id, first_id_after
from ghasi.messages.model import SHOWN
from ghasi.messages.numbers import number_filter
from ghasi.storage.pool import Pool, Record

MOST_LOOKED_AT = 2000
"""A few milliseconds' work; with it a page has the same price in an account of five thousand and of five million."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of messages (SHOWN), newest first; `after`: the id below which to go on, None where there is no more."""

    rows: Sequence[Record]
    after: UUID | None


async def find_messages(
    pool: Pool,
    account_id: UUID,
    query: MessageQuery | MessageExportQuery,
    before: UUID | None,
    *,
    most: int,
    most_looked_at: int = MOST_LOOKED_AT,
) -> Found:
    """Return up to `most` of an account's messages, newest first, by the query's filters, before an id.

    The pool's statements are planned ALONG_INDEXES.
    """
    values: list[object] = [account_id]
    conditions = ["account_id = $1", *_within(query, before, values)]
    lead, *rest = _filters(query)
    conditions.append(_condition(lead, values))
    leading = list(values)
    looked_at = f"FROM messages.messages WHERE {' AND '.join(conditions)} ORDER BY id DESC"
    if not rest:
        rows = await pool.fetch(f"SELECT {SHOWN} {looked_at} LIMIT {_parameter(most, values)}", *values)
    else:
        let_pass = " AND ".join(_condition(one, values) for one in rest)
        rows = await pool.fetch(
            f"""
            SELECT {SHOWN} FROM (SELECT {SHOWN} {looked_at} LIMIT {_parameter(most_looked_at, values)}) AS looked_at
            WHERE {let_pass} ORDER BY id DESC LIMIT {_parameter(most, values)}
            """,
            *values,
        )
    if len(rows) == most:
        return Found(rows, rows[-1]["id"])
    if not rest:
        return Found(rows, None)
    beyond = _parameter(most_looked_at - 1, leading)
    return Found(rows, await pool.fetchval(f"SELECT id {looked_at} OFFSET {beyond} LIMIT 1", *leading))


def _parameter(value: object, values: list[object]) -> str:
    """Add a value and return how the statement names it."""
    values.append(value)
    return f"${len(values)}"


def _condition(one: tuple[str, object] | str, values: list[object]) -> str:
    """Write a filter as a condition, and add its value."""
    if isinstance(one, str):
        return one
    return f"{one[0]} = {_parameter(one[1], values)}"


def _within(query: MessageQuery | MessageExportQuery, before: UUID | None, values: list[object]) -> list[str]:
    """Return the conditions on ids, and add their values."""
    conditions = []
    for operator, bound in (
        ("<", before),
        ("<", None if query.created_before is None else first_id(query.created_before)),
        (">=", None if query.created_after is None else first_id_after(query.created_after)),
    ):
        if bound is not None:
            conditions.append(f"id {operator} {_parameter(bound, values)}")
    return conditions


def _filters(query: MessageQuery | MessageExportQuery) -> list[tuple[str, object] | str]:
    """Return the filters (column and value, or a condition), first the one that is followed, or none."""
    filters: list[tuple[str, object] | str] = []
    if query.to is not None:
        filters.append(("recipient", number_filter(query.to)))
    if query.reference is not None:
        filters.append(("reference", query.reference))
    if query.sender is not None:
        filters.append(("sender", number_filter(query.sender)))
    if query.direction == "inbound":
        filters.append("direction = 'inbound'")
    if not filters:
        filters.append("true")
    if query.direction == "outbound":
        filters.append("direction = 'outbound'")
    if query.status is not None:
        filters.append(("status", query.status))
    return filters
