"""The transaction in which messages are accepted, many at a time.

Owns what only the database can say, and in which order it is asked: the sender that a recipient knows, whether the
request was made before, who opted out, and what is left of the day's cap. A replay wins over all that came later.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from uuid import UUID

from ghasi.contract.errors import Problem
from ghasi.contract.values import first_id, new_id
from ghasi.messages.model import Draft, new_resource
from ghasi.messages.numbers import Recipient
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders.opt_outs import find_opted_out
from ghasi.messages.senders.senders import resolve_sender
from ghasi.messages.sending import queries
from ghasi.messages.sending.accounts import cap_refusal
from ghasi.storage.pool import Connection, Pool

SEND_ROUTE = "POST /v1/messages"


async def write_drafts(pool: Pool, drafts: Sequence[Draft], *, again: bool) -> Sequence[bytes | BaseException]:
    """Commit a batch of drafts and return the response or the Problem of each.

    `again`: an earlier try may have been committed; what is there already counts as done.
    """
    written = await queries.find_written(pool, [draft.id for draft in drafts]) if again else set()
    fresh = [draft for draft in drafts if draft.id not in written]
    if all(draft.is_plain for draft in fresh):
        if fresh:
            await queries.insert_messages(pool, fresh, [new_id() for _ in fresh])
        return [draft.response for draft in drafts]
    firsts: dict[tuple[UUID, str], Draft] = {}
    for draft in fresh:
        if draft.idempotency_key is not None:
            firsts.setdefault((draft.account_id, draft.idempotency_key), draft)
    async with pool.acquire() as connection, connection.transaction():
        await choose_senders(connection, fresh)
        known = await _known_keys(connection, firsts)
        new = [draft for draft in fresh if _is_first(draft, firsts) and _key(draft) not in known]
        refused = await list_refused(connection, new)
        free = [_key(draft) for draft in new if draft.id in refused and draft.idempotency_key is not None]
        if free:
            await queries.drop_idempotency_keys(connection, free, SEND_ROUTE)
        await insert(connection, [draft for draft in new if draft.id not in refused])
    results: dict[UUID, bytes | BaseException] = {draft.id: draft.response for draft in drafts}
    results.update(refused)
    for draft in fresh:
        if draft.idempotency_key is None or (_is_first(draft, firsts) and _key(draft) not in known):
            continue
        first = firsts[_key(draft)]
        body_hash, outcome = known.get(_key(draft)) or (first.body_hash, results[first.id])
        results[draft.id] = outcome if body_hash == draft.body_hash else Problem("idempotency_key_reused")
    return [results[draft.id] for draft in drafts]


def _key(draft: Draft) -> tuple[UUID, str]:
    return (draft.account_id, draft.idempotency_key or "")


def _is_first(draft: Draft, firsts: dict[tuple[UUID, str], Draft]) -> bool:
    """Whether a draft has no key, or is the first of its batch with it."""
    return draft.idempotency_key is None or firsts[_key(draft)] is draft


async def _known_keys(
    connection: Connection, firsts: dict[tuple[UUID, str], Draft]
) -> dict[tuple[UUID, str], tuple[bytes, bytes]]:
    """Claim the keys; return the hash and the response of those that were used before."""
    if not firsts:
        return {}
    in_order = [firsts[key] for key in sorted(firsts)]  # two processes lock keys in one order: no deadlock
    taken = await queries.take_idempotency_keys(connection, in_order, SEND_ROUTE)
    used = [key for key in firsts if key not in taken]
    return await queries.list_idempotent_responses(connection, used, SEND_ROUTE) if used else {}


async def choose_senders(connection: Connection, drafts: Sequence[Draft]) -> None:
    """Give each message that is to come from a pool the sender that its recipient knows, or one of the pool."""
    pooled = [draft for draft in drafts if draft.pool_rules is not None]
    if not pooled:
        return
    sticky = await sender_queries.list_sticky(connection, {(draft.account_id, draft.recipient) for draft in pooled})
    for draft in pooled:
        if draft.pool_rules is not None:
            recipient = Recipient(draft.recipient, draft.country)
            known = sticky.get((draft.account_id, draft.recipient))
            draft.sender = resolve_sender(draft.pool_rules, None, recipient, known)
            draft.response = new_resource(draft)


async def list_refused(connection: Connection, drafts: Sequence[Draft]) -> dict[UUID, Problem]:
    """Return the Problem of each draft that may not be accepted; of a capped account the first ones are within.

    Locks the capped accounts' counters and counts what is within.
    """
    refused: dict[UUID, Problem] = {}
    asked = [draft for draft in drafts if draft.has_opt_outs]
    if asked:
        keys = {draft.id: (draft.account_id, draft.sender, draft.recipient) for draft in asked}
        opted_out = await find_opted_out(connection, list(keys.values()))
        refused = {
            draft.id: Problem("recipient_opted_out", opt_out_refusal(draft.recipient))
            for draft in asked if keys[draft.id] in opted_out
        }  # fmt: skip
    capped = [draft for draft in drafts if draft.daily_cap is not None and draft.id not in refused]
    if capped:
        refused |= await _beyond_caps(connection, capped)
    return refused


def opt_out_refusal(recipient: str) -> str:
    """Say why somebody is not written to."""
    return f"{recipient} asked for no more messages"


async def _beyond_caps(connection: Connection, drafts: Sequence[Draft]) -> dict[UUID, Problem]:
    """Count drafts towards their accounts' daily caps; return the Problem of each that is beyond."""
    caps = {draft.account_id: draft.daily_cap for draft in drafts if draft.daily_cap is not None}
    counts = Counter(draft.account_id for draft in drafts)
    day = datetime.now(UTC).date()
    granted = await queries.count_towards_cap(connection, counts, caps, day, first_id_of(day))
    refused: dict[UUID, Problem] = {}
    for draft in drafts:
        if granted[draft.account_id] > 0:
            granted[draft.account_id] -= 1
        else:
            refused[draft.id] = Problem("daily_cap_reached", cap_refusal(caps[draft.account_id]))
    return refused


def first_id_of(day: date) -> UUID:
    """Return the least id of a UTC day."""
    return first_id(datetime.combine(day, time(), UTC))


async def insert(connection: Connection, drafts: Sequence[Draft]) -> None:
    """Write messages, and which senders of pools their recipients know from now on."""
    if not drafts:
        return
    await queries.insert_messages(connection, drafts, [new_id() for _ in drafts])
    sticky = [
        (draft.account_id, draft.recipient, draft.sender)
        for draft in drafts if draft.pool_rules is not None and draft.sender is not None
    ]  # fmt: skip
    if sticky:
        await sender_queries.insert_sticky(connection, sticky)
