"""One socket to an SMSC from its bind to its end.

Owns the window of submits that wait for an answer, the receipts that wait for theirs, enquire_link and the batching
of writes. It never reconnects (client.py does) and never raises into the event loop for what a peer sends.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog

from ghasi.carriers.carrier import Outcome, Receipt, ReceiptSink, Segment, SubmitResult
from ghasi.carriers.smpp import pdu, statuses
from ghasi.carriers.smpp.configuration import SmppConfiguration, Timing
from ghasi.carriers.smpp.receipts import LONGEST_ID, is_receipt, read_receipt
from ghasi.carriers.smpp.submit import UnusableAddressError, encode_submit

_log = structlog.get_logger("ghasi.carriers")

MOST_UNACKNOWLEDGED = 10_000
"""Receipts handed on and not yet acknowledged; beyond, the SMSC is told to send again later."""

Result = asyncio.Future[SubmitResult]


@dataclass(frozen=True, slots=True)
class ReceiptHandle:
    """Where a receipt is to be acknowledged."""

    link: "Link"
    sequence: int


class Link(asyncio.Protocol):
    """A client's connection; `bound` and `closed` are futures that its carrier waits for."""

    def __init__(self, configuration: SmppConfiguration, timing: Timing, on_receipts: ReceiptSink) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._configuration = configuration
        self._timing = timing
        self._on_receipts = on_receipts
        self.bound: asyncio.Future[int] = loop.create_future()
        """The bind's status; a link that closes before leaves it cancelled."""
        self.closed: asyncio.Future[str] = loop.create_future()
        """Why the link closed."""
        self.outstanding: dict[int, tuple[Result, float]] = {}
        self.open = False
        """Bound, not closing: segments may be submitted."""
        self._transport: asyncio.Transport | None = None
        self._reader = pdu.FrameReader()
        self._sequence = 0
        self._queue: list[bytes] = []
        self._unwritten: list[int] = []
        self._flush_scheduled = False
        self._paused_since: float | None = None
        self._unacknowledged: set[int] = set()
        self._last_heard = loop.time()
        self._asked_at: float | None = None
        self._why = "closed by the peer"
        self._ticker: asyncio.TimerHandle | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the bind and start the clock."""
        self._transport = cast("asyncio.Transport", transport)
        self._last_heard = self._loop.time()
        told = self._configuration
        body = pdu.encode_bind(pdu.Bind(system_id=told.system_id, password=told.password, system_type=told.system_type))
        self._send(pdu.encode(pdu.BIND_TRANSCEIVER, self._next_sequence(), body))
        self._tick()

    def data_received(self, data: bytes) -> None:
        """Handle every PDU that is complete, then hand on all receipts among them at once."""
        self._last_heard = self._loop.time()
        self._asked_at = None
        receipts: list[Receipt] = []
        for frame in self._reader.feed(data):
            command = frame.command
            if command == pdu.SUBMIT_SM_RESP:
                self._answered(frame)
            elif command == pdu.DELIVER_SM:
                self._delivered(frame, receipts)
            else:
                self._handle_other(frame)
        if receipts:
            self._on_receipts(receipts)
        if self._reader.fault is not None:
            self.abort(f"the peer does not speak SMPP: {self._reader.fault}")

    def eof_received(self) -> None:
        """Let the transport close: half an SMPP link is of no use."""

    def pause_writing(self) -> None:
        """Keep PDUs back until the socket has taken what it was given."""
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Write what was kept back."""
        self._paused_since = None
        if self._queue:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give every outstanding submit its result: UNSENT when it was not written, else UNANSWERED."""
        self.open = False
        if self._ticker is not None:
            self._ticker.cancel()
        why = f"{self._why}: {exc}" if exc is not None else self._why
        unwritten = set(self._unwritten)
        self._unwritten.clear()
        self._queue.clear()
        self._unacknowledged.clear()
        outstanding, self.outstanding = self.outstanding, {}
        for sequence, (result, _) in outstanding.items():
            outcome = Outcome.UNSENT if sequence in unwritten else Outcome.UNANSWERED
            _settle(result, SubmitResult(outcome, detail=why))
        self.bound.cancel()
        if not self.closed.done():
            self.closed.set_result(why)

    # What the carrier calls

    def submit(self, segment: Segment) -> Result:
        """Queue a segment for the next write; the caller has seen that the link is open and has room."""
        result: Result = self._loop.create_future()
        try:
            body = encode_submit(segment, self._configuration.default_sender)
        except UnusableAddressError as error:
            result.set_result(SubmitResult(Outcome.REFUSED, None, error.error_code, str(error)))
            return result
        except pdu.PduError as error:
            result.set_result(SubmitResult(Outcome.REFUSED, None, "invalid_message", str(error)))
            return result
        sequence = self._next_sequence()
        self.outstanding[sequence] = (result, self._loop.time() + self._timing.response_timeout_s)
        self._unwritten.append(sequence)
        self._send(pdu.encode(pdu.SUBMIT_SM, sequence, body))
        return result

    def acknowledge(self, sequence: int, status: int) -> None:
        """Answer a receipt; one of a link that has closed, or that was answered already, is passed over."""
        if sequence in self._unacknowledged:
            self._unacknowledged.remove(sequence)
            self._answer_delivery(sequence, status)

    async def stop(self) -> None:
        """Wait for outstanding answers (stop_timeout_s), unbind, wait for that (unbind_timeout_s) and close."""
        was_open, self.open = self.open, False
        waiting = [result for result, _ in self.outstanding.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self._timing.stop_timeout_s)
        self._why = "stopped"
        if was_open and not self.closed.done():
            self._send(pdu.encode(pdu.UNBIND, self._next_sequence()))
            await asyncio.wait([self.closed], timeout=self._timing.unbind_timeout_s)
        self.abort("stopped")
        await asyncio.wait([self.closed], timeout=self._timing.unbind_timeout_s)

    def abort(self, why: str) -> None:
        """Drop the socket at once."""
        self.open = False
        if self._transport is not None and not self.closed.done():
            if not self._transport.is_closing():
                self._why = why
            self._transport.abort()

    # What a peer's PDUs do

    def _answered(self, frame: pdu.Frame) -> None:
        waiting = self.outstanding.pop(frame.sequence, None)
        if waiting is None:
            _log.warning("smpp_late_answer", carrier=self._configuration.name, status=frame.status)
            return
        if frame.status != statuses.ESME_ROK:
            _settle(waiting[0], statuses.failed_submit(frame.status))
        else:
            try:
                message_id = pdu.decode_message_id(frame.body)[:LONGEST_ID] or None
            except pdu.PduError:
                message_id = None
            if message_id is None:
                _log.warning("smpp_answer_without_message_id", carrier=self._configuration.name)
            _settle(waiting[0], SubmitResult(Outcome.ACCEPTED, message_id))

    def _delivered(self, frame: pdu.Frame, receipts: list[Receipt]) -> None:
        try:
            message = pdu.decode_short_message(frame.body)
        except pdu.PduError as error:
            self._refuse_delivery(frame.sequence, str(error))
            return
        if not is_receipt(message):
            self._refuse_delivery(frame.sequence, "it is a mobile-originated message, and these are not taken")
            return
        read = read_receipt(message, datetime.now(UTC))
        if read is None:
            self._refuse_delivery(frame.sequence, "the receipt names no message")
            return
        if len(self._unacknowledged) >= MOST_UNACKNOWLEDGED:
            self._answer_delivery(frame.sequence, statuses.ESME_RX_T_APPN)
            return
        self._unacknowledged.add(frame.sequence)
        receipts.append(
            Receipt(
                self._configuration.name,
                read.carrier_message_id,
                read.state,
                read.at,
                read.error_code,
                read.detail,
                ReceiptHandle(self, frame.sequence),
            )
        )

    def _refuse_delivery(self, sequence: int, why: str) -> None:
        """Refuse for good what can never be taken, or the SMSC would send it again for days; no text is logged."""
        _log.warning("smpp_delivery_refused", carrier=self._configuration.name, why=why)
        self._answer_delivery(sequence, statuses.ESME_RX_P_APPN)

    def _answer_delivery(self, sequence: int, status: int) -> None:
        self._send(pdu.encode(pdu.DELIVER_SM_RESP, sequence, b"\0", status))

    def _handle_other(self, frame: pdu.Frame) -> None:
        command, sequence = frame.command, frame.sequence
        if command == pdu.ENQUIRE_LINK:
            self._send(pdu.encode(pdu.ENQUIRE_LINK_RESP, sequence))
        elif command == pdu.BIND_TRANSCEIVER_RESP:
            if not self.bound.done():
                self.open = frame.status == statuses.ESME_ROK
                self.bound.set_result(frame.status)
        elif command == pdu.GENERIC_NACK:
            if sequence in self.outstanding:
                self._answered(frame._replace(status=frame.status or statuses.ESME_RINVCMDID))
            elif not self.bound.done():
                self.bound.set_result(frame.status or statuses.ESME_RINVCMDID)
            else:
                _log.warning(
                    "smpp_generic_nack", carrier=self._configuration.name, cause=statuses.status_name(frame.status)
                )
        elif command == pdu.UNBIND:
            self._why = "unbound by the peer"
            self._send(pdu.encode(pdu.UNBIND_RESP, sequence))
            self._flush()
            self._close()
        elif command == pdu.UNBIND_RESP:
            self._close()
        elif not command & pdu.RESPONSE and command != pdu.ALERT_NOTIFICATION:
            self._send(pdu.encode(pdu.GENERIC_NACK, sequence, status=statuses.ESME_RINVCMDID))

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
        if self._paused_since is not None or self._transport is None or self._transport.is_closing():
            return
        if self._queue:
            data = b"".join(self._queue)
            self._queue.clear()
            self._unwritten.clear()
            self._transport.write(data)

    def _close(self) -> None:
        """Close once all is written, or without that when the peer takes nothing."""
        self.open = False
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(self._timing.unbind_timeout_s, self._transport.abort)

    def _tick(self) -> None:
        """Time out submits, ask a silent peer whether it lives, and drop a link that is stuck."""
        timing, now = self._timing, self._loop.time()
        self._ticker = self._loop.call_later(
            min(1.0, timing.response_timeout_s / 10, timing.enquire_after_s / 5), self._tick
        )
        if self._paused_since is not None and now - self._paused_since > timing.response_timeout_s:
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
            _log.warning("smpp_submits_unanswered", carrier=self._configuration.name, count=len(expired))


def _settle(result: Result, value: SubmitResult) -> None:
    if not result.done():  # whoever waited may have given up
        result.set_result(value)
