"""Writes an answer that comes whole at once, head and body in one piece; what does not is uvicorn's to write.

uvicorn looks through every header's name and value for itself and writes a head apart from its body. Here a name is
looked through once, and an answer's values together.
"""

from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

Message = MutableMapping[str, Any]


_CONTROLS = bytes({*range(32), 127} - {9})
"""What no value of a header may hold: the line's end above all."""
_WITHOUT_LENGTH = frozenset({204, 304})
_FRAMING = frozenset({b"connection", b"transfer-encoding"})
_MOST_NAMES = 1000
_begun: dict[bytes, bytes] = {}


class Answering:
    """What an app sends to in place of a cycle's own `send`."""

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        """Keep the head of an answer of known length until its body is there: of another that may take long.

        Raises RuntimeError for what is no header, as uvicorn does.
        """
        cycle = self._cycle
        if (
            message["type"] == "http.response.start"
            and self._head is None
            and not cycle.response_started
            and any(name == b"content-length" for name, _ in message["headers"])
        ):
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await cycle.send(message)  # type: ignore[arg-type] # uvicorn has a TypedDict for each
            return
        if cycle.flow.write_paused or cycle.disconnected or not self._write_whole(head, message):
            await cycle.send(head)  # type: ignore[arg-type]
            await cycle.send(message)  # type: ignore[arg-type]

    def _write_whole(self, head: Message, message: Message) -> bool:
        """Write a whole answer on a connection that stays; whether this was one."""
        cycle, status = self._cycle, head["status"]
        body = message.get("body", b"")
        if (
            message.get("more_body")
            or not cycle.keep_alive
            or status in _WITHOUT_LENGTH
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        content = [STATUS_LINE[status]]
        lines, length = 2, -1
        for headers in (cycle.default_headers, head["headers"]):
            for name, value in headers:
                begun = _begun.get(name)
                if begun is None:
                    if name.lower() in _FRAMING:
                        return False
                    begun = _begin(name)
                if begun == b"content-length: ":
                    length = int(value)
                content += (begun, value, b"\r\n")
                lines += 1
        if length != len(body):
            return False
        content.append(b"\r\n")
        written = b"".join(content)
        if len(written) - len(written.translate(None, _CONTROLS)) != 2 * lines:
            return False  # a value holds a control character: uvicorn raises for it
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(written + body)
        cycle.message_event.set()
        cycle.on_response()
        return True


def _begin(name: bytes) -> bytes:
    """Return how a header's line begins; raises RuntimeError where it has no name."""
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    begun = name.lower() + b": "
    if len(_begun) < _MOST_NAMES:  # some names are an upstream's choice
        _begun[name] = begun
    return begun
