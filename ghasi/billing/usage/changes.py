"""What a batch of messages makes of charges: which are to be made, which move, are billed or give their amount back.

Pure: knows no database. What a message is billed on is that of the plan of the month in which it was accepted, so that
it is told by any of its events; a charge keeps it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ghasi.billing.model import BilledOn, Charge, Refusal
from ghasi.billing.periods import month_of, quarter_start
from ghasi.billing.plans.book import PlanBook
from ghasi.billing.usage.states import Seen
from ghasi.contract.pricing import pricing_country


class Due(NamedTuple):
    """A message that is to be counted, what it is billed on, and when it counts."""

    seen: Seen
    billed_on: BilledOn
    at: datetime

    @property
    def is_billed(self) -> bool:
        """Whether it is to be paid for already."""
        return self.billed_on != "delivered" or self.seen.state.status == "delivered"


class Batch(NamedTuple):
    """The messages of a batch: to be counted, ended unsent, and still on their way."""

    due: dict[UUID, Due]
    unsent: dict[UUID, Seen]
    waiting: list[Seen]
    charged_early: list[UUID]
    """Those ended unsent that may have been charged when they were accepted."""

    @property
    def on_delivery(self) -> list[Seen]:
        """Those that were sent, and are to be paid for once they are delivered."""
        return [due.seen for due in self.due.values() if not due.is_billed and due.seen.state.status == "sent"]

    @property
    def refusals(self) -> list[Refusal]:
        """Those that ended unsent, as they are kept."""
        return [
            Refusal(
                message_id, seen.event.account_id, quarter_start(seen.state.completed_at or seen.event.at),
                pricing_country(seen.state.country), seen.state.status,
            )
            for message_id, seen in self.unsent.items()
        ]  # fmt: skip


class Changes(NamedTuple):
    """Charges that change: each as it was, with what its message is now."""

    moved: list[tuple[Charge, Seen]]
    """All of them, those of the other two lists too."""
    billed: list[tuple[Charge, Seen]]
    """Counted before, and to be paid for from now on."""
    given_back: list[tuple[Charge, Seen]]
    """Charged when they were accepted, and never sent."""


def sort_messages(newest: Mapping[UUID, Seen], plans: PlanBook) -> Batch:
    """Sort messages by what they are for billing."""
    batch = Batch({}, {}, [], [])
    for message_id, seen in newest.items():
        billed_on: BilledOn = "sent"
        if seen.is_inbound:
            billed_on = "accepted"
        elif plans.has_any(seen.event.account_id):
            plan = plans.find(seen.event.account_id, month_of(quarter_start(seen.accepted_at)))
            billed_on = plan.billed_on if plan else "sent"
        if (at := seen.counted_at(billed_on)) is not None:
            batch.due[message_id] = Due(seen, billed_on, at)
        elif seen.ended_unsent:
            batch.unsent[message_id] = seen
            if billed_on == "accepted":
                batch.charged_early.append(message_id)
        else:
            batch.waiting.append(seen)
    return batch


def compare(known: Mapping[UUID, Charge], batch: Batch) -> Changes:
    """Return how charges change by greater sequences than theirs."""
    changes = Changes([], [], [])
    for message_id, charge in known.items():
        due = batch.due.get(message_id)
        seen = batch.unsent[message_id] if due is None else due.seen
        if seen.event.sequence <= charge.sequence:
            continue
        changes.moved.append((charge, seen))
        if charge.tally_id is None and charge.billed_on == "delivered" and seen.state.status == "delivered":
            changes.billed.append((charge, seen))
        elif due is None and charge.tally_id is not None and charge.reversal_tally_id is None:
            changes.given_back.append((charge, seen))
    return changes
