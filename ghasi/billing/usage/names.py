"""Which senders, API keys and references usage is kept by: the first so many of each account and UTC month.

Owns the bound. References may be another for each message: those beyond the bound are in the sum of all alone, so that
what is kept of a month, and what a question about it reads, does not grow with its messages.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.usage import charge_queries
from ghasi.storage.pool import Connection

MOST_NAMED = 1000
_MOST_REMEMBERED = 100_000


class Name(NamedTuple):
    """A value of a dimension in an account's month."""

    account_id: UUID
    month: date
    dimension: str
    value: str


class Names:
    """What is named; remembers it, since a name stays."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._named: set[Name] = set()
        self._full: set[tuple[UUID, date, str]] = set()

    async def choose(self, connection: Connection, asked: Mapping[UUID, list[Name]]) -> Mapping[UUID, list[Name]]:
        """Return the values without those that are not named; while there is room those that come first are."""
        known = self._named
        unknown = dict.fromkeys(name for names in asked.values() for name in names if name not in known)  # in order
        chosen = asked
        if unknown:
            fresh = await self._name(connection, list(unknown))
            if not unknown.keys() <= fresh:
                left = {name for name in unknown if name not in fresh and name not in known}
                chosen = {key: [name for name in names if name not in left] for key, names in asked.items()}
        if len(self._named) + len(self._full) > _MOST_REMEMBERED:
            self._named.clear()
            self._full.clear()
        return chosen

    async def _name(self, connection: Connection, unknown: list[Name]) -> set[Name]:
        """Look values up and name those there is room for; what this transaction names is not remembered yet."""
        known = {Name._make(row) for row in await charge_queries.list_names(connection, unknown)}
        self._named |= known
        left = [name for name in unknown if name not in known and name[:3] not in self._full]
        if not left:
            return set()
        places: dict[tuple[UUID, date, str], int] = defaultdict(int)
        places.update(await charge_queries.count_names(connection, {name[:3] for name in left}))
        self._full |= {place for place, count in places.items() if count >= MOST_NAMED}
        fresh: set[Name] = set()
        for name in left:
            if places[name[:3]] < MOST_NAMED:
                places[name[:3]] += 1
                fresh.add(name)
        if fresh:
            await charge_queries.insert_names(connection, fresh)
        return fresh
