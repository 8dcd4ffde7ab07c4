"""Turns what happened to messages into charges, each once, and tells the ledger what they come to.

Owns what is charged, when and in which order. What a message is billed on is its plan's: its acceptance, its sending
(as without a plan) or its delivery; inbound ones are charged on arrival where a rate is for them. Events may come in
any order and more than once: a charge is made by the first that says the message is to be counted, and never again;
its status is that of the greatest sequence. Works on a batch at a time, with no query for a single message.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing.accounts import queries as account_queries
from ghasi.billing.events import billing_account_updated, messages_rated
from ghasi.billing.ledger import spending
from ghasi.billing.model import DEFAULT_CURRENCY
from ghasi.billing.periods import month_of, quarter_start
from ghasi.billing.plans.book import PlanBook
from ghasi.billing.plans.model import Plan
from ghasi.billing.rates import queries as rate_queries
from ghasi.billing.usage import charge_queries
from ghasi.billing.usage.changes import Batch, Changes, Due, compare, sort_messages
from ghasi.billing.usage.charging import Rated, Written, write_charges
from ghasi.billing.usage.movement import Movement, add_up, names_of
from ghasi.billing.usage.names import Names
from ghasi.billing.usage.states import Seen, read_events
from ghasi.contract.pricing import Question, Rate, RateBook, pricing_country, sender_kind
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection, Pool

MOST_AT_ONCE = 2000
"""Rates that are read in one go."""


class Rater:
    """Handles batches of messages' events; keeps rates, plans and names in memory, and reads what is new of them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._book, self._plans, self._names = RateBook(), PlanBook(), Names()
        self._rates: dict[UUID, Rate] = {}
        self._position = 0

    async def apply(self, connection: Connection, events: Sequence[Event]) -> None:
        """Charge messages, move usage and outcomes, and tell the ledger, within the caller's transaction.

        Idempotent, in any order of the events.
        """
        await self.learn(connection)
        now = datetime.now(UTC)
        batch = sort_messages(read_events(events), self._plans)
        asked = [*batch.due, *batch.charged_early]
        known = await charge_queries.list_charges(connection, asked) if asked else {}
        changes = compare(known, batch)
        fresh = await _without_refused(connection, [due for key, due in batch.due.items() if key not in known])
        rated, told = await self._find_rates(connection, fresh, now)
        written = await write_charges(connection, rated, changes, self._plans, self._rates)
        await self._move_usage(connection, batch, changes, written)
        told += messages_rated(written.made, (*written.billed, *written.given_back), now)
        await outbox.append(connection, "billing", told)
        await self._tell_ledger(connection, batch, changes, written, now)

    async def learn(self, connection: Connection | Pool) -> None:
        """Read what is new of rates and plans; every batch does, but the first has less to read where this was before.

        There may be hundreds of thousands of rates: the event loop waits for some of them at a time.
        """
        while True:
            added, position = await rate_queries.list_rates(connection, after=self._position, most=MOST_AT_ONCE)
            self._book.add(added)
            self._rates.update((rate.id, rate) for rate in added)
            self._position = position
            if len(added) < MOST_AT_ONCE:
                break
        await self._plans.learn(connection)

    async def _find_rates(
        self, connection: Connection, fresh: Sequence[Due], now: datetime
    ) -> tuple[list[Rated], list[Event]]:
        """Return messages with their rates, without those that no rate is for; and events of currencies fixed by it."""
        if not fresh:
            return [], []
        accounts = {due.seen.event.account_id for due in fresh}
        currencies = await account_queries.list_currencies(connection, accounts)
        rated = self._rate(fresh, currencies)
        fixed: list[UUID] = []
        if missing := {one.due.seen.event.account_id for one in rated} - currencies.keys():
            fixed = await account_queries.insert_accounts(connection, missing, DEFAULT_CURRENCY)
            if len(fixed) < len(missing):  # an operator was choosing one this moment, and was first
                rated = self._rate(fresh, await account_queries.list_currencies(connection, accounts))
        return rated, [billing_account_updated(account_id, DEFAULT_CURRENCY, now) for account_id in fixed]

    def _rate(self, fresh: Sequence[Due], currencies: Mapping[UUID, str]) -> list[Rated]:
        rated: list[Rated] = []
        for due in fresh:
            account_id, month = due.seen.event.account_id, month_of(quarter_start(due.at))
            currency, plan = currencies.get(account_id, DEFAULT_CURRENCY), self._plans.find(account_id, month)
            private = due.seen.private
            rate = self._find_rate(due.seen, private.carrier_class, currency, plan)
            if rate is not None:
                rated.append(Rated(due, private, month, rate, currency, plan))
        return rated

    def _find_rate(self, seen: Seen, carrier_class: str | None, currency: str, plan: Plan | None) -> Rate | None:
        """Return the rate that held when a message was accepted; `plan` is that of the month in which it is charged."""
        state, account_id = seen.state, seen.event.account_id
        question = Question(
            currency=currency, direction="inbound" if seen.is_inbound else "outbound", account_id=account_id,
            plan=plan.name if plan else None, country=pricing_country(state.country), number=seen.other_end,
            sender_kind=sender_kind(seen.own_end), carrier_class=carrier_class,
        )  # fmt: skip
        return self._book.find(question, state.created_at)

    async def _move_usage(self, connection: Connection, batch: Batch, changes: Changes, written: Written) -> None:
        """Move usage and outcomes by what became of charges, and keep the messages that ended unsent."""
        counted = (*written.made, *written.billed, *written.given_back)
        movement = Movement(
            await self._names.choose(connection, {charge.message_id: names_of(charge) for charge in counted})
        )
        movement.take(changes, written)
        quarters, groups = movement.quarters, movement.groups
        if quarters:
            await charge_queries.add_usage(connection, quarters)
        if groups:
            await charge_queries.add_groups(connection, groups)
        refusals = batch.refusals
        if refusals:
            added = await charge_queries.insert_refusals(connection, refusals)
            refusals = [refusal for refusal in refusals if refusal.message_id in added]
        if outcomes := add_up(quarters, refusals):
            await charge_queries.add_outcomes(connection, outcomes)

    async def _tell_ledger(
        self, connection: Connection, batch: Batch, changes: Changes, written: Written, now: datetime
    ) -> None:
        """Tell what each month came to, which messages are to be held, at what they will cost, and which no more."""
        waiting = [*batch.waiting, *batch.on_delivery]
        held = await spending.list_held(connection, {seen.event.account_id for seen in waiting}, now)
        holds = await self._estimate(connection, [one for one in waiting if one.event.account_id in held])
        ended = [
            charge.message_id
            for charge in (*written.made, *written.billed)
            if charge.tally_id is not None or charge.status != "sent"
        ]
        ended += [
            charge.message_id
            for charge, seen in changes.moved
            if charge.tally_id is None and seen.state.status != "sent"
        ]
        ended += batch.unsent
        await spending.take(connection, written.changes, holds, ended, now)

    async def _estimate(self, connection: Connection, waiting: Sequence[Seen]) -> list[spending.Hold]:
        """Return what messages on their way will probably cost: by the rate alone, without tiers or a plan."""
        if not waiting:
            return []
        accounts = {seen.event.account_id for seen in waiting}
        currencies = await account_queries.list_currencies(connection, accounts)
        holds: list[spending.Hold] = []
        for seen in waiting:
            event, at = seen.event, seen.state.send_at or seen.state.created_at
            plan = self._plans.find(event.account_id, month_of(quarter_start(at)))
            rate = self._find_rate(seen, None, currencies.get(event.account_id, DEFAULT_CURRENCY), plan)
            if rate is not None:
                amount_micros = seen.state.segments * rate.amount_micros
                holds.append(spending.Hold(event.subject_id, event.account_id, at, amount_micros))
        return holds


async def _without_refused(connection: Connection, fresh: list[Due]) -> list[Due]:
    """Leave out messages that ended unsent: that they were accepted was told too late to bill them for it."""
    early = {
        due.seen.event.subject_id for due in fresh if due.billed_on == "accepted" and due.seen.state.sent_at is None
    }
    refused = await charge_queries.list_refused(connection, early) if early else set()
    return [due for due in fresh if due.seen.event.subject_id not in refused] if refused else fresh
