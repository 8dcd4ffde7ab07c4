"""Whatever the order in which carriers speak, a message ends in the same state, and leaves it only from unknown."""

import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.carrier import Receipt
from ghasi.contract.shapes import FINAL_STATUSES
from ghasi.messages.dispatch.ledger import Ending, Ledger, Submitted
from ghasi.messages.dispatch.lifecycle import Part, PartState, advance
from ghasi.messages.model import Stored
from ghasi.storage.bells import Bells
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer

Final = Literal["delivered", "undelivered", "failed", "expired", "unknown"]
FINALS: list[Final] = ["delivered", "undelivered", "failed", "expired", "unknown"]
WORST = ("unknown", "failed", "undelivered", "expired", "delivered")
NOW = datetime.now(UTC)


def message_of(segments: int) -> Stored:
    values: dict[str, Any] = dict.fromkeys(Stored.__struct_fields__)
    values |= {"id": uuid4(), "account_id": uuid4(), "segments": segments, "status": "accepted", "sequence": 1}
    return Stored(**values)  # what advance does not look at is None


def worst_of(states: list[Final]) -> str:
    return next(state for state in WORST if state in states)


@given(
    st.lists(st.sampled_from(FINALS), min_size=1, max_size=4).flatmap(
        lambda finals: st.tuples(
            st.just(finals),
            st.permutations(
                [(part, step) for part in range(1, len(finals) + 1) for step in ("unknown", "final", "final")]
            ),
        )
    ),
    st.booleans(),
)
def test_any_order_of_receipts_ends_in_the_same_state(
    drawn: tuple[list[Final], list[tuple[int, str]]], payload: bool
) -> None:
    finals, order = drawn
    message = message_of(7 if payload else len(finals))
    parts: dict[int, Part] = {}
    passed: list[str] = []
    for part in range(1, len(finals) + 1):
        parts[part] = Part(part, "accepted", "a", NOW, of=len(finals))
        while advance(message, list(parts.values())):
            passed.append(message.status)
    for part, step in order:
        state: PartState = "unknown" if step == "unknown" else finals[part - 1]
        if state != "unknown" or parts[part].state == "accepted":  # as the ledger keeps them
            parts[part] = Part(part, state, "a", NOW, of=len(finals))
        while advance(message, list(parts.values())):
            passed.append(message.status)
    assert message.status == worst_of(finals)
    assert message.sequence == 1 + len(passed)
    assert passed[0] == "sent"
    for before, after in itertools.pairwise(passed):
        assert before in ("sent", "unknown"), "a final state is never left, but for unknown"
        assert after != before


@dataclass
class Told:
    """A message, what its parts end as, and what is still to be said of it."""

    id: UUID
    finals: list[Final]
    words: list[Submitted | Receipt] = field(default_factory=list)


def words_of(message_id: UUID, finals: list[Final], chance: random.Random) -> list[Submitted | Receipt]:
    """All that carriers say of a message, in some order, with repetitions, intermediate and unknown states."""
    words: list[Submitted | Receipt] = []
    for number, final in enumerate(finals, 1):
        carrier_message_id = f"{message_id}-{number}"
        part = Part(number, "accepted", "a", NOW, of=len(finals))
        words.append(Submitted(message_id, [(part, carrier_message_id)]))
        states = [final, *chance.sample(["accepted", "unknown", final], chance.randint(0, 3))]
        words += [Receipt("a", carrier_message_id, state, NOW, None, None, None) for state in states]  # type: ignore[arg-type]
    words.append(Receipt("a", f"{message_id}-nobody", "delivered", NOW, None, None, None))
    chance.shuffle(words)
    return words


async def test_any_order_in_any_batches_ends_in_the_same_state_in_the_database(customer: Customer, pool: Pool) -> None:
    chance = random.Random(20261123)
    told = []
    for _ in range(60):
        finals = [chance.choice(FINALS) for _ in range(chance.randint(1, 3))]
        sent = await customer.send(body="x" * (10 if len(finals) == 1 else 153 * len(finals)))
        message_id = UUID(sent["id"])
        told.append(Told(message_id, finals, words_of(message_id, finals, chance)))
    ledgers = [Ledger(pool, Bells(pool)), Ledger(pool, Bells(pool))]  # as two processes, whose memories differ
    while waiting := [one for one in told if one.words]:
        batch = [one.words.pop() for one in waiting for _ in range(min(len(one.words), chance.randint(0, 2)))]
        chance.shuffle(batch)
        if batch:
            await chance.choice(ledgers).put(cast("list[Receipt]", batch))  # it sorts them itself
        while await ledgers[0].match_parked():
            pass
    for one in told:
        message = await customer.get(str(one.id))
        assert message["status"] == worst_of(one.finals), one.finals
        rows = await pool.fetch(
            "SELECT sequence, type FROM messages.outbox WHERE subject_id = $1 ORDER BY sequence", one.id
        )
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
        passed = [row["type"].removeprefix("message.") for row in rows]
        assert passed[:2] == ["accepted", "sent"]
        assert not {*passed[:-1]} & (FINAL_STATUSES - {"unknown"})


async def test_a_part_that_failed_tells_more_than_no_receipt(customer: Customer, pool: Pool) -> None:
    ledger = Ledger(pool, Bells(pool))
    ending = Ending("unknown", "no_receipt", of=("accepted", "sent"))
    ended = {}
    for first in ("undelivered", "delivered"):
        message_id = UUID((await customer.send(body="x" * 300))["id"])
        parts = [(Part(number, "accepted", "a", NOW, of=2), f"{message_id}-{number}") for number in (1, 2)]
        await ledger.put([Submitted(message_id, parts)])
        await ledger.put([Receipt("a", f"{message_id}-1", first, NOW, None, None, None)])
        assert (await customer.get(str(message_id)))["status"] == "sent"
        await ledger.put([Submitted(message_id, ending=ending)])
        ended[first] = message_id
    assert (await customer.get(str(ended["undelivered"])))["status"] == "undelivered"
    assert (await customer.get(str(ended["delivered"])))["status"] == "unknown"
    await ledger.put([Receipt("a", f"{ended['delivered']}-2", "delivered", NOW, None, None, None)])
    assert (await customer.get(str(ended["delivered"])))["status"] == "delivered"


async def test_a_carrier_that_splits_by_itself_has_one_part(customer: Customer, pool: Pool) -> None:
    ledger = Ledger(pool, Bells(pool))
    message = await customer.send(body="x" * 400)
    message_id = UUID(message["id"])
    assert message["segments"] == 3
    await ledger.put([Submitted(message_id, [(Part(1, "accepted", "a", NOW, of=1), "whole")])])
    assert (await customer.get(str(message_id)))["status"] == "sent"
    await Ledger(pool, Bells(pool)).put([Receipt("a", "whole", "delivered", NOW, None, None, None)])
    assert (await customer.get(str(message_id)))["status"] == "delivered"
    # and one that needs more parts than the message has segments is sent when it has them all
    message_id = UUID((await customer.send(body="x"))["id"])
    for number in (1, 2):
        assert (await customer.get(str(message_id)))["status"] == "accepted"
        await ledger.put([Submitted(message_id, [(Part(number, "accepted", "a", NOW, of=2), f"two-{number}")])])
    assert (await customer.get(str(message_id)))["status"] == "sent"
