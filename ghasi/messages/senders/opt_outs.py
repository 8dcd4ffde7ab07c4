"""Who wants no more messages: the list that customers see and edit, and that every send is held against.

Owns what an opt-out covers: one sender, the whole pool where the sender is of the pool, or the account. Keywords that
people send are read by `inbound`.
"""

from uuid import UUID

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import NewOptOut, OptOut, OptOutQuery, Page
from ghasi.contract.values import decode_id_cursor, id_time, new_id, page_of, rfc3339
from ghasi.messages.numbers import number_filter, parse_recipient, parse_sender
from ghasi.messages.senders import opt_out_queries
from ghasi.messages.senders.opt_out_queries import StoredOptOut, find_opted_out
from ghasi.messages.senders.senders import actor_of
from ghasi.storage import audit
from ghasi.storage.pool import Pool

__all__ = ["create_opt_out", "delete_opt_out", "find_opted_out", "list_opt_outs"]
EVERY_SENDER = ""


def shown(opt_out: StoredOptOut) -> OptOut:
    """Return an opt-out as the API shows it."""
    return OptOut(
        id=str(opt_out.id), to=opt_out.recipient, sender=opt_out.sender or None, source=opt_out.source,
        created_at=rfc3339(id_time(opt_out.id)),
    )  # fmt: skip


async def list_opt_outs(pool: Pool, caller: Caller, query: OptOutQuery) -> Page[OptOut]:
    """Return a page of the account's opt-outs, newest first; raises Problem invalid_cursor."""
    rows = await opt_out_queries.list_opt_outs(
        pool,
        caller.account_id,
        recipient=None if query.to is None else number_filter(query.to),
        sender=None if query.sender is None else number_filter(query.sender),
        before=decode_id_cursor(query.cursor),
        most=query.limit + 1,
    )
    return page_of(rows, query.limit, shown, lambda row: (row.id,))


async def create_opt_out(pool: Pool, caller: Caller, body: NewOptOut, *, request_id: str | None = None) -> OptOut:
    """Send someone nothing any more; idempotent: one that is there already is returned as it is.

    Raises Problem invalid_number, invalid_sender.
    """
    recipient, sender = parse_recipient(body.to), parse_sender(body.sender)
    opt_out = StoredOptOut(new_id(), caller.account_id, recipient.number, sender or EVERY_SENDER, "api")
    while True:
        async with pool.acquire() as connection, connection.transaction():
            if await opt_out_queries.insert_opt_outs(connection, [opt_out]):
                await audit.record(
                    connection, actor=actor_of(caller), action="opt_out.created", subject=str(opt_out.id),
                    account_id=caller.account_id, request_id=request_id, to=opt_out.recipient, sender=sender,
                )  # fmt: skip
                return shown(opt_out)
            known = await opt_out_queries.find_opt_out(connection, caller.account_id, opt_out.recipient, opt_out.sender)
            if known is not None:  # else it was taken back in between
                return shown(known)


async def delete_opt_out(pool: Pool, caller: Caller, opt_out_id: UUID, *, request_id: str | None = None) -> None:
    """Let someone be written to again; raises Problem not_found."""
    async with pool.acquire() as connection, connection.transaction():
        gone = await opt_out_queries.delete_opt_out(connection, caller.account_id, opt_out_id)
        if gone is None:
            raise Problem("not_found")
        await audit.record(
            connection, actor=actor_of(caller), action="opt_out.deleted", subject=str(opt_out_id),
            account_id=caller.account_id, request_id=request_id, to=gone.recipient, sender=gone.sender or None,
            source=gone.source,
        )  # fmt: skip
