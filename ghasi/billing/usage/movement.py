"""How usage and outcomes move with charges: by differences, which may be negative. Pure: knows no database."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

from ghasi.billing.model import Charge, OutcomeSums, Refusal, Sums, UsageGroup, UsageQuarter
from ghasi.billing.periods import month_of, quarter_start
from ghasi.billing.usage.changes import Changes
from ghasi.billing.usage.charging import Written
from ghasi.billing.usage.names import Name

Outcomes = dict[tuple[UUID, datetime], OutcomeSums]
"""By account and quarter of an hour."""
_NOTHING, _NO_OUTCOME = Sums(), OutcomeSums()
_FAILED = frozenset({"failed", "undelivered", "expired"})


class Movement:
    """Differences of usage by country and status, and by one thing at a time."""

    def __init__(self, named: Mapping[UUID, Collection[Name]]) -> None:
        """Begin with none; `named` are the values that charges are kept by, by their messages' ids."""
        self._named = named
        self._quarters: dict[UsageQuarter, Sums] = defaultdict(Sums)
        self._groups: dict[UsageGroup, Sums] = defaultdict(Sums)

    def take(self, changes: Changes, written: Written) -> None:
        """Add what a batch of charges changes."""
        for charge in written.made:
            self._add(charge, 1)
        billed = {charge.message_id: charge for charge in written.billed}
        given_back = {charge.message_id for charge in written.given_back}
        for charge, seen in changes.moved:
            if charge.message_id in given_back:
                self._add(charge, -1)
            elif charge.message_id in billed:
                self._add(charge, -1)
                self._add(billed[charge.message_id], 1)
            elif charge.reversal_tally_id is None and seen.state.status != charge.status:
                self._move(charge, seen.state.status)

    def _add(self, charge: Charge, times: int) -> None:
        """Count a charge where it belongs, or take it away there."""
        account_id, at = charge.account_id, quarter_start(charge.at)
        segments, amount_micros = times * charge.segments, times * charge.amount_micros
        self._quarters[UsageQuarter(account_id, at, charge.country, charge.status)].add(times, segments, amount_micros)
        for _, _, dimension, value in self._named[charge.message_id]:
            self._groups[UsageGroup(account_id, dimension, at, value)].add(times, segments, amount_micros)

    def _move(self, charge: Charge, status: str) -> None:
        """Move a charge from its status to another one."""
        account_id, at = charge.account_id, quarter_start(charge.at)
        segments, amount_micros = charge.segments, charge.amount_micros
        self._quarters[UsageQuarter(account_id, at, charge.country, charge.status)].add(-1, -segments, -amount_micros)
        self._quarters[UsageQuarter(account_id, at, charge.country, status)].add(1, segments, amount_micros)

    @property
    def quarters(self) -> dict[UsageQuarter, Sums]:
        """What differs by country and status."""
        return {quarter: sums for quarter, sums in self._quarters.items() if sums != _NOTHING}

    @property
    def groups(self) -> dict[UsageGroup, Sums]:
        """What differs by one thing at a time."""
        return {group: sums for group, sums in self._groups.items() if sums != _NOTHING}


def names_of(charge: Charge) -> list[Name]:
    """Return the values that a charge may be kept by."""
    month = month_of(quarter_start(charge.at))
    names: list[Name] = []
    if charge.sender:
        names.append(Name(charge.account_id, month, "sender", charge.sender))
    if charge.api_key_id is not None:
        names.append(Name(charge.account_id, month, "api_key", str(charge.api_key_id)))
    if charge.reference:
        names.append(Name(charge.account_id, month, "reference", charge.reference))
    return names


def add_up(usage: Mapping[UsageQuarter, Sums], refused: Iterable[Refusal]) -> Outcomes:
    """Return how outcomes move with differences of usage and with messages that no carrier took.

    Canceled ones are no outcome.
    """
    outcomes: Outcomes = defaultdict(OutcomeSums)
    for (account_id, at, _, status), sums in usage.items():
        outcome = outcomes[account_id, at]
        if status == "received":
            outcome.received += sums.messages
            outcome.received_segments += sums.segments
            outcome.received_micros += sums.amount_micros
            continue
        outcome.messages += sums.messages
        outcome.segments += sums.segments
        outcome.amount_micros += sums.amount_micros
        if status == "delivered":
            outcome.delivered += sums.messages
        elif status in _FAILED:
            outcome.failed += sums.messages
    for refusal in refused:
        if refusal.status in _FAILED:
            outcome = outcomes[refusal.account_id, refusal.at]
            outcome.messages += 1
            outcome.failed += 1
            outcome.refused += 1
    return {quarter: sums for quarter, sums in outcomes.items() if sums != _NO_OUTCOME}
