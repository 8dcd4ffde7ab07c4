"""One client's link to the simulated SMSC, and the mailbox of receipts and messages that outlives it.

Owns the SMPP 3.4 session of the SMSC's side: binding, answering, and sending receipts with a window until they are
acknowledged. What a submit leads to is simulator.py's.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from ghasi.carriers.smpp import pdu, statuses

if TYPE_CHECKING:
    from ghasi.carriers.simulator import Simulator

_SENDS = frozenset({pdu.BIND_TRANSCEIVER, pdu.BIND_TRANSMITTER})
_RECEIVES = frozenset({pdu.BIND_TRANSCEIVER, pdu.BIND_RECEIVER})
_BINDS = _SENDS | _RECEIVES
_TEMPORARY = frozenset(
    {statuses.ESME_RX_T_APPN, statuses.ESME_RMSGQFUL, statuses.ESME_RTHROTTLED, statuses.ESME_RSYSERR}
)
_SYSTEM_ID = "ghasi-sim"


class Delivery(NamedTuple):
    """The body of a deliver_sm: a receipt, or what a phone sent."""

    body: bytes
    from_phone: bool


class Mailbox:
    """What is due to a system id, and its links that can take it."""

    __slots__ = ("ready", "receivers", "receives", "system_id")

    def __init__(self, system_id: str) -> None:
        self.system_id = system_id
        self.ready: deque[Delivery] = deque()
        self.receivers: list[SimulatedSession] = []
        self.receives = False
        """Whether it ever had a link that takes anything."""

    def pump(self) -> None:
        """Send as much as the links' windows allow."""
        for session in self.receivers:
            while self.ready and session.room > 0:
                session.deliver(self.ready.popleft())

    def count_sent(self) -> int:
        """Return how many deliveries wait for their acknowledgement."""
        return sum(len(session.sent) for session in self.receivers)


class SimulatedSession(asyncio.Protocol):
    """The SMSC's side of one connection.

    `sent` has the deliveries that wait for their acknowledgement, oldest first; `unanswered` counts the submits whose
    answer is due later.
    """

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = pdu.FrameReader()
        self._mailbox: Mailbox | None = None
        self._may_send = False
        self._sequence = 0
        self._queue: list[bytes] = []
        self._flush_scheduled = False
        self._paused = False
        self._aborted = False
        self._ticker: asyncio.TimerHandle | None = None
        self.sent: dict[int, tuple[Delivery, float]] = {}
        self.unanswered = 0

    @property
    def system_id(self) -> str | None:
        """Who is bound, None for nobody yet."""
        return None if self._mailbox is None else self._mailbox.system_id

    @property
    def room(self) -> int:
        """How many deliveries may be sent now: none while the socket takes nothing."""
        return 0 if self._paused else self._simulator.behaviour.receipt_window - len(self.sent)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the bind."""
        self._transport = cast("asyncio.Transport", transport)
        self._simulator.sessions.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer every PDU that is complete; a stream that can't be followed is closed."""
        for frame in self._reader.feed(data):
            try:
                self._handle(frame)
            except pdu.PduError:
                # a body that can't be read has no response of its own: 4.3 of the specification
                self._send(pdu.encode(pdu.GENERIC_NACK, frame.sequence, status=statuses.ESME_RINVCMDLEN))
            if self._aborted:
                return
        if self._reader.fault is not None:
            self._send(pdu.encode(pdu.GENERIC_NACK, 0, status=statuses.ESME_RINVCMDLEN))
            self._close()

    def pause_writing(self) -> None:
        """Keep PDUs back until the socket has taken what it was given."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write what was kept back, and the receipts that waited."""
        self._paused = False
        self._flush()
        if self._mailbox is not None:
            self._mailbox.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Put receipts that were not acknowledged back, for the next link of the same system id."""
        del exc
        self._simulator.sessions.discard(self)
        if self._ticker is not None:
            self._ticker.cancel()
        mailbox = self._mailbox
        if mailbox is None or self not in mailbox.receivers:
            return
        mailbox.receivers.remove(self)
        mailbox.ready.extendleft(delivery for delivery, _ in reversed(self.sent.values()))
        self.sent.clear()
        mailbox.pump()

    # What the simulator calls

    def deliver(self, delivery: Delivery) -> None:
        """Send a receipt or a message and keep it until it is acknowledged."""
        self.sent[self._next_sequence()] = (delivery, self._loop.time() + self._simulator.behaviour.redelivery_s)
        self._send(pdu.encode(pdu.DELIVER_SM, self._sequence, delivery.body))

    def unbind(self) -> None:
        """Ask the client to leave, and close once it has answered or a second is over."""
        self._send(pdu.encode(pdu.UNBIND, self._next_sequence()))
        self._flush()
        self._loop.call_later(1.0, self.abort)

    def abort(self) -> None:
        """Drop the socket at once."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    # What a client's PDUs do

    def _handle(self, frame: pdu.Frame) -> None:
        command, sequence = frame.command, frame.sequence
        if command == pdu.SUBMIT_SM:
            self._submitted(frame)
        elif command == pdu.DELIVER_SM_RESP:
            self._acknowledged(frame)
        elif command in _BINDS:
            self._bind(frame)
        elif command == pdu.ENQUIRE_LINK:
            self._send(pdu.encode(pdu.ENQUIRE_LINK_RESP, sequence))
        elif command == pdu.UNBIND:
            self._send(pdu.encode(pdu.UNBIND_RESP, sequence))
            self._close()
        elif command == pdu.UNBIND_RESP:
            self._close()
        elif not command & pdu.RESPONSE:
            self._send(pdu.encode(pdu.GENERIC_NACK, sequence, status=statuses.ESME_RINVCMDID))

    def _bind(self, frame: pdu.Frame) -> None:
        response = frame.command | pdu.RESPONSE
        bind = pdu.decode_bind(frame.body)
        admitted = statuses.ESME_RALYBND if self._mailbox is not None else self._simulator.admit(bind)
        if not isinstance(admitted, Mailbox):
            self._send(pdu.encode(response, frame.sequence, status=admitted))
            if self._mailbox is None:
                self._close()
            return
        self._mailbox = admitted
        self._may_send = frame.command in _SENDS
        body = pdu.encode_bind_response(pdu.BindResponse(system_id=_SYSTEM_ID))
        self._send(pdu.encode(response, frame.sequence, body))
        if frame.command in _RECEIVES:
            admitted.receives = True
            admitted.receivers.append(self)
            admitted.pump()
            self._tick()

    def _submitted(self, frame: pdu.Frame) -> None:
        simulator, mailbox = self._simulator, self._mailbox
        if mailbox is None or not self._may_send:
            self._send(pdu.encode(pdu.SUBMIT_SM_RESP, frame.sequence, status=statuses.ESME_RINVBNDSTS))
            return
        behaviour = simulator.behaviour
        if mailbox.system_id == behaviour.subscriber_system_id:
            status, message_id = simulator.take_from_phone(pdu.decode_short_message(frame.body))
            self._answer(frame.sequence, status, message_id)
        elif behaviour.steady:
            status, message_id = simulator.take(mailbox, pdu.decode_short_message(frame.body))
            self._answer(frame.sequence, status, message_id)
        else:
            self._submitted_in_hard_times(frame, mailbox)

    def _submitted_in_hard_times(self, frame: pdu.Frame, mailbox: Mailbox) -> None:
        """Answer a submit late, never, or with the end of the link, as the behaviour has it."""
        simulator = self._simulator
        message = pdu.decode_short_message(frame.body)
        if simulator.window_full(self.unanswered):
            status, message_id = simulator.refuse(statuses.ESME_RMSGQFUL), ""
        else:
            status, message_id = simulator.take(mailbox, message)
        fate = simulator.fate()
        if fate.drops_link:
            self._flush()  # the answers to those before it
            self.abort()
        elif fate.answer_after_s == 0 and simulator.behaviour.window is None:
            self._answer(frame.sequence, status, message_id)
        elif fate.answer_after_s is not None:
            self.unanswered += 1
            self._loop.call_later(fate.answer_after_s, self._answer_late, frame.sequence, status, message_id)

    def _answer_late(self, sequence: int, status: int, message_id: str) -> None:
        self.unanswered -= 1
        if not self._aborted:
            self._answer(sequence, status, message_id)

    def _answer(self, sequence: int, status: int, message_id: str) -> None:
        body = b"" if status else message_id.encode() + b"\0"
        self._send(pdu.encode(pdu.SUBMIT_SM_RESP, sequence, body, status))

    def _acknowledged(self, frame: pdu.Frame) -> None:
        waiting = self.sent.pop(frame.sequence, None)
        if waiting is None or self._mailbox is None:
            return
        simulator, delivery = self._simulator, waiting[0]
        if frame.status in _TEMPORARY:
            simulator.put_off(self._mailbox, delivery, simulator.behaviour.retry_s)
        else:
            simulator.count_acknowledged(delivery, accepted=frame.status == statuses.ESME_ROK)
        if self._mailbox.ready:
            self._mailbox.pump()

    # Writing and time

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % pdu.LAST_SEQUENCE + 1
        return self._sequence

    def _send(self, data: bytes) -> None:
        self._queue.append(data)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write all PDUs of this turn of the loop at once."""
        self._flush_scheduled = False
        if self._queue and not self._paused and self._transport is not None and not self._transport.is_closing():
            data = b"".join(self._queue)
            self._queue.clear()
            self._transport.write(data)

    def _close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(1.0, self._transport.abort)

    def _tick(self) -> None:
        """Send again, on the same link, what was not acknowledged in time."""
        behaviour, now = self._simulator.behaviour, self._loop.time()
        self._ticker = self._loop.call_later(min(1.0, behaviour.redelivery_s / 4), self._tick)
        late = []
        for sequence, (_, deadline) in self.sent.items():
            if deadline > now:
                break
            late.append(sequence)
        for sequence in late:
            self.deliver(self.sent.pop(sequence)[0])
