"""Turns what happened to messages into charges: one for each message that was sent, at the rate of its acceptance.

Owns what is charged and how usage and outcomes move with a message's status. A message is billed on `sent`: one that
no carrier took has no `sent_at`, costs nothing and is no usage, but an outcome. Events may come in any order and more
than once: a charge is made by the first that says the message was sent, and never again; its status is that of the
greatest sequence. Works on a batch at a time, with no query for a single message.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple, cast
from uuid import UUID

import msgspec

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.events import billing_account_updated, message_rated
from ghasi.billing.model import (
    DEFAULT_CURRENCY,
    Charge,
    OutcomeSums,
    Refusal,
    Sums,
    TallyKey,
    UsageQuarter,
)
from ghasi.billing.periods import month_of, quarter_start
from ghasi.billing.rates import queries as rate_queries
from ghasi.billing.usage import charge_queries
from ghasi.contract.pricing import Question, Rate, RateBook, pricing_country, sender_kind
from ghasi.storage import outbox
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Connection

Usage = dict[UsageQuarter, Sums]
Outcomes = dict[tuple[UUID, datetime], OutcomeSums]
"""By account and quarter of an hour."""
Move = tuple[UUID, str, int]
"""A message's id, and the status and sequence that its charge moves to."""
_NOTHING, _NO_OUTCOME = Sums(), OutcomeSums()
_REDACTED_EVENT = "message.redacted"
_FAILED = frozenset({"failed", "undelivered", "expired"})
_REFUSED = frozenset({"failed", "expired"})
"""How a message ends that was not sent, unless its sender canceled it; nothing happens to it any more."""


class MessageState(msgspec.Struct, frozen=True):
    """What billing reads of a message resource; the rest is skipped unread."""

    direction: str
    to: str
    sender: str | None = msgspec.field(name="from")
    country: str | None
    segments: int
    status: str
    created_at: datetime
    sent_at: datetime | None
    completed_at: datetime | None


class Sent(NamedTuple):
    """The newest known state of a message that was sent."""

    event: Event
    state: MessageState

    @property
    def sent_at(self) -> datetime:
        """When it was sent, which makes it one of these."""
        return cast("datetime", self.state.sent_at)


_decode = msgspec.json.Decoder(MessageState).decode


class Rater:
    """Rates messages, with the rates in memory; only what is new of them is read."""

    def __init__(self) -> None:
        """Begin without rates."""
        self._book = RateBook()
        self._position = 0

    async def apply(self, connection: Connection, events: Sequence[Event]) -> None:
        """Charge messages that were sent, move usage and outcomes, within the caller's transaction.

        Idempotent, in any order of the events.
        """
        added, self._position = await rate_queries.list_rates(connection, after=self._position)
        self._book.add(added)
        await apply(connection, events, self._book)


async def apply(connection: Connection, events: Sequence[Event], book: RateBook) -> None:
    """Charge messages that were sent by the rates of a book, and move usage and outcomes."""
    newest, refused = read_events(events)
    usage: Usage = defaultdict(Sums)
    if newest:
        charged = await charge_queries.list_charges(connection, list(newest))
        if moved := move_usage(charged, newest, usage):
            await charge_queries.move_charges(connection, moved)
        if len(charged) < len(newest):
            fresh = [sent for message_id, sent in newest.items() if message_id not in charged]
            await _charge(connection, fresh, usage, book)
    differences = {quarter: sums for quarter, sums in usage.items() if sums != _NOTHING}
    if differences:
        await charge_queries.add_usage(connection, differences)
    if refused:
        added = await charge_queries.insert_refusals(connection, list(refused.values()))
        refused = {message_id: refused[message_id] for message_id in added}
    if outcomes := add_up(differences, refused.values()):
        await charge_queries.add_outcomes(connection, outcomes)


def read_events(events: Sequence[Event]) -> tuple[dict[UUID, Sent], dict[UUID, Refusal]]:
    """Return the newest state of each outbound message that was sent, and those that no carrier took, by message id.

    Events from before sending say nothing about a charge, whenever they arrive.
    """
    newest: dict[UUID, Sent] = {}
    refused: dict[UUID, Refusal] = {}
    for event in events:
        if event.type == _REDACTED_EVENT:  # of a message that has ended, and may have been forgotten here
            continue
        state = _decode(event.data)
        if state.direction != "outbound":
            continue
        if state.sent_at is None:
            if state.status in _REFUSED:
                at = quarter_start(state.completed_at or event.at)
                refused[event.subject_id] = Refusal(
                    event.subject_id, event.account_id, at, pricing_country(state.country)
                )
            continue
        known = newest.get(event.subject_id)
        if known is None or event.sequence > known.event.sequence:
            newest[event.subject_id] = Sent(event, state)
    return newest, refused


def move_usage(charged: Mapping[UUID, Charge], newest: Mapping[UUID, Sent], usage: Usage) -> list[Move]:
    """Return the charges that a greater sequence moves, and move their usage from one status to the other."""
    moved: list[Move] = []
    for message_id, charge in charged.items():
        sent = newest[message_id]
        sequence, status = sent.event.sequence, sent.state.status
        if sequence <= charge.sequence:
            continue
        moved.append((message_id, status, sequence))
        if status != charge.status:
            at = quarter_start(charge.sent_at)
            segments, amount_micros = charge.segments, charge.amount_micros
            usage[UsageQuarter(charge.account_id, at, charge.country, charge.status)].add(-1, -segments, -amount_micros)
            usage[UsageQuarter(charge.account_id, at, charge.country, status)].add(1, segments, amount_micros)
    return moved


def add_up(usage: Mapping[UsageQuarter, Sums], refused: Iterable[Refusal]) -> Outcomes:
    """Return how outcomes move with differences of usage and with messages that no carrier took."""
    outcomes: Outcomes = defaultdict(OutcomeSums)
    for (account_id, at, _, status), sums in usage.items():
        outcome = outcomes[account_id, at]
        outcome.messages += sums.messages
        outcome.segments += sums.segments
        outcome.amount_micros += sums.amount_micros
        if status == "delivered":
            outcome.delivered += sums.messages
        elif status in _FAILED:
            outcome.failed += sums.messages
    for refusal in refused:
        outcome = outcomes[refusal.account_id, refusal.at]
        outcome.messages += 1
        outcome.failed += 1
    return {quarter: sums for quarter, sums in outcomes.items() if sums != _NO_OUTCOME}


async def _charge(connection: Connection, fresh: Sequence[Sent], usage: Usage, book: RateBook) -> None:
    now = datetime.now(UTC)
    currencies, fixed = await _fix_currencies(connection, {sent.event.account_id for sent in fresh})
    kinds: list[tuple[Sent, Rate, TallyKey]] = []
    tallies: dict[TallyKey, Sums] = defaultdict(Sums)
    for sent in fresh:
        account_id, state, segments = sent.event.account_id, sent.state, sent.state.segments
        country = pricing_country(state.country)
        question = Question(
            currency=currencies[account_id], direction="outbound", account_id=account_id, plan=None, country=country,
            number=state.to.removeprefix("+"), sender_kind=sender_kind(state.sender), carrier_class=None,
        )  # fmt: skip
        rate = cast("Rate", book.find(question, state.created_at))  # every currency has a default
        at = quarter_start(sent.sent_at)
        key = TallyKey(
            account_id, month_of(at), "outbound", country, rate.key.currency, "usage", rate.id, rate.amount_micros
        )
        amount_micros = segments * rate.amount_micros
        tallies[key].add(1, segments, amount_micros)
        usage[UsageQuarter(account_id, at, country, sent.state.status)].add(1, segments, amount_micros)
        kinds.append((sent, rate, key))
    tally_ids = await charge_queries.add_tallies(connection, sorted(tallies.items(), key=itemgetter(0)))
    charges = [_make_charge(sent, rate, key.country, tally_ids[key]) for sent, rate, key in kinds]
    await charge_queries.insert_charges(connection, charges)
    events = [billing_account_updated(account_id, DEFAULT_CURRENCY, now) for account_id in fixed]
    events += [message_rated(charge, now) for charge in charges]
    await outbox.append(connection, "billing", events)


def _make_charge(sent: Sent, rate: Rate, country: str, tally_id: UUID) -> Charge:
    event, state = sent
    return Charge(
        message_id=event.subject_id,
        account_id=event.account_id,
        sent_at=sent.sent_at,
        country=country,
        segments=state.segments,
        unit_micros=rate.amount_micros,
        amount_micros=state.segments * rate.amount_micros,
        currency=rate.key.currency,
        rate_id=rate.id,
        tally_id=tally_id,
        status=state.status,
        sequence=event.sequence,
    )


async def _fix_currencies(connection: Connection, accounts: set[UUID]) -> tuple[dict[UUID, str], list[UUID]]:
    """Return the accounts' currencies, and the accounts that have theirs, the default one, from now on."""
    known = await account_queries.list_currencies(connection, accounts)
    fixed: list[UUID] = []
    if missing := accounts - known.keys():
        # an operator may be choosing one this moment: whoever is first fixes it, so ask again
        fixed = await account_queries.insert_accounts(connection, missing, DEFAULT_CURRENCY)
        known |= await account_queries.list_currencies(connection, missing)
    return known, fixed
