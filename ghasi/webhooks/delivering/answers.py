"""How much of an answer is taken off the wire at all: an endpoint that sends without end is cut off, body or no body.

What aiohttp bounds is a head (128 fields of 8 KiB); what `sending` reads is a body's start. Between them a server may
send heads of 1xx, empty lines, the digits or extensions of a chunk's size for as long as an attempt lasts, and cost the
loop that all endpoints share more than all others together.
"""

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

MOST_BYTES = 1536 * 1024
"""Of one answer, all told; 64 KiB of body are there long before, unless they come in chunks of a few bytes."""
MOST_HEADS = 16
_PIECE = 4096


class EndlessAnswerError(aiohttp.ClientError):
    """An answer that never comes to its body, or that is next to nothing but its framing."""


class BrokenAnswerError(aiohttp.ClientError):
    """A body that is no HTTP."""


class _BoundedHandler(ResponseHandler):
    _bytes = 0
    _heads = 0
    _cut = False

    def set_response_params(self, **params: Any) -> None:
        self._bytes = self._heads = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self._cut_off(EndlessAnswerError())
        while data and self._payload is None and not self._cut:  # one read may give thousands of heads
            super().data_received(data[:_PIECE])
            data = data[_PIECE:]
        if data and not self._cut:
            super().data_received(data)
        if self._exception is not None and self._payload is not None:  # who reads the body is not told otherwise
            self._cut_off(BrokenAnswerError())

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        self._heads += 1
        if self._heads > MOST_HEADS:
            self._cut_off(EndlessAnswerError())
        else:
            super().feed_data(data, size)

    def _cut_off(self, error: Exception) -> None:
        if self._cut:
            return
        self._cut = True
        self.set_exception(error)
        if self._payload is not None:
            self._payload.set_exception(error)
        self._parser = None  # it would say that the body broke off
        if self.transport is not None:
            self.transport.abort()


class BoundedConnector(aiohttp.TCPConnector):
    """A connector whose connections are cut off when an answer has no end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_BoundedHandler, loop=self._loop)  # type: ignore[assignment]  # partial is invariant
