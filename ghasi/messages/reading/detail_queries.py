"""The SQL of single messages: those that are asked for while a statement runs are looked up together by the next one.

Alone a message is had at once; of many, each costs a fifth of what a statement of its own would.
"""

from collections.abc import Sequence
from uuid import UUID

from ghasi.messages.model import COLUMNS, Stored, stored
from ghasi.storage.batch import Batcher
from ghasi.storage.pool import Pool

TOGETHER, AT_ONCE = 16, 4
"""Messages a statement, few enough that none waits long for its neighbours' pages; and statements at a time."""
_Key = tuple[UUID, UUID]


class MessageFinder:
    """Finds messages by account and id. The pool's statements are planned ALONG_INDEXES."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._batchers = [Batcher(self._find_all, name="details", most=TOGETHER, attempts=1) for _ in range(AT_ONCE)]

    async def find(self, account_id: UUID, message_id: UUID) -> Stored | None:
        """Return an account's message."""
        batcher = next((one for one in self._batchers if len(one) < TOGETHER), self._batchers[-1])
        return await batcher.submit((account_id, message_id))

    async def _find_all(self, keys: Sequence[_Key], _again: bool) -> Sequence[Stored | None]:
        rows = await self._pool.fetch(
            f"""
            SELECT message.* FROM unnest($1::uuid[], $2::uuid[]) AS wanted (account_id, id)
            CROSS JOIN LATERAL (
                SELECT {COLUMNS} FROM messages.messages AS message
                WHERE message.id = wanted.id AND message.account_id = wanted.account_id
            ) AS message
            """,
            [account_id for account_id, _ in keys],
            [message_id for _, message_id in keys],
        )
        found = {(row["account_id"], row["id"]): row for row in rows}
        return [None if (row := found.get(key)) is None else stored(row) for key in keys]
