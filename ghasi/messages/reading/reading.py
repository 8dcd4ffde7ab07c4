"""message-store's reading: an account's messages, and each with the statuses it has passed.

Owns paging and what is not found. Changes nothing.
"""

from uuid import UUID

import msgspec

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import Message, MessageDetail, MessageQuery, Page
from ghasi.contract.values import decode_id_cursor, encode_cursor, page_of
from ghasi.messages.model import detail, shown
from ghasi.messages.reading.detail_queries import MessageFinder
from ghasi.messages.reading.list_queries import find_messages
from ghasi.storage.pool import Pool


async def list_messages(pool: Pool, caller: Caller, query: MessageQuery) -> Page[Message]:
    """Return a page of the account's messages, newest first; raises Problem invalid_cursor.

    A page may hold fewer than `limit`, or none, and still have a next one: see list_queries.
    """
    before = decode_id_cursor(query.cursor)
    found = await find_messages(pool, caller.account_id, query, before, most=query.limit + 1)
    page = page_of(found.rows, query.limit, shown, lambda row: (row["id"],))
    if page.next_cursor is None and found.after is not None:
        return msgspec.structs.replace(page, next_cursor=encode_cursor(str(found.after)))
    return page


async def get_message(finder: MessageFinder, caller: Caller, message_id: UUID) -> MessageDetail:
    """Return one of the account's messages; raises Problem not_found."""
    message = await finder.find(caller.account_id, message_id)
    if message is None:
        raise Problem("not_found")
    return detail(message)
