"""What is fed, and what must hold: nothing but PduError is raised, nothing grows, what is read can be stored."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ghasi.carriers import alphabet
from ghasi.carriers.carrier import InboundPart, Receipt, Segment
from ghasi.carriers.simulated_session import SimulatedSession
from ghasi.carriers.simulator import Behaviour, Simulator
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing
from ghasi.carriers.smpp.inbound import DeliveryReader, UnreadableError
from ghasi.carriers.smpp.link import Link, Role, Terms
from ghasi.carriers.smpp.submit import Submitter
from tests.fuzz.streams import TEXTS, TOKENS, make_stream, mutate

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CONFIGURATIONS = [
    SmppConfiguration(name="fuzz", kind="smpp", host="localhost", port=1, system_id="ghasi", password="", **more)
    for more in (
        {},
        {"gsm7": "packed", "submit_id": "decimal", "receipt_id": "hex"},
        {"gsm7": "latin1", "submit_id": "hex", "receipt_id": "decimal"},
    )
]
_DECODERS = (
    pdu.decode_bind, pdu.decode_bind_response, pdu.decode_short_message, pdu.decode_data, pdu.decode_message_id
)  # fmt: skip
_SEGMENT = Segment(to="+93701234567", sender="Ghasi", encoding="gsm7", payload=b"Hello")
MOST_ANSWERED = 40
"""Octets that may be written for each that was read; the shortest request has 16."""


class Wire(asyncio.Transport):
    """A transport that keeps nothing, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Fuzz:
    """All targets; each takes one example, drawn by `chance`."""

    def __init__(self) -> None:
        self.simulator = Simulator(
            Behaviour(
                receipt_delay_s=5,
                receipt_delay_spread_s=5,
                redelivery_s=3600,
                most_kept=100,
                most_clients=100,
                duplicate_receipts=0.5,
            )
        )
        self.brought = 0
        self.terms = [
            Terms(told, Timing(), self._on_brought, self._on_brought, Submitter(told)) for told in CONFIGURATIONS
        ]
        self.targets = {
            "bodies": self.decode_bodies,
            "frames": self.cut_frames,
            "deliveries": self.read_deliveries,
            "alphabets": self.decode_text,
            "link": self.feed_link,
            "smsc": self.feed_smsc,
        }

    async def decode_bodies(self, chance: random.Random) -> None:
        data = make_stream(chance)
        body = data[16:] if chance.random() < 0.9 else data
        for decode in _DECODERS:
            try:
                decode(body)
            except pdu.PduError:
                continue
        for decode_message in (pdu.decode_short_message, pdu.decode_data):
            for lenient in (False, True):
                try:
                    message = decode_message(body, lenient=lenient)
                    again = pdu.encode_short_message(message)
                except pdu.PduError:
                    continue
                assert pdu.decode_short_message(again) == message

    async def cut_frames(self, chance: random.Random) -> None:
        data = make_stream(chance)
        if chance.random() < 0.01:  # more than any PDU may have
            data += bytes(3 * pdu.MOST_PDU_BYTES)
        whole = pdu.FrameReader()
        frames = whole.feed(data)
        reader, cut, position = pdu.FrameReader(), [], 0
        while position < len(data):
            end = position + chance.choice(
                (1, 3, 15, 16, 17, 60, 1000) if len(data) < pdu.MOST_PDU_BYTES else (1000, 20_000)
            )
            cut += reader.feed(data[position:end])
            assert len(reader._pending) <= pdu.MOST_PDU_BYTES
            position = end
        assert cut == frames
        assert (reader.fault is None) == (whole.fault is None)

    async def read_deliveries(self, chance: random.Random) -> None:
        terms = chance.choice(self.terms)
        reader: DeliveryReader = terms.deliveries
        for frame in pdu.FrameReader().feed(make_stream(chance, mostly=(pdu.DELIVER_SM, pdu.DATA_SM))):
            decode = pdu.decode_data if chance.random() < 0.2 else pdu.decode_short_message
            try:
                message = decode(frame.body, lenient=chance.random() < 0.5)
                check(reader.read(message, NOW, None))
            except (pdu.PduError, UnreadableError):
                continue

    async def decode_text(self, chance: random.Random) -> None:
        data = (chance.choice(TOKENS) + mutate(chance.choice(TEXTS), chance))[:160]
        kind = alphabet.alphabet_of(chance.randrange(256))
        if kind != "compressed":
            encoding, payload = alphabet.read_user_data(kind, data)
            alphabet.decode(encoding, payload).encode()
        header = chance.randrange(12)
        septets = alphabet.unpack(data, header)
        alphabet.decode_gsm7(septets).encode()
        alphabet.decode_gsm7(data).encode()
        if len(septets) < 160:
            unpacked = alphabet.unpack(alphabet.pack(septets, header), header)
            assert unpacked.startswith(septets), (septets, unpacked)

    async def feed_link(self, chance: random.Random) -> None:
        role: Role = chance.choice(("transceiver", "transmitter", "receiver"))
        link, wire = Link(chance.choice(self.terms), role), Wire()
        link.connection_made(wire)
        bind = {"transceiver": 9, "transmitter": 2, "receiver": 1}[role]
        stream = pdu.encode(bind | pdu.RESPONSE, 1, b"peer\0") if chance.random() < 0.9 else b""
        link.data_received(stream) if stream else None
        waiting = [link.submit(_SEGMENT) for _ in range(chance.randrange(4))] if link.open else []
        await asyncio.sleep(0)
        before, read = wire.written, 0
        for _ in range(chance.randint(1, 3)):
            if wire.closed:
                break
            stream = make_stream(chance, mostly=(0x80000004, 5, 0x103, 0x15))
            position = 0
            while position < len(stream) and not wire.closed:
                end = position + chance.choice((1, 16, 100, 5000))
                link.data_received(stream[position:end])
                read += len(stream[position:end])
                position = end
            assert len(link.outstanding) <= len(waiting)
        await asyncio.sleep(0)
        assert wire.written - before <= MOST_ANSWERED * (read + 16), "it answers more than it is asked"
        if link._reader.fault is not None:
            assert wire.closed
        link.connection_lost(None)
        assert all(result.done() for result in waiting)
        assert not link.outstanding

    async def feed_smsc(self, chance: random.Random) -> None:
        session, wire = SimulatedSession(self.simulator), Wire()
        session.connection_made(wire)
        system_id = chance.choice(("ghasi", "subscriber", f"client{chance.randrange(300)}"))
        if chance.random() < 0.9:
            session.data_received(
                pdu.encode(chance.choice((1, 2, 9)), 1, pdu.encode_bind(pdu.Bind(system_id=system_id)))
            )
        for _ in range(chance.randint(1, 3)):
            if not wire.closed:
                session.data_received(make_stream(chance, mostly=(4, 0x80000005)))
        await asyncio.sleep(0)
        session.connection_lost(None)
        behaviour = self.simulator.behaviour
        assert len(self.simulator.submissions) <= behaviour.most_kept
        assert len(self.simulator._due) <= behaviour.most_kept
        assert all(len(box.ready) <= behaviour.most_kept + 1000 for box in self.simulator._mailboxes.values())

    def _on_brought(self, words: Sequence[Receipt | InboundPart]) -> None:
        for word in words:
            check(word)
            self.brought += 1
            handle: Any = word.handle
            handle.link.acknowledge(handle.sequence, 0, handle.command)


def check(word: Receipt | InboundPart) -> None:
    """What was read must fit where it goes: UTF-8, no NUL in what is a column, and bounded."""
    if isinstance(word, Receipt):
        columns = (word.carrier_message_id, word.detail or "", word.error_code or "")
        assert 0 < len(word.carrier_message_id) <= 64
    else:
        columns = (word.sender, word.recipient)
        assert 1 <= word.part <= word.parts <= 255
        alphabet.decode(word.encoding, word.payload).encode()
    for column in columns:
        column.encode()
        assert "\0" not in column, column
        assert len(column) <= 200
