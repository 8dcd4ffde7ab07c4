"""sms-orchestrator's acceptance: the rules of a send.

Owns what is accepted and what is refused. A message that was accepted is committed, with its event and its place in
the dispatch queue or the schedule, before anybody is told. Submitting it is dispatch's.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from prometheus_client import Counter

from ghasi.carriers.segmentation import count_segments
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import NewMessage
from ghasi.contract.values import new_id
from ghasi.messages.model import Draft, new_resource
from ghasi.messages.numbers import Recipient, parse_recipient, parse_sender
from ghasi.messages.senders.senders import NO_SENDERS, resolve_sender, sticky_needed
from ghasi.messages.sending import queries
from ghasi.messages.sending.accepting import SEND_ROUTE, write_drafts
from ghasi.messages.sending.accounts import AccountRules, Accounts, country_refusal
from ghasi.messages.sending.look_alikes import make_gsm7
from ghasi.messages.sending.prices import Prices
from ghasi.messages.sending.scheduling import check_send_at
from ghasi.storage.batch import Batcher
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool

MOST_SEGMENTS = 10
GATHER_S = 0.003
accepted_messages = Counter("ghasi_messages_accepted_total", "Messages accepted, now or for later")


@dataclass(slots=True)
class Sending:
    """What sending needs: the database, the group commit, what accounts may send, and what it costs."""

    pool: Pool
    writing: Pool
    """What messages are accepted by; its statements are planned ALONG_INDEXES."""
    bells: Bells
    batcher: Batcher[Draft, bytes] = field(init=False)
    accounts: Accounts = field(init=False)
    prices: Prices = field(init=False)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self._write, name="sends", gather_s=GATHER_S, alone_at_once=True)
        self.accounts = Accounts(self.pool)
        self.prices = Prices(self.pool)

    async def _write(self, drafts: Sequence[Draft], again: bool) -> Sequence[bytes | BaseException]:
        results = await write_drafts(self.writing, drafts, again=again)
        self.bells.ring("dispatch")
        accepted_messages.inc(sum(isinstance(result, bytes) for result in results))
        return results


async def send(
    sending: Sending, caller: Caller, body: NewMessage, idempotency_key: str | None, now: float
) -> tuple[bytes, bool]:
    """Accept a message; once it is committed return its resource as JSON, and whether that is a replay.

    Idempotent by `idempotency_key` for 24 h: what was accepted once is replayed, whatever was forbidden since. `now` is
    the event loop's clock. Raises Problem: invalid_number, invalid_sender, body_too_long, account_suspended,
    insufficient_balance, spending_limit_reached, invalid_send_at, country_not_allowed, sender_not_allowed,
    recipient_opted_out, daily_cap_reached, idempotency_key_reused.
    """
    draft = compose(caller, body)
    if idempotency_key is not None:
        draft.idempotency_key = idempotency_key
        draft.body_hash = hashlib.sha256(msgspec.json.encode(body)).digest()
    rules = await sending.accounts.rules_of(caller.account_id, now)
    taken: Collection[str] = ()
    if draft.sender is not None:
        taken = await sending.accounts.list_taken(caller.account_id, rules, (draft.sender,), now)
    try:
        permit(draft, rules, taken)
    except Problem:
        replay = await _find_replay(sending.pool, draft)
        if replay is None:
            raise
        return replay, True
    response = await sending.batcher.submit(draft)
    return response, response is not draft.response


async def _find_replay(pool: Pool, draft: Draft) -> bytes | None:
    """Return what the same request was answered when it was accepted."""
    if draft.idempotency_key is None:
        return None
    key = (draft.account_id, draft.idempotency_key)
    body_hash, response = (await queries.list_idempotent_responses(pool, [key], SEND_ROUTE)).get(key, (b"", b""))
    return response if body_hash == draft.body_hash else None


def compose(caller: Caller, body: NewMessage) -> Draft:
    """Make a draft of what was asked for, by the rules that hold for everybody.

    Raises Problem: invalid_number, invalid_sender, body_too_long.
    """
    recipient = parse_recipient(body.to)
    sender = parse_sender(body.sender)
    text = make_gsm7(body.body) if body.smart_encoding else body.body
    encoding, segments = count_segments(text)
    if segments > MOST_SEGMENTS:
        raise invalid("body", length_refusal(segments), "body_too_long")
    return Draft(
        id=new_id(), account_id=caller.account_id, user_id=caller.user_id, credential=caller.credential,
        recipient=recipient.number, sender=sender, body=text, encoding=encoding, segments=segments,
        country=recipient.country, reference=body.reference, validity_s=body.validity_s, send_at=body.send_at,
    )  # fmt: skip


def permit(draft: Draft, rules: AccountRules, taken: Collection[str] = ()) -> None:
    """Complete a draft by what its account may send at this moment; `taken` are senders that are another account's.

    Who opted out and what is left of a cap is found out in the transaction. Raises Problem: account_suspended,
    insufficient_balance, spending_limit_reached, invalid_send_at, country_not_allowed, sender_not_allowed.
    """
    if rules.status != "active":
        raise Problem("account_suspended")
    if rules.held_back is not None:
        raise Problem(rules.held_back)
    if draft.send_at is not None:
        check_send_at(draft.send_at, datetime.now(UTC))
    if rules.countries is not None and draft.country not in rules.countries:
        raise Problem("country_not_allowed", country_refusal(draft.country))
    senders = rules.senders
    if senders is not NO_SENDERS or taken:
        if sticky_needed(senders, draft.sender, draft.country):
            draft.pool_rules = senders
        else:
            recipient = Recipient(draft.recipient, draft.country)
            draft.sender = resolve_sender(senders, draft.sender, recipient, None, taken)
        draft.has_opt_outs = senders.has_opt_outs
    draft.daily_cap = rules.daily_cap
    draft.response = new_resource(draft)


def length_refusal(segments: int) -> str:
    """Say why a text is too long."""
    return f"needs {segments} segments, at most {MOST_SEGMENTS} are sent"
