"""A simulated SMSC: SMPP 3.4 on a real socket, with outcomes chosen by the number's last four digits, or by chance.

0001 is undelivered, 0002 expired, 0003 refused at submission, 0004 throttled twice and then delivered, 0005 has its
receipt after 30 s, 0006 none; every other number is delivered, unless the behaviour says otherwise. A client that is
bound as the subscriber is a phone: what it sends goes to all other clients. Owns receipts and such messages until they
are acknowledged, in memory and bounded; delivers nothing to any real phone and stores nothing.
"""

import asyncio
import hmac
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

import structlog
from msgspec import structs

from ghasi.carriers.simulated_behaviour import REFUSED, THROTTLED, TIMES_THROTTLED, Behaviour, Chances
from ghasi.carriers.simulated_receipts import encode_receipt, write_id, write_receipted_id
from ghasi.carriers.simulated_session import Delivery, Mailbox, SimulatedSession
from ghasi.carriers.smpp import pdu, statuses
from ghasi.carriers.smpp.pdu import ShortMessage

_log = structlog.get_logger("ghasi.carriers")

_TICK_S = 0.01
_REGISTERED_DELIVERY = 0x03
_ESME_RDELIVERYFAILURE = 0xFE


class Fate(NamedTuple):
    """What becomes of a submit's answer: it leaves after some time, never (None), or the link is dropped instead."""

    answer_after_s: float | None
    drops_link: bool


class Simulator:
    """The SMSC of all its sessions; `submissions` counts accepted submits by (destination, short_message)."""

    def __init__(
        self, behaviour: Behaviour | None = None, on_submit: Callable[[ShortMessage], None] | None = None
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.submissions: dict[tuple[str, bytes], int] = {}
        self.received = 0
        self.accepted = 0
        self.refused: Counter[int] = Counter()
        """Submits by the command_status that refused them."""
        self.lost = 0
        """Submits that were never answered."""
        self.receipts_acknowledged = 0
        self.receipts_dropped = 0
        self.phone_messages = 0
        """What phones sent, each counted once however many clients have it."""
        self.phone_messages_acknowledged = 0
        self.sessions: set[SimulatedSession] = set()
        self.port = 0
        self._on_submit = on_submit
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._mailboxes: dict[str, Mailbox] = {}
        self._throttled: dict[tuple[str, str, int, bytes], int] = {}
        self._due: list[tuple[float, int, Mailbox, Delivery]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        # a restarted simulator must not give an id again, as receipts are matched by it; each takes longer than 1 ns
        self._ids = time.time_ns()
        self._chances = Chances(self.behaviour.seed)

    @property
    def duplicates(self) -> int:
        """How many accepted submits repeated an earlier one's destination and short_message."""
        return self.accepted - len(self.submissions)

    @property
    def receipts_pending(self) -> int:
        """Receipts, and what phones sent, that are not due yet, wait for a link or for their acknowledgement."""
        return len(self._due) + sum(len(box.ready) + box.count_sent() for box in self._mailboxes.values())

    @property
    def outstanding(self) -> int:
        """Submits whose answer is due later."""
        return sum(session.unanswered for session in self.sessions)

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on an address, or on a socket that is bound already; raises OSError."""
        make = lambda: SimulatedSession(self)  # noqa: E731 - a protocol factory
        if sock is not None:
            self._server = await self._loop.create_server(make, sock=sock, ssl=tls)
        else:
            self._server = await self._loop.create_server(make, host, port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        _log.info("simulator_listening", port=self.port)

    async def close(self) -> None:
        """Stop listening and drop every link; receipts are forgotten."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        self.drop_links()
        while self.sessions:
            await asyncio.sleep(0)

    def drop_links(self) -> None:
        """Break every link without a word, as a failing network does."""
        for session in list(self.sessions):
            session.abort()

    # What sessions call

    def admit(self, bind: pdu.Bind) -> Mailbox | int:
        """Return the mailbox of a system id, or the status that refuses the bind."""
        behaviour = self.behaviour
        if behaviour.system_id is not None and bind.system_id not in (
            behaviour.system_id,
            behaviour.subscriber_system_id,
        ):
            return statuses.ESME_RINVSYSID
        if behaviour.password is not None and not hmac.compare_digest(
            bind.password.encode(), behaviour.password.encode()
        ):
            return statuses.ESME_RINVPASWD
        mailbox = self._mailboxes.get(bind.system_id)
        if mailbox is None:
            if len(self._mailboxes) >= behaviour.most_clients:
                return statuses.ESME_RBINDFAIL
            mailbox = self._mailboxes[bind.system_id] = Mailbox(bind.system_id)
        return mailbox

    def take(self, mailbox: Mailbox, message: ShortMessage) -> tuple[int, str]:
        """Decide on a submit: its status, and the message id when it was taken."""
        self.received += 1
        behaviour, destination = self.behaviour, message.destination.value
        ending = "" if behaviour.ignore_endings else destination[-4:]
        if not destination.isdigit() or ending == REFUSED:
            return self.refuse(statuses.ESME_RINVDSTADR), ""
        if ending == THROTTLED and self._throttles(message):
            return self.refuse(statuses.ESME_RTHROTTLED), ""
        if self._chances.over_rate(behaviour, self._loop.time()):
            return self.refuse(statuses.ESME_RTHROTTLED), ""
        refused = self._chances.refusal(behaviour)
        if refused:
            return self.refuse(refused), ""
        self._ids += 1
        message_id = write_id(self._ids, behaviour.receipt_ids)
        self._remember(message)
        self._schedule_receipts(mailbox, message, message_id, ending)
        return statuses.ESME_ROK, message_id

    def take_from_phone(self, message: ShortMessage) -> tuple[int, str]:
        """Deliver what a phone submits to every system id that ever received anything, as it is."""
        receivers = [
            mailbox
            for mailbox in self._mailboxes.values()
            if mailbox.receives and mailbox.system_id != self.behaviour.subscriber_system_id
        ]
        if not receivers:
            return _ESME_RDELIVERYFAILURE, ""
        # times, and what is asked of the SMSC, have no meaning in a deliver_sm (SMPP 3.4, 4.6.1)
        body = pdu.encode_short_message(
            structs.replace(
                message, schedule_delivery_time="", validity_period="", registered_delivery=0, replace_if_present=0
            )
        )
        self.phone_messages += 1
        for mailbox in receivers:
            self._make_ready(mailbox, Delivery(body, from_phone=True))
            mailbox.pump()
        self._ids += 1
        return statuses.ESME_ROK, f"{self._ids:x}"

    def refuse(self, status: int) -> int:
        """Count a refusal; return its status."""
        self.refused[status] += 1
        return status

    def window_full(self, unanswered: int) -> bool:
        """Tell whether a link with so many submits unanswered may not have one more."""
        window = self.behaviour.window
        if unanswered < (self.behaviour.most_kept if window is None else window):
            return False
        self.received += 1
        return True

    def fate(self) -> Fate:
        """Draw what becomes of the answer to the submit that was received last."""
        every = self.behaviour.disconnect_every
        drops_link = every is not None and self.received % every == 0
        answer_after_s = None if drops_link else self._chances.answer_after_s(self.behaviour)
        self.lost += answer_after_s is None
        return Fate(answer_after_s, drops_link)

    def count_acknowledged(self, delivery: Delivery, *, accepted: bool) -> None:
        """Count a delivery that the client took."""
        if delivery.from_phone:
            self.phone_messages_acknowledged += accepted
        else:
            self.receipts_acknowledged += accepted

    def put_off(self, mailbox: Mailbox, delivery: Delivery, delay_s: float) -> None:
        """Have a receipt or message sent after a delay."""
        if len(self._due) >= self.behaviour.most_kept:
            self.receipts_dropped += 1
            return
        self._ids += 1
        heappush(self._due, (self._loop.time() + delay_s, self._ids, mailbox, delivery))
        self._wake()

    def _throttles(self, message: ShortMessage) -> bool:
        """Count a submit's attempts: each is refused twice, then taken, and a later one like it starts anew."""
        key = (message.source.value, message.destination.value, message.esm_class, message.short_message)
        times = self._throttled.pop(key, 0)
        if times >= TIMES_THROTTLED:
            return False
        if len(self._throttled) >= self.behaviour.most_kept:
            del self._throttled[next(iter(self._throttled))]
        self._throttled[key] = times + 1
        return True

    def _remember(self, message: ShortMessage) -> None:
        self.accepted += 1
        key = (message.destination.value, message.short_message)
        submissions = self.submissions
        submissions[key] = submissions.get(key, 0) + 1
        if len(submissions) > self.behaviour.most_kept:
            self.accepted -= submissions.pop(next(iter(submissions)))
        if self._on_submit is not None:
            self._on_submit(message)

    def _schedule_receipts(self, mailbox: Mailbox, message: ShortMessage, message_id: str, ending: str) -> None:
        behaviour, now = self.behaviour, time.time()
        wanted = message.registered_delivery & _REGISTERED_DELIVERY
        for state, delay_s in self._chances.plan_receipts(behaviour, ending, wanted):
            receipted_id = write_receipted_id(message_id, behaviour.receipt_ids)
            body = encode_receipt(message, receipted_id, state, now, delay_s, style=behaviour.receipts)
            self.put_off(mailbox, Delivery(body, from_phone=False), delay_s)

    def _make_ready(self, mailbox: Mailbox, delivery: Delivery) -> None:
        if len(mailbox.ready) >= self.behaviour.most_kept:
            mailbox.ready.popleft()
            self.receipts_dropped += 1
        mailbox.ready.append(delivery)

    # Time

    def _wake(self) -> None:
        """Set the one timer: receipts that fall due within a tick go together."""
        if not self._due:
            return
        first = self._due[0][0]
        if self._timer is not None:
            if first >= self._wakes_at - _TICK_S:
                return
            self._timer.cancel()
        self._wakes_at = first + _TICK_S
        self._timer = self._loop.call_at(self._wakes_at, self._send_due)

    def _send_due(self) -> None:
        self._timer = None
        now, due = self._loop.time(), self._due
        woken: dict[int, Mailbox] = {}
        while due and due[0][0] <= now:
            _, _, mailbox, delivery = heappop(due)
            self._make_ready(mailbox, delivery)
            woken[id(mailbox)] = mailbox
        for mailbox in woken.values():
            mailbox.pump()
        self._wake()


async def serve_simulator(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    sock: socket.socket | None = None,
    tls: ssl.SSLContext | None = None,
    behaviour: Behaviour | None = None,
    on_submit: Callable[[ShortMessage], None] | None = None,
) -> Simulator:
    """Start a simulated SMSC on an address or a socket bound already; `port` of what is returned is the real one.

    It serves until `close()`; raises OSError when the address is taken.
    """
    simulator = Simulator(behaviour, on_submit)
    await simulator.serve(host, port, sock=sock, tls=tls)
    return simulator
