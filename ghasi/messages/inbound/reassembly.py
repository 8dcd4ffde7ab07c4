"""How parts that phones send become texts: in any order, once each, and with a mark where some are lost. Pure.

Owns what counts as the same part come again, which parts belong together, and what a message of them says. Keeps
nothing: what was there before is handed in.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal
from uuid import UUID

from ghasi.carriers.alphabet import decode
from ghasi.carriers.carrier import Encoding, InboundPart
from ghasi.carriers.segmentation import count_segments
from ghasi.contract.values import new_id

WHOLE_WITHIN = timedelta(minutes=15)
"""From a message's first part to its last; then what is there becomes the message."""
REPEATED_WITHIN = timedelta(minutes=2)
"""How long after we answered a carrier may still send the same again for want of the answer."""
PATIENCE = timedelta(seconds=5)
"""The least time that a carrier waits for an answer before it sends again on the same connection."""
GAP = "…"
MOST_PARTS = 255
MOST_ALIKE = 300
"""The newest parts of a kind that one is compared with: somebody may send the same a thousand times a minute."""

Key = tuple[str, str, str, int, int]
"""Carrier, sender, recipient, reference and number of parts: what the parts of a message have in common."""


@dataclass(slots=True)
class HeldPart:
    """A part that was taken; `payload` goes when it is in a message, `message_id`."""

    id: UUID
    carrier: str
    sender: str
    recipient: str
    reference: int
    parts: int
    part: int
    encoding: Encoding
    payload: bytes | None
    digest: bytes
    session: str
    arrived_at: datetime
    committed_at: datetime
    message_id: UUID | None = None

    @property
    def key(self) -> Key:
        """What it has in common with the other parts of its message."""
        return (self.carrier, self.sender, self.recipient, self.reference, self.parts)


@dataclass(slots=True)
class Whole:
    """A message whose parts are all there, or will not come any more."""

    message_id: UUID
    parts: list[HeldPart]

    @property
    def recipient(self) -> str:
        """To whom it was sent, as the carrier said it."""
        return self.parts[0].recipient

    @property
    def segments(self) -> int:
        """How many parts it came in, the lost ones counted."""
        return self.parts[0].parts


def held(part: InboundPart, arrived_at: datetime) -> HeldPart:
    """Make a part of what a carrier brought; it is committed when it is.

    A part number of none of its parts makes it a message of its own (3GPP TS 23.040, 9.2.3.24.1: the header counts for
    nothing). A message of one part has a reference by what it says, so that it is held against what says the same,
    and not against all that this person has sent. PostgreSQL keeps no NUL in a text.
    """
    is_part = 1 <= part.part <= part.parts <= MOST_PARTS and part.parts > 1
    digest = hashlib.sha256(part.encoding.encode() + b" " + part.payload).digest()[:16]
    return HeldPart(
        id=new_id(),
        carrier=part.carrier,
        sender=_plain(part.sender),
        recipient=_plain(part.recipient),
        reference=part.reference if is_part else int.from_bytes(digest[:4], signed=True),
        parts=part.parts if is_part else 1,
        part=part.part if is_part else 1,
        encoding=part.encoding,
        payload=part.payload,
        digest=digest,
        session=part.session,
        arrived_at=arrived_at,
        committed_at=arrived_at,
    )


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd")


@dataclass(slots=True)
class Desk:
    """The parts of some keys: what is there already, and what comes in, in its order."""

    fresh: list[HeldPart] = field(default_factory=list)
    """Parts that were not there."""
    ended: list[HeldPart] = field(default_factory=list)
    """Parts that were there, and are in a message now."""
    whole: list[Whole] = field(default_factory=list)
    repeated: int = 0
    _ids: set[UUID] = field(default_factory=set)
    _fresh_ids: set[UUID] = field(default_factory=set)
    _alike: dict[tuple[Key, int, bytes], list[HeldPart]] = field(default_factory=dict)
    _waiting: dict[Key, list[HeldPart]] = field(default_factory=dict)

    def know(self, parts: Iterable[HeldPart]) -> None:
        """Take over what is there already, oldest first."""
        for part in parts:
            self._keep(part)

    def take(self, part: HeldPart) -> None:
        """Take a part that came in: it is there already, completes a message, or waits for others of it.

        Another part of the same number while the message still waits means that the phone has begun to count anew:
        the earlier message ends without what is lost.
        """
        if part.id in self._ids:  # our own earlier try was committed after all
            return
        alike = self._alike.get((part.key, part.part, part.digest), [])
        if any(_is_repeated(part, other) for other in alike[-MOST_ALIKE:]):
            self.repeated += 1
            return
        if any(other.part == part.part for other in self._waiting.get(part.key, ())):
            self.close(part.key)
        self._keep(part)
        self.fresh.append(part)
        self._fresh_ids.add(part.id)
        if len(self._waiting[part.key]) == part.parts:
            self.close(part.key)

    def _keep(self, part: HeldPart) -> None:
        self._ids.add(part.id)
        self._alike.setdefault((part.key, part.part, part.digest), []).append(part)
        if part.message_id is None:
            self._waiting.setdefault(part.key, []).append(part)

    def close(self, key: Key) -> None:
        """Make a message of what is there of it; nothing where nothing waits."""
        waiting = self._waiting.pop(key, None)
        if not waiting:
            return
        message = Whole(new_id(), sorted(waiting, key=lambda part: part.part))
        for part in waiting:
            part.message_id = message.message_id
            if part.id not in self._fresh_ids:
                self.ended.append(part)
        self.whole.append(message)

    def is_late(self, key: Key, now: datetime) -> bool:
        """Whether a message still waits for parts, and has waited long enough."""
        return any(part.arrived_at <= now - WHOLE_WITHIN for part in self._waiting.get(key, ()))


def _is_repeated(part: HeldPart, earlier: HeldPart) -> bool:
    """Whether a part that says the same as an earlier one is that one, sent again by the carrier.

    Of a longer message it is, as long as that waits or has just ended: the reference says so. A short one has none: on
    a connection that goes on, where we answered in time, the phone sent it again; else the answer may have been lost.
    """
    if earlier.message_id is None:
        return True
    if part.arrived_at > earlier.committed_at + REPEATED_WITHIN:
        return False
    if part.parts == 1 and part.session and part.session == earlier.session:
        late = earlier.committed_at - earlier.arrived_at >= PATIENCE
        return late and part.arrived_at - earlier.arrived_at >= PATIENCE
    return True


def read_text(parts: Sequence[HeldPart]) -> str:
    """Return the text of a message's parts, which are in their order; one mark stands for lost parts in a row.

    Neighbours of one encoding are decoded together, since phones split surrogate pairs and escapes.
    """
    texts: list[str] = []
    expected = 1
    for (_, encoding), run in groupby(_with_runs(parts), key=lambda one: one[0]):
        neighbours = [part for _, part in run]
        if neighbours[0].part != expected:
            texts.append(GAP)
        expected = neighbours[-1].part + 1
        texts.append(decode(encoding, b"".join(part.payload or b"" for part in neighbours)))
    if expected <= parts[0].parts:
        texts.append(GAP)
    return _plain("".join(texts))


def _with_runs(parts: Sequence[HeldPart]) -> Iterable[tuple[tuple[int, Encoding], HeldPart]]:
    """Pair each part with what is the same for neighbours without a gap, and its encoding."""
    for position, part in enumerate(parts):
        yield (part.part - position, part.encoding), part


def encoding_of(parts: Sequence[HeldPart], text: str) -> Literal["gsm7", "ucs2"]:
    """Say what a message came in, in the words of the resource; for other encodings what it would be sent in."""
    encodings = {part.encoding for part in parts}
    if encodings == {"gsm7"}:
        return "gsm7"
    return "ucs2" if "ucs2" in encodings else count_segments(text)[0]
