"""Says what holds accounts back: judges them anew whenever their money moves, and tells messages and customers.

`account.spending` goes out when something changed, with the whole state; `billing.alert` once for each threshold.
"""

from collections.abc import Collection
from datetime import date, datetime
from uuid import UUID

from ghasi.billing import events
from ghasi.billing.ledger import spending_queries as queries
from ghasi.billing.ledger.limits import crossed, judge
from ghasi.billing.ledger.prepaid import list_prepaid
from ghasi.billing.ledger.spending_queries import Alert, Kept
from ghasi.billing.periods import month_bounds, month_of
from ghasi.contract.values import new_id
from ghasi.storage.events import outbox
from ghasi.storage.events.outbox import Event
from ghasi.storage.pool import Connection


async def refresh(connection: Connection, account_ids: Collection[UUID], now: datetime) -> bool:
    """Judge accounts anew by what they have, hold and have spent, within the caller's transaction; idempotent.

    To be called after whatever changes that, an account's plan included. Locks what is kept of their spending. Returns
    whether there is anything to tell: who commits may ring for it.
    """
    if not account_ids:
        return False
    month = month_of(now)
    _, month_end = month_bounds(month)
    prepaid = await list_prepaid(connection, account_ids, month)
    known = await queries.list_bounded(connection, account_ids)
    bounded = prepaid | known
    if not bounded:
        return False
    if prepaid - known:
        await queries.insert_accounts(connection, prepaid - known)
    await queries.lock_accounts(connection, bounded)
    changed, told = [], []
    alerts: dict[UUID, tuple[Alert, Kept]] = {}
    for kept in await queries.list_kept(connection, bounded, prepaid, month):
        state = judge(kept.figures, month_end)
        if state != kept.state:
            changed.append((kept.account_id, state, kept.sequence + 1))
            told.append(events.account_spending(kept.account_id, state, kept.sequence + 1, now))
        alerts |= {alert.id: (alert, kept) for alert in _alerts(kept, month, now)}
    if changed:
        await queries.set_states(connection, changed)
    if alerts:
        fresh = await queries.insert_alerts(connection, [alert for alert, _ in alerts.values()])
        told += [_event(*alerts[alert_id]) for alert_id in alerts if alert_id in fresh]
    await outbox.append(connection, "billing", told)
    return bool(told)


def _alerts(kept: Kept, month: date, now: datetime) -> list[Alert]:
    period = {"spending_limit": f"{month:%Y-%m}", "balance": str(kept.top_up_id)}
    return [
        Alert(new_id(), kept.account_id, kind, period[kind], limit_micros, percent, now)
        for kind, limit_micros, percent in crossed(kept.figures)
    ]


def _event(alert: Alert, kept: Kept) -> Event:
    return events.billing_alert(alert, kept.figures, kept.currency)
