"""HTTP/1.1 as uvicorn speaks it by httptools, with the bounds that it lacks on what comes before and around a body.

A request's head has a limit in time and in size (431: RFC 6585, section 5; a server may close what stays incomplete:
RFC 9112, section 9.5), so have a chunked body's extensions and trailers (RFC 9112, sections 7.1.1 and 7.1.2). Trailers
are never taken for headers (RFC 9110, section 6.5.1). An Upgrade is ignored, as a server may (RFC 9110, section 7.8):
the parser would take what follows for another protocol, drop the body and read the next request out of it. What a body
holds, and how long it may take, is the application's business.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ghasi.processes.answering import Answering

HEAD_S = 60.0
HEAD_BYTES = 64 * 1024
_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=[ \t]*:)", re.IGNORECASE)
_IGNORED = b"x-upgrd"  # of the same length: no offset of the message may change
_HEAD_END = re.compile(rb"\n\r?\n")
_TAIL_BYTES = 2  # of the head so far: a line's end, or a head's end save its last byte, may stand there


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with bounded heads, for `uvicorn.Config(http=...)`.

    A head is complete within `head_s` seconds of the connection's start, or of its first byte where a request came
    before. While a response is under way no time is counted here.
    """

    head_s: ClassVar[float] = HEAD_S
    head_bytes: ClassVar[int] = HEAD_BYTES

    _timer: asyncio.TimerHandle | None = None
    _expects_head = True
    _ignores_upgrade = False
    _bytes = 0
    """Received since the last head ended or the last byte of a body came."""
    _tail = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Give the first head its time."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_s, self._end_wait)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a segment. One that brings a request whole costs a search for Upgrade and no timer."""
        self._bytes += len(data)
        if self._expects_head:
            if self._bytes > self.head_bytes and self._is_too_large(data):
                self._refuse_head()
                return
            if self._tail or b"\nupgrade" in data.lower():
                data = self._ignore_upgrade(data)
        super().data_received(data)
        if self._bytes > self.head_bytes:
            self._refuse_head()
            return
        self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:] if self._expects_head and self._bytes else b""
        # the parent ends the keep-alive time with any byte, be it of a blank line or of a body that nobody reads
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._timer = self.loop.call_later(self.head_s, self._end_wait)

    def on_headers_complete(self) -> None:
        """Hand the request over; raises ValueError, which is answered by 400, where the parser would leave HTTP."""
        self._stop_timer()
        self._expects_head = False
        self._bytes = 0
        if self.parser.should_upgrade():  # CONNECT, or an Upgrade that came in pieces or behind another request
            raise ValueError("what follows this head could not be told from a request")
        if self._ignores_upgrade:
            self._ignores_upgrade = False
            self.headers[:] = [header for header in self.headers if header[0] != _IGNORED]
        super().on_headers_complete()
        self.headers = []  # the request has its list: what comes from here on is trailers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the application answer by our own way out."""
        answering: Any = Answering(cycle)  # uvicorn has a type for each message, none that all are
        super()._start_asgi_task(cycle, lambda scope, receive, _: app(scope, receive, answering.send))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body: it is no head, and not the trailers."""
        self._bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect another head."""
        self._expects_head = True
        self._bytes = 0
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """Count a head that begins behind another request's end: its bytes are few so far, but not none."""
        self._bytes = self._bytes or 1
        super().on_message_begin()

    def _is_too_large(self, data: bytes) -> bool:
        """Whether the head alone, without the body that came with it, is larger than it may be."""
        end = _HEAD_END.search(self._tail + data)
        before = self._bytes - len(data)
        return end is None or before + end.end() - len(self._tail) > self.head_bytes

    def _ignore_upgrade(self, data: bytes) -> bytes:
        """Rename Upgrade within the head that `data` continues, never behind its end."""
        seen = self._tail + data
        end = _HEAD_END.search(seen)
        stop = len(seen) if end is None else end.end()
        head, found = _UPGRADE.subn(_IGNORED, seen[:stop])
        self._ignores_upgrade = self._ignores_upgrade or found > 0
        return (head + seen[stop:])[len(self._tail) :]

    def _refuse_head(self) -> None:
        """Answer 431, unless an earlier request waits for its answer or this one has begun, and close."""
        if self.transport.is_closing():
            return
        if self._expects_head and (self.cycle is None or self.cycle.response_complete):
            status = STATUS_LINE[HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE]
            self.transport.write(status + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _end_wait(self) -> None:
        self._timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
