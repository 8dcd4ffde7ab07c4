"""What billing keeps of auth-service's accounts: their names, for invoices. Owns nothing else of an account."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from ghasi.billing import rate_queries
from ghasi.storage.outbox import Event
from ghasi.storage.pool import Connection


class AccountState(msgspec.Struct, frozen=True):
    """What billing reads of `account.updated`."""

    name: str


async def apply(connection: Connection, events: Sequence[Event]) -> None:
    """Take over names from account.updated events, within the caller's transaction; idempotent, in any order."""
    latest: dict[UUID, Event] = {}
    for event in events:
        if event.type == "account.updated":
            known = latest.get(event.subject_id)
            if known is None or known.sequence < event.sequence:
                latest[event.subject_id] = event
    if latest:
        await rate_queries.upsert_customers(
            connection,
            [
                (account_id, msgspec.json.decode(event.data, type=AccountState).name, event.sequence)
                for account_id, event in latest.items()
            ],
        )
