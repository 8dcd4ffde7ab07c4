"""What billing tells the other services, in its outbox, in the transaction in which it happens.

Each event has its subject's whole state; of what never changes again the sequence is 1. That of `account.spending`
changes: it counts on. `rate.created` is about no account: its account is the nil UUID. Who reads the outbox passes over
types it does not know.
"""

from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec

from ghasi.billing.ledger.limits import Figures, SpendingState
from ghasi.billing.ledger.spending_queries import Alert
from ghasi.billing.model import Charge
from ghasi.contract import shapes
from ghasi.contract.pricing import Rate, Tier
from ghasi.contract.values import decimal_string, new_id, optional_rfc3339, rfc3339
from ghasi.storage.events.outbox import Event, to_json

NO_ACCOUNT = UUID(int=0)


class MessagesRated(msgspec.Struct, frozen=True):
    """Data of `messages.rated`, about messages of an account that were rated together: what each costs.

    `prices` are triples of a message, its price in micros, and the sequence of that word on it: the second, of a
    message that was billed or given back later, stands in place of the first.
    """

    currency: str
    prices: list[tuple[UUID, int, int]]


class RateCreated(msgspec.Struct, frozen=True):
    """Data of `rate.created`, about a rate: the price of a segment where its key's conditions hold, from a moment on.

    `tiers` are pairs of the segments of a month from which it is another, and that price.
    """

    id: UUID
    currency: str
    country: str
    amount_micros: int
    valid_from: str
    direction: str = "outbound"
    account_id: UUID | None = None
    plan: str | None = None
    prefix: str = ""
    sender_kind: str | None = None
    carrier_class: str | None = None
    tiers: tuple[Tier, ...] = ()


class BillingAccountUpdated(msgspec.Struct, frozen=True, omit_defaults=True):
    """Data of `billing_account.updated`, about an account: the currency it is billed in from now on, and its plans.

    `plan` is the one of the event's month; `plans` are pairs of a month's first day and the plan from then on, the
    first of them that month's. None: no plan. The sequence counts up.
    """

    account_id: UUID
    currency: str
    plan: str | None = None
    plans: tuple[tuple[date, str | None], ...] = ()


class AccountSpending(msgspec.Struct, frozen=True):
    """Data of `account.spending`, about an account: whether it may send by its balance and its limit.

    It holds no longer than `until`. An account that is `exhausted` has not even what is held for messages on their way.
    """

    account_id: UUID
    status: str
    exhausted: bool
    until: str | None


def messages_rated(made: Sequence[Charge], changed: Sequence[Charge], at: datetime) -> list[Event]:
    """Make the events of what messages cost now, one an account and currency: a row a message would cost as much again.

    `changed` are those that were billed, or given back, after they had been made.
    """
    prices: dict[tuple[UUID, str], list[tuple[UUID, int, int]]] = {}
    for sequence, charges in ((1, made), (2, changed)):
        for charge in charges:
            amount_micros = 0 if charge.reversal_tally_id else charge.amount_micros
            told = prices.setdefault((charge.account_id, charge.currency), [])
            told.append((charge.message_id, amount_micros, sequence))
    return [
        Event(new_id(), "messages.rated", account_id, account_id, 1, at, to_json(MessagesRated(currency, told)))
        for (account_id, currency), told in prices.items()
    ]


def rate_created(rate: Rate, at: datetime) -> Event:
    """Make the event of a rate."""
    # to the microsecond: a preview must choose between rates as a charge does
    valid_from = rate.valid_from.isoformat()
    data = RateCreated(
        id=rate.id, amount_micros=rate.amount_micros, valid_from=valid_from, tiers=rate.tiers, **rate.key._asdict()
    )
    return Event(new_id(), "rate.created", NO_ACCOUNT, rate.id, 1, at, to_json(data))


def billing_account_updated(
    account_id: UUID,
    currency: str,
    at: datetime,
    *,
    sequence: int = 1,
    plans: Sequence[tuple[date, str | None]] = (),
) -> Event:
    """Make the event of an account whose currency was fixed, or whose plans have changed."""
    data = BillingAccountUpdated(account_id, currency, plans[0][1] if plans else None, tuple(plans))
    return Event(new_id(), "billing_account.updated", account_id, account_id, sequence, at, to_json(data))


def account_spending(account_id: UUID, state: SpendingState, sequence: int, at: datetime) -> Event:
    """Make the event of an account that may send no more, or again."""
    data = AccountSpending(account_id, state.status, state.exhausted, optional_rfc3339(state.until))
    return Event(new_id(), "account.spending", account_id, account_id, sequence, at, to_json(data))


def billing_alert(alert: Alert, figures: Figures, currency: str) -> Event:
    """Make the event of an alert, which goes to the customer's webhooks."""
    is_limit = alert.kind == "spending_limit"
    spent_micros = figures.spent_micros if is_limit else alert.limit_micros - figures.balance_micros
    data = shapes.BillingAlert(
        id=str(alert.id), kind=alert.kind, threshold_percent=alert.percent, at=rfc3339(alert.at), currency=currency,
        period=alert.period if is_limit else None, spent=decimal_string(spent_micros),
        limit=decimal_string(alert.limit_micros), balance=None if is_limit else decimal_string(figures.balance_micros),
    )  # fmt: skip
    return Event(new_id(), "billing.alert", alert.account_id, alert.id, 1, alert.at, to_json(data))
