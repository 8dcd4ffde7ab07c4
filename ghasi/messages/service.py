"""sms-orchestrator's acceptance and message-store's reading: the rules of a send, and its only transaction.

Owns what is accepted and what is refused. A message that was accepted is committed, with its event and its place in
the dispatch queue, before anybody is told. Submitting it is dispatch's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from uuid import UUID

import msgspec
from prometheus_client import Counter

from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import Message, MessageDetail, MessageQuery, NewMessage, Page
from ghasi.contract.values import decode_id_cursor, first_id, new_id, page_of
from ghasi.messages import queries
from ghasi.messages.model import Draft, detail, new_resource, resource
from ghasi.messages.numbers import parse_recipient, parse_sender
from ghasi.messages.segmentation import count_segments
from ghasi.storage.batch import Batcher
from ghasi.storage.bells import Bells
from ghasi.storage.outbox import Event, latest_of
from ghasi.storage.pool import Connection, Pool

MOST_SEGMENTS = 10
SEND_ROUTE = "POST /v1/messages"
ACCOUNT_CACHE_S = 0.4
_MOST_CACHED_ACCOUNTS = 10_000
_accepted = Counter("ghasi_messages_accepted_total", "Messages accepted")


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What an account may send; the default is everything."""

    status: str = "active"
    countries: frozenset[str] | None = None
    daily_cap: int | None = None


_UNRESTRICTED = AccountRules()


@dataclass(slots=True)
class Sending:
    """What sending needs: the database, the group commit, and accounts' rules of the last 0.4 s."""

    pool: Pool
    bells: Bells
    batcher: Batcher[Draft, bytes] = field(init=False)
    accounts: dict[UUID, tuple[float, AccountRules]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self._write)

    async def _write(self, drafts: Sequence[Draft], again: bool) -> Sequence[bytes | BaseException]:
        results = await write_drafts(self.pool, drafts, again=again)
        self.bells.ring("dispatch")
        _accepted.inc(sum(isinstance(result, bytes) for result in results))
        return results


async def send(
    sending: Sending, caller: Caller, body: NewMessage, idempotency_key: str | None, now: float
) -> tuple[bytes, bool]:
    """Accept a message; once it is committed return its resource as JSON, and whether that is a replay.

    Idempotent by `idempotency_key` for 24 h. `now` is the event loop's clock. Raises Problem: invalid_number,
    invalid_sender, body_too_long, invalid_request, account_suspended, country_not_allowed, daily_cap_reached,
    idempotency_key_reused.
    """
    if body.send_at is not None:
        raise invalid("send_at", "messages cannot be scheduled yet")
    recipient = parse_recipient(body.to)
    sender = parse_sender(body.sender)
    encoding, segments = count_segments(body.body)
    if segments > MOST_SEGMENTS:
        raise invalid("body", length_refusal(segments), "body_too_long")
    rules = await rules_of(sending, caller.account_id, now)
    if rules.status != "active":
        raise Problem("account_suspended")
    if rules.countries is not None and recipient.country not in rules.countries:
        raise Problem("country_not_allowed", country_refusal(recipient.country))
    draft = Draft(
        id=new_id(), account_id=caller.account_id, user_id=caller.user_id, credential=caller.credential,
        recipient=recipient.number, sender=sender, body=body.body, encoding=encoding, segments=segments,
        country=recipient.country, reference=body.reference, validity_s=body.validity_s,
        daily_cap=rules.daily_cap, idempotency_key=idempotency_key,
        body_hash=hashlib.sha256(msgspec.json.encode(body)).digest() if idempotency_key else b"",
    )  # fmt: skip
    draft.response = new_resource(draft)
    response = await sending.batcher.submit(draft)
    return response, response is not draft.response


def length_refusal(segments: int) -> str:
    """Say why a text is too long."""
    return f"needs {segments} segments, at most {MOST_SEGMENTS} are sent"


def country_refusal(country: str | None) -> str:
    """Say why a number may not be sent to."""
    return f"the account may not send to {country or 'this number'}"


def cap_refusal(daily_cap: int) -> str:
    """Say why nothing more may be sent today."""
    return f"the account may send {daily_cap} messages a day"


async def rules_of(sending: Sending, account_id: UUID, now: float) -> AccountRules:
    """Return what an account may send, as of 0.4 s ago at most; `now` is the event loop's clock."""
    cached = sending.accounts.get(account_id)
    if cached is not None:
        if cached[0] > now:
            return cached[1]
        # one asks; the others go on with what they have for the moment that takes
        sending.accounts[account_id] = (now + ACCOUNT_CACHE_S, cached[1])
    row = await queries.find_account(sending.pool, account_id)
    rules = _UNRESTRICTED
    if row is not None:
        countries = None if row["countries"] is None else frozenset(row["countries"])
        rules = AccountRules(row["status"], countries, row["daily_cap"])
    if len(sending.accounts) >= _MOST_CACHED_ACCOUNTS:
        sending.accounts.clear()
    sending.accounts[account_id] = (now + ACCOUNT_CACHE_S, rules)
    return rules


async def write_drafts(pool: Pool, drafts: Sequence[Draft], *, again: bool) -> Sequence[bytes | BaseException]:
    """Commit a batch of drafts and return the response or the Problem of each.

    `again`: an earlier try may have been committed; what is there already counts as done.
    """
    written = await queries.find_written(pool, [draft.id for draft in drafts]) if again else set()
    results: dict[UUID, bytes | BaseException] = {draft.id: draft.response for draft in drafts}
    fresh = [draft for draft in drafts if draft.id not in written]
    if not any(draft.idempotency_key is not None or draft.daily_cap is not None for draft in fresh):
        if fresh:
            await queries.insert_messages(pool, fresh, [new_id() for _ in fresh])
        return [results[draft.id] for draft in drafts]
    firsts: dict[tuple[UUID, str], Draft] = {}
    for draft in fresh:
        if draft.idempotency_key is not None:
            firsts.setdefault((draft.account_id, draft.idempotency_key), draft)
    async with pool.acquire() as connection, connection.transaction():
        known = await _known_keys(connection, firsts)
        new = [draft for draft in fresh if _is_first(draft, firsts) and _key(draft) not in known]
        new = await _within_caps(connection, new, results)
        if new:
            await queries.insert_messages(connection, new, [new_id() for _ in new])
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


async def _within_caps(
    connection: Connection, drafts: Sequence[Draft], results: dict[UUID, bytes | BaseException]
) -> list[Draft]:
    """Refuse what is beyond an account's daily cap; return what is within."""
    caps = {draft.account_id: draft.daily_cap for draft in drafts if draft.daily_cap is not None}
    if not caps:
        return list(drafts)
    counts = {account_id: sum(draft.account_id == account_id for draft in drafts) for account_id in caps}
    day = datetime.now(UTC).date()
    granted = await queries.count_towards_cap(connection, counts, caps, day, first_id_of(day))
    fresh, refused_keys = [], []
    for draft in drafts:
        if draft.daily_cap is None:
            fresh.append(draft)
        elif granted[draft.account_id] > 0:
            granted[draft.account_id] -= 1
            fresh.append(draft)
        else:
            results[draft.id] = Problem("daily_cap_reached", cap_refusal(draft.daily_cap))
            if draft.idempotency_key is not None:
                refused_keys.append((draft.account_id, draft.idempotency_key))
    if refused_keys:
        await queries.drop_idempotency_keys(connection, refused_keys, SEND_ROUTE)
    return fresh


def first_id_of(day: date) -> UUID:
    """Return the least id of a UTC day."""
    return first_id(datetime.combine(day, time(), UTC))


async def list_messages(pool: Pool, caller: Caller, query: MessageQuery) -> Page[Message]:
    """Return a page of the account's messages, newest first; raises Problem invalid_cursor."""
    rows = await queries.list_messages(pool, caller.account_id, query, decode_id_cursor(query.cursor), query.limit + 1)
    return page_of(rows, query.limit, resource, lambda row: (row.id,))


async def get_message(pool: Pool, caller: Caller, message_id: UUID) -> MessageDetail:
    """Return one of the account's messages; raises Problem not_found."""
    row = await queries.find_message(pool, caller.account_id, message_id)
    if row is None:
        raise Problem("not_found")
    return detail(row)


class _AccountState(msgspec.Struct):
    """The data of account.updated, as far as sending needs it."""

    status: str
    countries: list[str] | None = None
    daily_cap: int | None = None


async def take_accounts(connection: Connection, events: Sequence[Event]) -> None:
    """Apply auth-service's account.updated events: each has the whole state, so the latest one counts."""
    rows: list[tuple[UUID, str, str | None, int | None, int]] = []
    for event in latest_of(events, "account.updated"):
        state = msgspec.json.decode(event.data, type=_AccountState)
        countries = None if state.countries is None else "{" + ",".join(state.countries) + "}"
        rows.append((event.subject_id, state.status, countries, state.daily_cap, event.sequence))
    if rows:
        await queries.upsert_accounts(connection, rows)
