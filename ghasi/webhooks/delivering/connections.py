"""One connection to an endpoint: a request at a time, and of its answer as much as is wanted.

HTTP/1.1 (RFC 9112) as it is spoken by a client that only ever POSTs; llhttp (httptools) reads the answers. Owns how
much of an answer is taken off the wire at all: an endpoint may send heads of 1xx, empty lines, the digits or extensions
of a chunk's size for as long as an attempt lasts, and cost the loop that all endpoints share more than all others.
Decides nothing about retries, and opens nothing.
"""

import asyncio

import httptools
from msgspec import Struct

MOST_BYTES = 1536 * 1024
"""Of one answer, all told; its body's 64 KiB are there long before, unless they come in chunks of a few bytes."""
READ_BYTES = 64 * 1024
MOST_HEADS, MOST_HEAD_BYTES = 16, 64 * 1024
_PIECE = 4096
"""What is read at once: it may hold hundreds of heads."""
_KEPT_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"retry-after"))
_BODILESS = frozenset((204, 304))


class Reply(Struct, frozen=True):
    """A status, the beginning of the body as it came, and the field Retry-After."""

    status: int
    body: bytes
    retry_after: str | None


class ClosedError(ConnectionError):
    """The connection ended before the answer did."""


class EndlessAnswerError(OSError):
    """An answer that never comes to its body, or that is next to nothing but its framing."""


class BrokenAnswerError(OSError):
    """What came is no HTTP/1.1; the text says which rule it breaks."""


class Connection(asyncio.Protocol):
    """A connection on which requests begin with `begin` and the target, and have `fields` before their own.

    `keeps` says, after an answer, whether there may be another request.
    """

    def __init__(self, begin: bytes = b"POST ", fields: bytes = b"") -> None:
        self.begin, self.fields = begin, fields
        self.keeps = True
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # as browsers do, and llhttp itself did until it grew strict: bare line feeds, spaces where none belong
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[Reply] | None = None
        self._failure: OSError | None = None
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._received = self._heads = 0
        self._begin_head()

    def _begin_head(self) -> None:
        self._since_progress = 0
        self._is_begun = self._is_body = self._is_size = False
        self._body = bytearray()
        self._kept: dict[bytes, bytes] = {}

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to, as far as is known."""
        return self.keeps and self._transport is not None and not self._transport.is_closing()

    def ask(self, target: bytes, fields: bytes, body: bytes) -> asyncio.Future[Reply]:
        """Send a request; `fields` are header lines, the last of them Content-Length, and an empty one.

        The future has the answer, or raises ClosedError, EndlessAnswerError or BrokenAnswerError.
        """
        if self._transport is None or self._waiter is not None:
            raise RuntimeError("one request at a time, on a connection that was opened")
        answer = self._waiter = asyncio.get_running_loop().create_future()
        if not self.is_open:  # since it was opened, the other side has closed it, or spoken first
            self._end(self._failure or ClosedError())
            return answer
        self._begin_answer()
        self._transport.write(b"%b%b HTTP/1.1\r\n%b%b%b" % (self.begin, target, self.fields, fields, body))
        return answer

    def abort(self) -> None:
        """End it at once, whatever is under way."""
        self.keeps = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: it is open."""
        self._transport = transport  # type: ignore[assignment]  # that of a stream

    def data_received(self, data: bytes) -> None:
        """Read on, by pieces, and look after each how it goes."""
        if not self._is_asked():
            self._failure = BrokenAnswerError("nobody asked for it")
            self.abort()
            return
        self._received += len(data)
        for at in range(0, len(data), _PIECE):
            piece = data if len(data) <= _PIECE else data[at : at + _PIECE]
            self._since_progress += len(piece)
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._failure = BrokenAnswerError("another protocol")
            except httptools.HttpParserError as error:
                self._failure = BrokenAnswerError(str(error) or type(error).__name__)
            if not self._is_asked():
                if at + _PIECE < len(data):  # more than the answer
                    self.abort()
                return
            if self._failure is None and self._since_progress > MOST_HEAD_BYTES:
                self._failure = self._stalled()
            if self._failure is None and self._received > MOST_BYTES:
                self._failure = EndlessAnswerError()
            if self._failure is not None:
                self._end(self._failure)
                return

    def _is_asked(self) -> bool:
        return self._waiter is not None

    def _stalled(self) -> OSError:
        """Say what it is that went on for so long without a body."""
        is_head = self._is_begun and not self._is_body
        is_trailer = self._is_body and not self._is_size
        return BrokenAnswerError("a head that is too large") if is_head or is_trailer else EndlessAnswerError()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is closed, by whichever side."""
        self.keeps = False
        if not self._is_asked():
            return
        # RFC 9112, section 6.3: without a length the body ends where the connection does
        is_chunked = self._kept.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        ends_here = self._is_body and not is_chunked and b"content-length" not in self._kept
        if exc is None and ends_here:
            self._answer()
        else:
            self._end(ClosedError())

    # httptools' callbacks; what follows the answer is nobody's

    def on_message_begin(self) -> None:
        """Begin another answer, if one is waited for."""
        if not self._is_asked():
            self.abort()

    def on_status(self, _: bytes) -> None:
        """Note that a status line has come as far as its reason."""
        self._is_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field, or pass over one of the trailer's."""
        name = name.lower()
        if name in _KEPT_FIELDS and not self._is_body:
            self._kept[name] = value

    def on_headers_complete(self) -> None:
        """Note that the body follows."""
        self._since_progress = 0
        self._is_body = self._is_size = True

    def on_chunk_header(self) -> None:
        """Note that a chunk's size is known; after the last one's comes the trailer."""
        self._is_size = False

    def on_chunk_complete(self) -> None:
        """Note that the next chunk's size follows."""
        self._is_size = True

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._since_progress = 0
        if not self._is_asked():
            return
        self._body += data
        if len(self._body) >= READ_BYTES:  # what goes on beyond is cut off together with its connection
            self.keeps = False
            self._answer()

    def on_message_complete(self) -> None:
        """End the answer, or go on after an interim one."""
        if not self._is_asked() or self._failure is not None:
            return
        status = self._parser.get_status_code()
        if status >= 200:  # noqa: PLR2004 - RFC 9110, section 15.2: before it is interim
            self.keeps = self._parser.should_keep_alive() and self._is_in_step(status)
            self._answer()
            return
        self._heads += 1
        if status < 100:  # noqa: PLR2004 - RFC 9110, section 15
            self._failure = BrokenAnswerError(f"a status of {status}")
        elif self._heads > MOST_HEADS:
            self._failure = EndlessAnswerError()
        self._begin_head()

    def _is_in_step(self, status: int) -> bool:
        """Whether nothing of this answer can still come, and nothing of its request has still to go."""
        if status in _BODILESS and self._kept.keys() & {b"content-length", b"transfer-encoding"}:
            return self._kept.get(b"content-length") == b"0"  # some servers send what they announce
        return self._transport is not None and not self._transport.get_write_buffer_size()

    # The end of an answer

    def _answer(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        retry_after = self._kept.get(b"retry-after")
        waiter.set_result(
            Reply(
                self._parser.get_status_code(),
                bytes(self._body[:READ_BYTES]),
                None if retry_after is None else retry_after.decode("latin-1"),
            )
        )
        if not self.keeps:
            self.abort()  # it is whole: to close would wait for the other side, as long as that likes

    def _end(self, failure: OSError) -> None:
        waiter, self._waiter = self._waiter, None
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)
