"""What auth-service tells the other services: the whole state of accounts and of people in them, at each change.

These events are never pruned: they are few, and a service that comes later reads its accounts from them.
"""

from datetime import datetime
from uuid import UUID

from ghasi.auth.model import Account
from ghasi.contract.shapes import Role
from ghasi.contract.values import new_id
from ghasi.storage.events.outbox import Event, to_json


def account_updated(account: Account, now: datetime) -> Event:
    """Make the event of an account as its row stands; `sequence` was counted up under the row's lock."""
    data = {
        "id": str(account.id),
        "name": account.name,
        "status": account.status,
        "countries": account.countries,
        "daily_cap": account.daily_cap,
    }
    return Event(new_id(), "account.updated", account.id, account.id, account.sequence, now, to_json(data))


def user_updated(account_id: UUID, user_id: UUID, role: Role | None, sequence: int, now: datetime) -> Event:
    """Make the event of what a person may do in an account, None once they were taken out of it."""
    data = {"id": str(user_id), "role": role}
    return Event(new_id(), "user.updated", account_id, user_id, sequence, now, to_json(data))
