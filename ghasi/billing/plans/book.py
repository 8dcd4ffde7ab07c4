"""Plans and subscriptions in memory, for finding an account's plan of a month without asking the database."""

from collections.abc import Iterable
from datetime import date
from uuid import UUID

from ghasi.billing.plans import queries
from ghasi.billing.plans.model import Plan, Subscription
from ghasi.storage.pool import Connection, Pool


class PlanBook:
    """All that was said of plans and of who has which, in that order; what was said last counts."""

    def __init__(self, plans: Iterable[Plan] = (), subscriptions: Iterable[Subscription] = ()) -> None:
        """Begin with some."""
        self._plans: dict[str, list[Plan]] = {}
        self._subscriptions: dict[UUID, list[Subscription]] = {}
        self._positions = (0, 0)
        self._add(plans, subscriptions)

    async def learn(self, connection: Connection | Pool) -> None:
        """Read what was said since."""
        plans, plan_position = await queries.list_plans_after(connection, self._positions[0])
        subscriptions, position = await queries.list_subscriptions_after(connection, self._positions[1])
        self._positions = (plan_position, position)
        self._add(plans, subscriptions)

    def has_any(self, account_id: UUID) -> bool:
        """Whether anything was ever said of an account."""
        return account_id in self._subscriptions

    def find(self, account_id: UUID, month: date) -> Plan | None:
        """Return an account's plan of a month."""
        said = self._subscriptions.get(account_id)
        if said is None:
            return None
        name = next((one.plan for one in reversed(said) if one.from_month <= month), None)
        if name is None:
            return None
        return next((plan for plan in reversed(self._plans.get(name, ())) if plan.valid_from <= month), None)

    def _add(self, plans: Iterable[Plan], subscriptions: Iterable[Subscription]) -> None:
        for plan in plans:
            self._plans.setdefault(plan.name, []).append(plan)
        for subscription in subscriptions:
            self._subscriptions.setdefault(subscription.account_id, []).append(subscription)
