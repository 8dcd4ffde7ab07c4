"""How a simulated SMSC behaves: its options, and the chances by which it treats each submit.

Owns the options and what is drawn from them; sends nothing and knows no session. With a seed the same submits in the
same order are treated alike, all but what goes by the clock (throttling, message ids).
"""

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ghasi.carriers.smpp import statuses

ReceiptStyle = Literal["text", "tlv", "both", "none"]
ReceiptIds = Literal["as-is", "hex", "decimal"]

UNDELIVERED, EXPIRED, REFUSED, THROTTLED, LATE, SILENT = "0001", "0002", "0003", "0004", "0005", "0006"
ENDINGS = frozenset({UNDELIVERED, EXPIRED, REFUSED, THROTTLED, LATE, SILENT})
TIMES_THROTTLED = 2
SHUFFLED_WITHIN_S = 0.02

# SMPP 3.4, 5.2.28
ENROUTE, DELIVERED = 1, 2
OUTCOMES = {"delivered": DELIVERED, "expired": 3, "deleted": 4, "undelivered": 5, "unknown": 7, "rejected": 8}
FINAL_STATES = {UNDELIVERED: 5, EXPIRED: 3}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated SMSC behaves; times in seconds, chances from 0 to 1. By default it harms nobody."""

    receipt_delay_s: float = 0.1
    late_receipt_delay_s: float = 30.0
    redelivery_s: float = 10.0
    """After which a receipt that isn't acknowledged is sent again."""
    retry_s: float = 1.0
    """After which a receipt that the client put off (ESME_RX_T_APPN) is sent again."""
    receipt_window: int = 500
    """Receipts that may wait for their acknowledgement on a link at once."""
    most_kept: int = 200_000
    """Receipts, submissions, throttled submits and answers that are due; of what is remembered the oldest is lost."""
    most_clients: int = 1_000
    """System ids remembered."""
    system_id: str | None = None
    password: str | None = None
    """Enforced where given; else any are taken."""
    subscriber_system_id: str = "subscriber"
    """A client of this system id is a phone: what it submits is delivered to all others. `system_id` is not its."""
    latency_s: float = 0.0
    """After which a submit is answered."""
    latency_spread_s: float = 0.0
    """By which that is longer or shorter."""
    loss: float = 0.0
    """The chance of a submit to be taken and never answered."""
    throttle_per_s: int | None = None
    """Submits taken in any one second."""
    window: int | None = None
    """Submits that may wait for their answer on a link; one more is refused with ESME_RMSGQFUL."""
    receipts: ReceiptStyle = "both"
    receipt_ids: ReceiptIds = "as-is"
    """In which form a receipt names the message, while its submit's answer had the other one."""
    receipt_delay_spread_s: float = 0.0
    receipt_loss: float = 0.0
    duplicate_receipts: float = 0.0
    """The chance of a receipt to be sent twice."""
    intermediate_receipts: bool = False
    """Whether each final receipt has an intermediate one (ENROUTE) before it."""
    out_of_order: bool = False
    """Whether answers and receipts leave in any order."""
    outcomes: Mapping[str, float] = field(default_factory=dict)
    """Weights of final states, by the names in OUTCOMES; without any, all is delivered."""
    refuse: Mapping[int, float] = field(default_factory=dict)
    """Chance of a submit to be refused, by command_status."""
    disconnect_every: int | None = None
    """Each how many submits the link is dropped, that submit being taken and not answered."""
    ignore_endings: bool = False
    """Whether a number's last four digits mean nothing."""
    seed: int | None = None

    @property
    def steady(self) -> bool:
        """Whether each submit is answered, at once and in order."""
        return not (
            self.latency_s or self.latency_spread_s or self.loss or self.window or self.out_of_order
            or self.disconnect_every
        )  # fmt: skip


class PlannedReceipt(NamedTuple):
    """One receipt to send: its message_state (SMPP 3.4, 5.2.28) and after how many seconds."""

    state: int
    delay_s: float


class Chances:
    """What is drawn for one submit after another; `behaviour` may be another one from one submit to the next."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - simulated chances need no secrecy
        self._taken: deque[float] = deque()

    def refusal(self, behaviour: Behaviour) -> int:
        """Draw the status that refuses a submit, ESME_ROK for none."""
        if not behaviour.refuse:
            return statuses.ESME_ROK
        drawn = self._random.random()
        for status, chance in behaviour.refuse.items():
            drawn -= chance
            if drawn < 0:
                return status
        return statuses.ESME_ROK

    def over_rate(self, behaviour: Behaviour, now: float) -> bool:
        """Tell whether a submit now is one too many in the last second; one that isn't is counted."""
        limit = behaviour.throttle_per_s
        if limit is None:
            return False
        taken = self._taken
        while taken and taken[0] <= now - 1.0:
            taken.popleft()
        if len(taken) >= limit:
            return True
        taken.append(now)
        return False

    def answer_after_s(self, behaviour: Behaviour) -> float | None:
        """Draw after how many seconds a submit is answered, None for never."""
        if behaviour.loss and self._random.random() < behaviour.loss:
            return None
        latency_s = self._spread(behaviour.latency_s, behaviour.latency_spread_s)
        return latency_s + self._random.random() * SHUFFLED_WITHIN_S if behaviour.out_of_order else latency_s

    def plan_receipts(self, behaviour: Behaviour, ending: str, wanted: int) -> list[PlannedReceipt]:
        """Draw a taken submit's receipts in order; `wanted` is its registered_delivery's lower two bits (5.2.17)."""
        if behaviour.ignore_endings or ending not in ENDINGS:
            final = self._outcome(behaviour.outcomes)
            delay_s = behaviour.receipt_delay_s
        else:
            final = FINAL_STATES.get(ending, DELIVERED)
            delay_s = behaviour.late_receipt_delay_s if ending == LATE else behaviour.receipt_delay_s
        # 1: always, 2: where it was not delivered, 3: where it was, which is version 5.0's
        unwanted = not wanted or (wanted == 2 and final == DELIVERED)  # noqa: PLR2004 - said above
        if unwanted or behaviour.receipts == "none" or (ending == SILENT and not behaviour.ignore_endings):
            return []
        delay_s = self._spread(delay_s, behaviour.receipt_delay_spread_s)
        if behaviour.out_of_order:
            delay_s *= 2 * self._random.random()
        planned = [PlannedReceipt(final, delay_s)]
        if behaviour.duplicate_receipts and self._random.random() < behaviour.duplicate_receipts:
            planned.append(PlannedReceipt(final, 2 * delay_s))
        if behaviour.intermediate_receipts:
            planned.insert(0, PlannedReceipt(ENROUTE, delay_s / 2))
        if behaviour.receipt_loss:
            planned = [one for one in planned if self._random.random() >= behaviour.receipt_loss]
        return planned

    def _outcome(self, weights: Mapping[str, float]) -> int:
        if not weights:
            return DELIVERED
        return OUTCOMES[self._random.choices(list(weights), list(weights.values()))[0]]

    def _spread(self, mean_s: float, spread_s: float) -> float:
        return max(0.0, mean_s + self._random.uniform(-spread_s, spread_s)) if spread_s else mean_s
