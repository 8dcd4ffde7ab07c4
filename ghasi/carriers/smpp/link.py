"""One socket to an SMSC from its bind to its end.

Owns the window of submits that wait for an answer, what was brought and waits for its own, and enquire_link; when
what is written is writer.py's. It never reconnects (line.py does) and never raises into the event loop for what a peer
sends.
"""

import asyncio
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast

import structlog

from ghasi.carriers.carrier import InboundPart, Outcome, Receipt, Segment, SubmitResult
from ghasi.carriers.smpp import pdu, statuses
from ghasi.carriers.smpp.addresses import UnusableAddressError
from ghasi.carriers.smpp.identifiers import LONGEST_ID, reader_of
from ghasi.carriers.smpp.inbound import UnreadableError
from ghasi.carriers.smpp.terms import Terms
from ghasi.carriers.smpp.writer import Writer

_log = structlog.get_logger("ghasi.carriers")

MOST_UNACKNOWLEDGED = 10_000
"""Receipts and messages handed on and not yet acknowledged; beyond, the SMSC is told to send again later."""
MOST_NOT_BOUND = 10
"""Submits in a row for which the SMSC says that the link is not bound; then it is bound anew."""

Result = asyncio.Future[SubmitResult]
Role = Literal["transceiver", "transmitter", "receiver"]
_BINDS: dict[Role, int] = {
    "transceiver": pdu.BIND_TRANSCEIVER,
    "transmitter": pdu.BIND_TRANSMITTER,
    "receiver": pdu.BIND_RECEIVER,
}
_BIND_RESPONSES = frozenset(command | pdu.RESPONSE for command in _BINDS.values())


class DeliveryHandle(NamedTuple):
    """Where a receipt or a phone's message is to be acknowledged."""

    link: "Link"
    sequence: int
    command: int


class Link(asyncio.Protocol):
    """A client's connection; `bound` and `closed` are futures that its line waits for."""

    def __init__(self, terms: Terms, role: Role = "transceiver") -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._terms = terms
        self._timing = terms.timing
        self._role: Role = role
        self._read_id = reader_of(terms.told.submit_id)
        self.bound: asyncio.Future[int] = loop.create_future()
        """The bind's status; a link that closes before leaves it cancelled."""
        self.closed: asyncio.Future[str] = loop.create_future()
        """Why the link closed."""
        self.peer_version: int | None = None
        """What the SMSC says it speaks (sc_interface_version), if it does."""
        self.outstanding: dict[int, tuple[Result, float]] = {}
        self.open = False
        """Bound, not closing; segments may be submitted unless it is a receiver."""
        self.useful = False
        """Whether a submit was accepted, or something came in."""
        self._writer = Writer(loop, terms.lease, self.abort)
        self._send = self._writer.send
        self._reader = pdu.FrameReader()
        self._sequence = 0
        self._unacknowledged: dict[int, int] = {}
        self._to_acknowledge = 0
        self._last_heard = loop.time()
        self._asked_at: float | None = None
        self._not_bound = 0
        self._late = 0
        self._why = "closed by the peer"
        self._ticker: asyncio.TimerHandle | None = None
        self._unbound: int | None = None
        """The sequence number of the peer's unbind, while it is not answered."""

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the bind and start the clock."""
        self._writer.transport = cast("asyncio.Transport", transport)
        self._last_heard = self._loop.time()
        self._send(pdu.encode(_BINDS[self._role], self._next_sequence(), self._terms.bind_body))
        self._tick()

    def data_received(self, data: bytes) -> None:
        """Handle every PDU that is complete, then hand on all that was brought at once."""
        frames = self._reader.feed(data)
        if frames:  # octets alone are no sign of life: behind a false length PDUs would be swallowed for ever
            self._last_heard = self._loop.time()
            self._asked_at = None
        receipts: list[Receipt] = []
        parts: list[InboundPart] = []
        for frame in frames:
            command = frame.command
            if command == pdu.SUBMIT_SM_RESP:
                self._answered(frame)
            elif command in {pdu.DELIVER_SM, pdu.DATA_SM}:
                self._delivered(frame, receipts, parts)
            else:
                self._handle_other(frame)
        if receipts:
            self._terms.on_receipts(receipts)
        if parts:
            self._terms.on_inbound(parts)
        if self._reader.fault is not None:
            self.abort(f"the peer does not speak SMPP: {self._reader.fault}")

    def eof_received(self) -> None:
        """Let the transport close: half an SMPP link is of no use."""

    def pause_writing(self) -> None:
        """Keep PDUs back until the socket has taken what it was given."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """Write what was kept back."""
        self._writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give every outstanding submit its result: UNSENT when it was not written, else UNANSWERED."""
        self.open = False
        if self._ticker is not None:
            self._ticker.cancel()
        self._tell_late()
        why = f"{self._why}: {exc}" if exc is not None else self._why
        unwritten = self._writer.close()
        self._unacknowledged.clear()
        outstanding, self.outstanding = self.outstanding, {}
        for sequence, (result, _) in outstanding.items():
            outcome = Outcome.UNSENT if sequence in unwritten else Outcome.UNANSWERED
            _settle(result, SubmitResult(outcome, detail=why))
        self.bound.cancel()
        self._terms.deliveries.begin_session()
        if not self.closed.done():
            self.closed.set_result(why)

    # What the carrier calls

    def submit(self, segment: Segment, due: float | None = None) -> Result:
        """Queue a segment for the next write, or for when it is due; the link is open and has room for it."""
        result: Result = self._loop.create_future()
        try:
            body = self._terms.submitter.encode(segment)
        except UnusableAddressError as error:
            result.set_result(SubmitResult(Outcome.REFUSED, None, error.error_code, str(error)))
            return result
        except pdu.PduError as error:
            result.set_result(SubmitResult(Outcome.REFUSED, None, "invalid_message", str(error)))
            return result
        sequence = self._next_sequence()
        now = self._loop.time()
        if due is not None and due <= now:
            due = None
        self.outstanding[sequence] = (result, (due or now) + self._timing.response_timeout_s)
        self._writer.submit(sequence, pdu.encode(pdu.SUBMIT_SM, sequence, body), due)
        return result

    def acknowledge(self, sequence: int, status: int, command: int = pdu.DELIVER_SM) -> None:
        """Answer a receipt or message; one of a link that has closed, or answered already, is passed over."""
        waiting = self._unacknowledged.pop(sequence, 0)
        if waiting > 1:  # a peer that numbers two alike
            self._unacknowledged[sequence] = waiting - 1
        if waiting:
            self._to_acknowledge -= 1
            self._answer_delivery(sequence, status, command)

    async def stop(self, patience_s: float | None = None) -> None:
        """Wait for outstanding answers, unbind, wait for that (unbind_timeout_s) and close.

        What is not written yet was never sent, and answers are waited for no longer than stop_timeout_s; with patience
        all that was submitted goes out when it is due, and is waited for so long.
        """
        was_open, self.open = self.open, False
        if patience_s is None:
            self._take_back("stopped")
        waiting = [result for result, _ in self.outstanding.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=patience_s or self._timing.stop_timeout_s)
        self._why = "stopped"
        if was_open and not self.closed.done():
            self._send(pdu.encode(pdu.UNBIND, self._next_sequence()))
            await asyncio.wait([self.closed], timeout=self._timing.unbind_timeout_s)
        self.abort("stopped")
        await asyncio.wait([self.closed], timeout=self._timing.unbind_timeout_s)

    def abort(self, why: str) -> None:
        """Drop the socket at once."""
        self.open = False
        transport = self._writer.transport
        if transport is not None and not self.closed.done():
            if not transport.is_closing():
                self._why = why
            transport.abort()

    # What a peer's PDUs do

    def _answered(self, frame: pdu.Frame) -> None:
        waiting = self.outstanding.pop(frame.sequence, None)
        if waiting is None:
            self._late += 1
            return
        if self._unbound is not None and not self.outstanding:
            self._loop.call_soon(self._answer_unbind)
        if frame.status == statuses.ESME_ROK:
            self._not_bound, self.useful = 0, True
            try:
                message_id = pdu.decode_message_id(frame.body)[:LONGEST_ID] or None
            except pdu.PduError:
                message_id = None
            if message_id is None:
                _log.warning("smpp_answer_without_message_id", carrier=self._terms.name)
            else:
                message_id = self._read_id(message_id)
            _settle(waiting[0], SubmitResult(Outcome.ACCEPTED, message_id))
            return
        _settle(waiting[0], self._terms.statuses.failed(frame.status))
        self._not_bound = self._not_bound + 1 if frame.status == statuses.ESME_RINVBNDSTS else 0
        if self._not_bound >= MOST_NOT_BOUND:
            self.abort("the SMSC says that the link is not bound")

    def _delivered(self, frame: pdu.Frame, receipts: list[Receipt], parts: list[InboundPart]) -> None:
        _, _, sequence, body = frame
        command = frame.command
        decode = pdu.decode_short_message if command == pdu.DELIVER_SM else pdu.decode_data
        try:
            message = decode(body, lenient=True)
            word = self._terms.deliveries.read(message, datetime.now(UTC), DeliveryHandle(self, sequence, command))
        except (pdu.PduError, UnreadableError) as error:
            # refused for good what can never be taken, or the SMSC would send it again for days; no text is logged
            _log.warning("smpp_delivery_refused", carrier=self._terms.name, why=str(error))
            self._answer_delivery(sequence, statuses.ESME_RX_P_APPN, command)
            return
        if self._to_acknowledge >= MOST_UNACKNOWLEDGED:
            self._answer_delivery(sequence, statuses.ESME_RX_T_APPN, command)
            return
        self._to_acknowledge += 1
        self.useful = True
        self._unacknowledged[sequence] = self._unacknowledged.get(sequence, 0) + 1
        if isinstance(word, Receipt):
            receipts.append(word)
        else:
            parts.append(word)

    def _answer_delivery(self, sequence: int, status: int, command: int = pdu.DELIVER_SM) -> None:
        self._send(pdu.encode(command | pdu.RESPONSE, sequence, b"\0", status))

    def _handle_other(self, frame: pdu.Frame) -> None:
        command, sequence = frame.command, frame.sequence
        if command == pdu.ENQUIRE_LINK:
            self._send(pdu.encode(pdu.ENQUIRE_LINK_RESP, sequence))
        elif command in _BIND_RESPONSES:
            self._bound(frame)
        elif command == pdu.GENERIC_NACK:
            if sequence in self.outstanding:
                self._answered(frame._replace(status=frame.status or statuses.ESME_RINVCMDID))
            elif not self.bound.done():
                self.bound.set_result(frame.status or statuses.ESME_RINVCMDID)
            else:
                _log.warning("smpp_generic_nack", carrier=self._terms.name, cause=statuses.status_name(frame.status))
        elif command == pdu.UNBIND:
            self._unbind(sequence)
        elif command == pdu.UNBIND_RESP:
            self._close()
        elif not command & pdu.RESPONSE and command not in {pdu.ALERT_NOTIFICATION, pdu.OUTBIND}:
            self._send(pdu.encode(pdu.GENERIC_NACK, sequence, status=statuses.ESME_RINVCMDID))

    def _unbind(self, sequence: int) -> None:
        """Submit nothing more; answer a peer's unbind once it has answered what it has, or after stop_timeout_s.

        Answered at once, a peer that unbinds each night would leave a whole window of submits in doubt each night.
        """
        self.open = False
        self._why = "unbound by the peer"
        self._take_back(self._why)
        first, self._unbound = self._unbound is None, sequence
        if not self.outstanding:
            self._answer_unbind()
        elif first:
            self._loop.call_later(self._timing.stop_timeout_s, self._answer_unbind)

    def _answer_unbind(self) -> None:
        if self._unbound is None or self.closed.done():
            return
        sequence, self._unbound = self._unbound, None
        self._send(pdu.encode(pdu.UNBIND_RESP, sequence))
        self._writer.flush()
        self._close()

    def _take_back(self, why: str) -> None:
        """Settle what was not written yet: it was never sent."""
        for sequence in self._writer.take_back():
            if (withdrawn := self.outstanding.pop(sequence, None)) is not None:
                _settle(withdrawn[0], SubmitResult(Outcome.UNSENT, detail=why))

    def _bound(self, frame: pdu.Frame) -> None:
        if self.bound.done():
            return
        self.open = frame.status == statuses.ESME_ROK
        try:
            version = pdu.decode_bind_response(frame.body, lenient=True).tlvs.get(pdu.SC_INTERFACE_VERSION)
        except pdu.PduError:  # of a response the status is enough
            version = None
        self.peer_version = version[0] if version else None
        self.bound.set_result(frame.status)

    # Time

    def _next_sequence(self) -> int:
        sequence = self._sequence % pdu.LAST_SEQUENCE + 1
        while sequence in self.outstanding:  # after 2,147,483,647 the numbers begin anew
            sequence = sequence % pdu.LAST_SEQUENCE + 1
        self._sequence = sequence
        return sequence

    def _close(self) -> None:
        """Close once all is written, or without that when the peer takes nothing."""
        self.open = False
        transport = self._writer.transport
        if transport is not None:
            transport.close()
            self._loop.call_later(self._timing.unbind_timeout_s, transport.abort)

    def _tick(self) -> None:
        """Time out submits, ask a silent peer whether it lives, and drop a link that is stuck."""
        timing, now = self._timing, self._loop.time()
        self._ticker = self._loop.call_later(
            min(1.0, timing.response_timeout_s / 10, timing.enquire_after_s / 5), self._tick
        )
        paused_since = self._writer.paused_since
        if paused_since is not None and now - paused_since > timing.response_timeout_s:
            self.abort("the socket took nothing in time")
            return
        if self._asked_at is not None:
            if now - self._asked_at > timing.response_timeout_s:
                self.abort("enquire_link was not answered")
                return
        elif self.open and now - self._last_heard >= timing.enquire_after_s:
            self._asked_at = now
            self._send(pdu.encode(pdu.ENQUIRE_LINK, self._next_sequence()))
        self._time_out_submits(now)
        self._tell_late()

    def _tell_late(self) -> None:
        if self._late:
            _log.warning("smpp_late_answers", carrier=self._terms.name, count=self._late)
            self._late = 0

    def _time_out_submits(self, now: float) -> None:
        expired = []
        for sequence, (_, deadline) in self.outstanding.items():  # in order of their deadlines
            if deadline > now:
                break
            expired.append(sequence)
        for sequence in expired:
            result, _ = self.outstanding.pop(sequence)
            _settle(result, SubmitResult(Outcome.UNANSWERED, detail="no answer in time"))
        if expired:
            _log.warning("smpp_submits_unanswered", carrier=self._terms.name, count=len(expired))


def _settle(result: Result, value: SubmitResult) -> None:
    if not result.done():  # whoever waited may have given up
        result.set_result(value)
