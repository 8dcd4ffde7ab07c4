"""A fast SMSC for measuring clients: takes any bind, answers every submit_sm at once, and sends receipts if asked to.

python -m benchmarks.instruments.sink [--receipts] [--stamps FOLDER] prints its port. It is a process of its own:
what it costs is no client's cost. Of a submit it reads the header, and for a receipt the two addresses, which that
turns round; with --stamps the message's number too, and writes down when the submit came
and when its receipt had been written.
"""

import argparse
import asyncio
import socket
import struct
import time

import uvloop

from benchmarks.instruments.stamps import RECEIPTED, SUBMITTED, Stamps, number_in

HEADER = struct.Struct(">IIII")
SUBMIT_SM, DELIVER_SM, ENQUIRE_LINK, UNBIND, RESPONSE = 0x04, 0x05, 0x15, 0x06, 0x80000000
FIRST_ID = 1_000_000_000  # ten digits, none of which is a leading zero that a client may drop
BINDS = (0x01, 0x02, 0x09)


def receipt(message_id: bytes, submit: bytes) -> bytes:
    """Return the body of a deliver_sm with a receipt for the body of a submit_sm in its text (SMPP 3.4, appendix B)."""
    source = submit.index(0) + 1
    destination = submit.index(0, source + 2) + 1
    end = submit.index(0, destination + 2) + 1
    text = (
        b"id:%s sub:001 dlvrd:001 submit date:2611230000 done date:2611230000 stat:DELIVRD err:000 text:Your code"
        % (message_id)
    )
    return (
        b"\0" + submit[destination:end] + submit[source:destination] + b"\4\0\0\0\0\0\0\0\0" + bytes([len(text)]) + text
    )


class Sink(asyncio.Protocol):
    """One link: whole PDUs out of what has come, all answers of it in one write."""

    def __init__(self, receipts: bool, stamps: tuple[Stamps, Stamps] | None) -> None:
        self.receipts, self.stamps = receipts, stamps
        self.buffer = b""
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        # a client without TCP_NODELAY (Kannel) waits for this before the rest of a PDU: 40 ms otherwise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        buffer, at, answers, numbers, now = self.buffer + data, 0, [], [], time.monotonic()
        while len(buffer) - at >= 16:
            length, command, _, sequence = HEADER.unpack_from(buffer, at)
            if len(buffer) - at < length:
                break
            body, at = at + 16, at + length
            if command == SUBMIT_SM:
                self.count += 1
                if self.stamps is not None and (number := number_in(buffer[body:at])) is not None:
                    numbers.append(number)
                message_id = b"%010d" % (FIRST_ID + self.count)
                answers.append(HEADER.pack(27, SUBMIT_SM | RESPONSE, 0, sequence) + message_id + b"\0")
                if self.receipts:
                    told = receipt(message_id, buffer[body:at])
                    answers.append(HEADER.pack(16 + len(told), DELIVER_SM, 0, self.count) + told)
            elif command in BINDS:
                answers.append(HEADER.pack(21, command | RESPONSE, 0, sequence) + b"sink\0")
            elif command in (ENQUIRE_LINK, UNBIND):
                answers.append(HEADER.pack(16, command | RESPONSE, 0, sequence))
        self.buffer = buffer[at:]
        if answers:
            self.transport.write(b"".join(answers))
        self.stamp(numbers, now)

    def stamp(self, numbers: list[int], came_at: float) -> None:
        if self.stamps is not None:
            submitted, receipted = self.stamps
            told_at = time.monotonic()
            for number in numbers:
                submitted.put(number, came_at)
                receipted.put(number, told_at)


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="benchmarks.instruments.sink")
    parser.add_argument("--receipts", action="store_true")
    parser.add_argument("--stamps")
    given = parser.parse_args()
    stamps = (Stamps(given.stamps, SUBMITTED), Stamps(given.stamps, RECEIPTED)) if given.stamps else None
    server = await asyncio.get_running_loop().create_server(lambda: Sink(given.receipts, stamps), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
