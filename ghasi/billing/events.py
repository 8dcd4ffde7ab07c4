"""What billing tells the other services, in its outbox, in the transaction in which it happens.

Each event has its subject's whole state, which never changes again: its sequence is 1. `rate.created` is about no
account: its account is the nil UUID. Who reads the outbox passes over types it does not know.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.billing.model import Charge
from ghasi.contract.pricing import Rate, Tier
from ghasi.contract.values import new_id
from ghasi.storage.outbox import Event, to_json

NO_ACCOUNT = UUID(int=0)


class MessageRated(msgspec.Struct, frozen=True):
    """Data of `message.rated`, about a message: what it costs."""

    message_id: UUID
    amount_micros: int
    currency: str


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


class BillingAccountUpdated(msgspec.Struct, frozen=True):
    """Data of `billing_account.updated`, about an account: the currency it is billed in from now on."""

    account_id: UUID
    currency: str


def message_rated(charge: Charge, at: datetime) -> Event:
    """Make the event of a charge."""
    data = MessageRated(charge.message_id, charge.amount_micros, charge.currency)
    return Event(new_id(), "message.rated", charge.account_id, charge.message_id, 1, at, to_json(data))


def rate_created(rate: Rate, at: datetime) -> Event:
    """Make the event of a rate."""
    # to the microsecond: a preview must choose between rates as a charge does
    valid_from = rate.valid_from.isoformat()
    data = RateCreated(
        id=rate.id, amount_micros=rate.amount_micros, valid_from=valid_from, tiers=rate.tiers, **rate.key._asdict()
    )
    return Event(new_id(), "rate.created", NO_ACCOUNT, rate.id, 1, at, to_json(data))


def billing_account_updated(account_id: UUID, currency: str, at: datetime) -> Event:
    """Make the event of an account whose currency was fixed."""
    data = BillingAccountUpdated(account_id, currency)
    return Event(new_id(), "billing_account.updated", account_id, account_id, 1, at, to_json(data))
