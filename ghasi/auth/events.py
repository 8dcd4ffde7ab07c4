"""What auth-service tells the other services: `account.updated`, an account's whole state at each change.

These events are never pruned: they are few, and a service that comes later reads its accounts from them.
"""

from datetime import datetime

from ghasi.auth.model import Account
from ghasi.contract.values import new_id
from ghasi.storage.outbox import Event, to_json


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
