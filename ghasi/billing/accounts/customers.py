"""What billing keeps of auth-service's accounts: their names, for invoices, and who owns them. Owns nothing else."""

from collections.abc import Sequence

import msgspec

from ghasi.billing.accounts import queries
from ghasi.storage.events.outbox import Event, latest_of
from ghasi.storage.pool import Connection


class AccountState(msgspec.Struct, frozen=True):
    """What billing reads of `account.updated`."""

    name: str


class UserState(msgspec.Struct, frozen=True):
    """What billing reads of `user.updated`."""

    role: str | None


async def apply(connection: Connection, events: Sequence[Event]) -> None:
    """Take over names and roles, within the caller's transaction; idempotent, in any order."""
    names = [
        (event.subject_id, msgspec.json.decode(event.data, type=AccountState).name, event.sequence)
        for event in latest_of(events, "account.updated")
    ]
    if names:
        await queries.upsert_customers(connection, names)
    people = [
        (event.subject_id, event.account_id, msgspec.json.decode(event.data, type=UserState).role, event.sequence)
        for event in latest_of(events, "user.updated")
    ]
    if people:
        await queries.upsert_people(connection, people)
