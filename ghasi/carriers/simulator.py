"""A simulated SMSC: SMPP 3.4 on a real socket, with outcomes chosen by the number's last four digits.

0001 is undelivered, 0002 expired, 0003 refused at submission, 0004 throttled twice and then delivered, 0005 has its
receipt after 30 s, 0006 none; every other number is delivered. Owns receipts until they are acknowledged, in memory
and bounded; delivers nothing to anybody and stores nothing.
"""

import asyncio
import hmac
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import structlog

from ghasi.carriers.simulated_session import Mailbox, SimulatedSession, encode_receipt
from ghasi.carriers.smpp import pdu, statuses
from ghasi.carriers.smpp.pdu import ShortMessage

_log = structlog.get_logger("ghasi.carriers")

UNDELIVERED, EXPIRED, REFUSED, THROTTLED, LATE, SILENT = "0001", "0002", "0003", "0004", "0005", "0006"
TIMES_THROTTLED = 2
_DELIVERED = 2
_FINAL_STATES = {UNDELIVERED: 5, EXPIRED: 3}
_TICK_S = 0.01
_REGISTERED_DELIVERY = 0x03
_ON_FAILURE_ONLY = 2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated SMSC behaves; times in seconds."""

    receipt_delay_s: float = 0.1
    late_receipt_delay_s: float = 30.0
    redelivery_s: float = 10.0
    """After which a receipt that isn't acknowledged is sent again."""
    retry_s: float = 1.0
    """After which a receipt that the client put off (ESME_RX_T_APPN) is sent again."""
    receipt_window: int = 500
    """Receipts that may wait for their acknowledgement on a link at once."""
    most_kept: int = 200_000
    """Receipts, submissions and throttled submits remembered; beyond, the oldest are forgotten."""
    most_clients: int = 1_000
    """System ids remembered."""
    system_id: str | None = None
    password: str | None = None
    """Enforced where given; else any are taken."""


class Simulator:
    """The SMSC of all its sessions; `submissions` counts accepted submits by (destination, short_message)."""

    def __init__(
        self, behaviour: Behaviour | None = None, on_submit: Callable[[ShortMessage], None] | None = None
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.submissions: dict[tuple[str, bytes], int] = {}
        self.accepted = 0
        self.receipts_acknowledged = 0
        self.receipts_dropped = 0
        self.sessions: set[SimulatedSession] = set()
        self.port = 0
        self._on_submit = on_submit
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._mailboxes: dict[str, Mailbox] = {}
        self._throttled: dict[tuple[str, str, int, bytes], int] = {}
        self._due: list[tuple[float, int, Mailbox, bytes]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        # a restarted simulator must not give an id again: receipts are matched by it
        self._ids = time.time_ns() // 1_000 << 20

    @property
    def duplicates(self) -> int:
        """How many accepted submits repeated an earlier one's destination and short_message."""
        return self.accepted - len(self.submissions)

    @property
    def receipts_pending(self) -> int:
        """Receipts that are not due yet, wait for a link, or for their acknowledgement."""
        return len(self._due) + sum(len(box.ready) + box.count_sent() for box in self._mailboxes.values())

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
        if behaviour.system_id is not None and bind.system_id != behaviour.system_id:
            return statuses.ESME_RINVSYSID
        if behaviour.password is not None and not hmac.compare_digest(
            bind.password.encode(), behaviour.password.encode()
        ):
            return statuses.ESME_RINVPASWD
        mailbox = self._mailboxes.get(bind.system_id)
        if mailbox is None:
            if len(self._mailboxes) >= behaviour.most_clients:
                return statuses.ESME_RBINDFAIL
            mailbox = self._mailboxes[bind.system_id] = Mailbox()
        return mailbox

    def take(self, mailbox: Mailbox, message: ShortMessage) -> tuple[int, str]:
        """Decide on a submit: its status, and the message id when it was taken."""
        destination = message.destination.value
        if not destination.isdigit():
            return statuses.ESME_RINVDSTADR, ""
        ending = destination[-4:]
        if ending == REFUSED:
            return statuses.ESME_RINVDSTADR, ""
        if ending == THROTTLED and self._throttles(message):
            return statuses.ESME_RTHROTTLED, ""
        self._ids += 1
        message_id = f"{self._ids:x}"
        self._remember(message)
        if ending != SILENT:
            self._schedule_receipt(mailbox, message, message_id, ending)
        return statuses.ESME_ROK, message_id

    def put_off(self, mailbox: Mailbox, receipt: bytes, delay_s: float) -> None:
        """Have a receipt sent after a delay."""
        if len(self._due) >= self.behaviour.most_kept:
            self.receipts_dropped += 1
            return
        self._ids += 1
        heappush(self._due, (self._loop.time() + delay_s, self._ids, mailbox, receipt))
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

    def _schedule_receipt(self, mailbox: Mailbox, message: ShortMessage, message_id: str, ending: str) -> None:
        wanted = message.registered_delivery & _REGISTERED_DELIVERY
        final = _FINAL_STATES.get(ending, _DELIVERED)
        if not wanted or (wanted == _ON_FAILURE_ONLY and final == _DELIVERED):
            return
        behaviour = self.behaviour
        delay_s = behaviour.late_receipt_delay_s if ending == LATE else behaviour.receipt_delay_s
        self.put_off(mailbox, encode_receipt(message, message_id, final, time.time(), delay_s), delay_s)

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
            _, _, mailbox, receipt = heappop(due)
            if len(mailbox.ready) >= self.behaviour.most_kept:
                mailbox.ready.popleft()
                self.receipts_dropped += 1
            mailbox.ready.append(receipt)
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
