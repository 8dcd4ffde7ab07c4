"""The SQL of lists of deliveries and of attempts: pages that cost the same however long a log is.

A delivery is in webhooks.pending or in webhooks.deliveries; an attempt has a row in webhooks.attempts, or is the one
that ended its delivery and is in that row. All have keys that begin with endpoint and event, so that a list is a walk
down two indexes, merged. What no index follows is looked for among the next MOST_LOOKED_AT rows and no further: where
fewer are found the page is short, though it may not be the last, and says where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from ghasi.storage.pool import Connection, Pool, Record
from ghasi.webhooks.history.log_queries import JOINED, OVER, PENDING, SHOWN
from ghasi.webhooks.model import Logged, LoggedAttempt

Row = TypeVar("Row")
MOST_LOOKED_AT = 2000
"""A few milliseconds' work."""
MOST_LOOKED_AT_OF_ALL = 500
"""Where all of an account's endpoints are looked at, of which each may have so many."""
LAST_NUMBER = 2**31 - 1
"""Later than any attempt's: where an event's own delivery stands among its attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a log: `most` rows of events from `oldest` on and before `until`.

    `statuses` are the least and the greatest that an answer may have; `unanswered` are attempts that had none.
    """

    most: int
    oldest: UUID
    until: UUID | None = None
    event_type: str | None = None
    message_id: UUID | None = None
    statuses: tuple[int, int] | None = None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """Rows, newest first; `after`: where to go on behind those looked at, None where there is nothing further."""

    rows: Sequence[Row]
    after: tuple[UUID, UUID | int] | None


@dataclass(slots=True)
class _Conditions:
    """Conditions of a statement, and the values that they number."""

    values: list[object]
    all: list[str] = field(default_factory=list)

    def add(self, condition: str, *values: object) -> None:
        """Add a condition, `{}` standing for each of its values."""
        places = range(len(self.values) + 1, len(self.values) + len(values) + 1)
        self.values += values
        self.all.append(condition.format(*(f"${place}" for place in places)))

    def further(self) -> "_Conditions":
        """Return none yet, of a statement that has these values too."""
        return _Conditions(list(self.values))

    def __str__(self) -> str:
        return " AND ".join(self.all) or "true"


async def list_deliveries(
    pool: Pool,
    account_id: UUID,
    endpoint_id: UUID | None,
    asked: Asked,
    *,
    before: tuple[UUID, UUID] | None,
    state: str | None,
) -> Found[Logged]:
    """Return an account's deliveries to one endpoint or all, by (event, endpoint) the newest first, before one."""
    where = _Conditions([account_id, endpoint_id])
    _add_events(where, asked)
    if before is not None:
        where.add("event_id <= {} AND (event_id < {} OR endpoint_id < {})", before[0], *before)
    let_pass = where.further()
    if state in ("succeeded", "canceled"):  # pending ones have a table, and failed ones an index of their own
        let_pass.add(f"found.state = '{state}'")
    _add_filters(let_pass, asked, "coalesce(last.status_code, found.status_code)", "last.number IS NOT NULL")
    window = asked.most
    if let_pass.all:
        window = MOST_LOOKED_AT if endpoint_id is not None else MOST_LOOKED_AT_OF_ALL
    looked_at = _walk_deliveries(where, state, window)
    statement = f"""
        {SHOWN} FROM ({looked_at}) AS found {JOINED}
        WHERE {let_pass} ORDER BY found.event_id DESC, found.endpoint_id DESC LIMIT {asked.most}
    """
    last = f"SELECT event_id, endpoint_id FROM ({looked_at}) AS found OFFSET {window - 1}"
    ends = (last, where.values) if let_pass.all else None
    rows, after = await _find(pool, (statement, let_pass.values), ends, asked.most)
    return Found([Logged(*row) for row in rows], after)


def _walk_deliveries(where: _Conditions, state: str | None, window: int) -> str:
    """Write what finds the next deliveries of each endpoint, and of them the next of all."""
    ordered = f"ORDER BY event_id DESC LIMIT {window}"
    branches = []
    if state in (None, "pending"):
        branches.append(f"({PENDING} WHERE endpoint_id = own.id AND {where} {ordered})")
    if state != "pending":
        failed = "AND state = 'exhausted'" if state == "exhausted" else ""
        branches.append(f"({OVER} WHERE endpoint_id = own.id AND {where} {failed} {ordered})")
    return f"""
        SELECT of_own.* FROM webhooks.endpoints AS own CROSS JOIN LATERAL ({" UNION ALL ".join(branches)}) AS of_own
        WHERE own.account_id = $1 AND own.deleted_at IS NULL AND ($2::uuid IS NULL OR own.id = $2)
        ORDER BY event_id DESC, endpoint_id DESC LIMIT {window}
    """


async def list_attempts(
    pool: Pool,
    account_id: UUID,
    endpoint_id: UUID,
    asked: Asked,
    *,
    before: tuple[UUID, int] | None,
    succeeded: bool | None,
) -> Found[LoggedAttempt]:
    """Return attempts to deliver to an account's endpoint, by (event, number) the newest first, before one."""
    own = "endpoint_id = (SELECT id FROM webhooks.endpoints WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL)"
    where = _Conditions([account_id, endpoint_id], [own])
    _add_events(where, asked)
    looked_at = _walk_attempts(where, before, ended=succeeded is not False)
    let_pass = where.further()
    let_pass.add("(tried.number IS NOT NULL OR ended.state = 'succeeded')")
    if succeeded is not None:
        let_pass.add("tried.error IS NULL" if succeeded else "tried.error IS NOT NULL")
    _add_filters(let_pass, asked, "coalesce(tried.status_code, ended.status_code)")
    # the number of the one that ended a delivery as in deliveries.get_delivery
    statement = f"""
        SELECT
            coalesce(tried.number, greatest(ended.attempts, last.number + 1)) AS number,
            coalesce(tried.at, ended.completed_at - ended.duration_ms * interval '1 millisecond') AS at,
            coalesce(tried.duration_ms, ended.duration_ms), coalesce(tried.status_code, ended.status_code),
            coalesce(tried.response, ended.response), tried.error, found.event_id, events.type, events.message_id
        FROM ({looked_at}) AS found
            JOIN webhooks.events ON events.id = found.event_id
            LEFT JOIN webhooks.attempts AS tried
                ON tried.endpoint_id = $2 AND tried.event_id = found.event_id AND tried.number = found.number
            LEFT JOIN webhooks.deliveries AS ended
                ON found.number = {LAST_NUMBER} AND ended.endpoint_id = $2 AND ended.event_id = found.event_id
            LEFT JOIN LATERAL (
                SELECT max(number) AS number FROM webhooks.attempts
                WHERE endpoint_id = $2 AND event_id = found.event_id
            ) AS last ON tried.number IS NULL
        WHERE {let_pass} ORDER BY found.event_id DESC, found.number DESC LIMIT {asked.most}
    """
    last = f"SELECT event_id, number FROM ({looked_at}) AS found OFFSET {MOST_LOOKED_AT - 1}"
    rows, after = await _find(pool, (statement, let_pass.values), (last, where.values), asked.most)
    return Found([LoggedAttempt(*row) for row in rows], after)


def _walk_attempts(where: _Conditions, before: tuple[UUID, int] | None, *, ended: bool) -> str:
    """Write what finds the keys of the next attempts, and of the deliveries that one of them may have ended."""
    ordered = f"ORDER BY event_id DESC, number DESC LIMIT {MOST_LOOKED_AT}"
    kinds = [("number", "webhooks.attempts")]
    if ended:
        kinds.append((f"{LAST_NUMBER}", "webhooks.deliveries"))
    if before is not None:
        where.add("event_id <= {} AND (event_id < {} OR {{number}} < {}::integer)", before[0], *before)
    branches = [
        f"(SELECT event_id, {number} AS number FROM {table} WHERE {str(where).format(number=number)} {ordered})"
        for number, table in kinds
    ]
    return f"SELECT * FROM ({' UNION ALL '.join(branches)}) AS walked {ordered}"


def _add_events(where: _Conditions, asked: Asked) -> None:
    """Add what the index of a log can follow."""
    where.add("event_id >= {}", asked.oldest)
    if asked.until is not None:
        where.add("event_id < {}", asked.until)
    if asked.message_id is not None:
        events = "SELECT id FROM webhooks.events WHERE account_id = $1 AND message_id = {}"
        where.add(f"event_id = ANY(ARRAY({events}))", asked.message_id)


def _add_filters(let_pass: _Conditions, asked: Asked, status: str, attempted: str = "true") -> None:
    """Add what is asked of each row looked at."""
    if asked.event_type is not None:
        let_pass.add("events.type = {}", asked.event_type)
    if asked.statuses is not None:
        let_pass.add(f"{status} BETWEEN {{}} AND {{}}", *asked.statuses)
    if asked.unanswered:
        let_pass.add(f"{attempted} AND {status} IS NULL")


Statement = tuple[str, list[object]]


async def _find(
    pool: Pool, statement: Statement, last: Statement | None, most: int
) -> tuple[list[Record], tuple[UUID, Any] | None]:
    """Return the rows of a statement, and, where they are fewer than asked for, what was the last that it looked at."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await _fetch(connection, *statement)
        ends = [] if last is None or len(rows) == most else await _fetch(connection, *last)
    return rows, (ends[0][0], ends[0][1]) if ends else None


async def _fetch(connection: Connection, statement: str, values: list[object]) -> list[Record]:
    """Run a statement planned for these very values.

    A plan for any values, which a kept statement gets after a while, guesses that few events lie between two times:
    it sorts a large log to find fifty.
    """
    prepared = await connection.prepare(statement)
    return list(await prepared.fetch(*values))
