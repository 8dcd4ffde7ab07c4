"""One SMPP client's submits, in a process of its own: smpp_clients NAME PORT MESSAGES RECEIPTS.

The bare one is no client at all: what PDUs cost at the least. Each of the others is used as its own documentation does,
on a window of 100: a library that has none waits in what it takes messages from. Prints one line of JSON: seconds and
CPU seconds from the first submit to the last answer, and with receipts to the last receipt, which each client has
acknowledged. What they come to is counted by the caller.
"""
# ruff: noqa: PLC0415 - each client's process loads its own libraries, and no other's

import asyncio
import json
import logging
import struct
import sys
import time
from collections.abc import Callable, Sequence

WINDOW = 100
TEXT = "Your code is 123456. It is valid for ten minutes."
SENDER = "12345"
HEADER = struct.Struct(">IIII")
BIND_BODY = b"bench\0bench\0\0\x34\0\0\0"


def recipient(number: int) -> str:
    return f"4670{number % 10_000_000:07d}"


class Clock:
    """Wall and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self.began, "cpu_s": time.process_time() - self.began_cpu}


def ghasi(port: int, messages: int, receipts: bool) -> dict[str, float]:
    import uvloop

    from ghasi.carriers.carrier import Outcome, Receipt, Segment
    from ghasi.carriers.configuration import simulator_configuration
    from ghasi.carriers.segmentation import segment
    from ghasi.carriers.smpp.client import SmppCarrier

    async def run() -> dict[str, float]:
        carrier = SmppCarrier(simulator_configuration("127.0.0.1", port, window=WINDOW))
        payload, done = segment(TEXT).parts[0], asyncio.Event()
        submitted = answered = received = 0

        def fill() -> None:
            nonlocal submitted
            while submitted < messages and carrier.capacity():
                submitted += 1
                one = Segment("+" + recipient(submitted), SENDER, "gsm7", payload)
                carrier.submit(one).add_done_callback(on_answer)

        def on_answer(answer: asyncio.Future) -> None:
            nonlocal answered
            assert answer.result().outcome is Outcome.ACCEPTED
            answered += 1
            if answered == messages and not receipts:
                done.set()
            fill()

        def on_receipts(some: Sequence[Receipt]) -> None:
            nonlocal received
            carrier.acknowledge(some, accepted=True)
            received += len(some)
            if received == messages:
                done.set()

        await carrier.start(on_receipts, lambda _: None)
        while not carrier.capacity():
            await asyncio.sleep(0.01)
        clock = Clock()
        fill()
        await done.wait()
        measured = clock.read()
        await carrier.stop()
        return measured

    return uvloop.run(run())


class BareLink(asyncio.Protocol):
    """The least that a client can do: a window of prebuilt submits, and answers counted."""

    def __init__(self, pdus: list[bytes], receipts: bool) -> None:
        self.pdus, self.receipts = pdus, receipts
        self.submitted = self.answered = self.received = 0
        self.buffer, self.done = b"", asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(HEADER.pack(16 + len(BIND_BODY), 0x09, 0, 1) + BIND_BODY)

    def data_received(self, data: bytes) -> None:
        buffer, at, answers = self.buffer + data, 0, []
        while len(buffer) - at >= 16:
            length, command, _, sequence = HEADER.unpack_from(buffer, at)
            if len(buffer) - at < length:
                break
            at += length
            if command == 0x80000009:
                self.clock = Clock()
            elif command == 0x80000004:
                self.answered += 1
            elif command == 0x05:
                self.received += 1
                answers.append(HEADER.pack(17, 0x80000005, 0, sequence) + b"\0")
        self.buffer = buffer[at:]
        until = min(len(self.pdus), self.answered + WINDOW)
        self.transport.write(b"".join(answers + self.pdus[self.submitted : until]))
        self.submitted = until
        if self.answered == len(self.pdus) and (not self.receipts or self.received == len(self.pdus)):
            self.done.set()


def bare(port: int, messages: int, receipts: bool) -> dict[str, float]:
    import uvloop

    def submit(number: int) -> bytes:
        source, destination = b"\x05\0%b\0" % SENDER.encode(), b"\x01\x01%b\0" % recipient(number).encode()
        text = TEXT.encode()
        body = b"\0" + source + destination + b"\0\0\0\0\0\x01\0\0\0" + bytes([len(text)]) + text
        return HEADER.pack(16 + len(body), 0x04, 0, number + 1) + body

    async def run() -> dict[str, float]:
        pdus = [submit(number) for number in range(1, messages + 1)]
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: BareLink(pdus, receipts), "127.0.0.1", port
        )
        await link.done.wait()
        return link.clock.read()

    return uvloop.run(run())


def smpplib(port: int, messages: int, receipts: bool) -> dict[str, float]:
    import smpplib.client
    import smpplib.consts

    logging.disable(logging.CRITICAL)
    client = smpplib.client.Client("127.0.0.1", port, allow_unknown_opt_params=True)
    counts = {"answered": 0, "received": 0}

    def on_answer(**_: object) -> None:
        counts["answered"] += 1

    def on_receipt(**_: object) -> int:
        counts["received"] += 1
        return 0

    client.set_message_sent_handler(on_answer)
    client.set_message_received_handler(on_receipt)
    client.connect()
    client.bind_transceiver(system_id="ghasi", password="ghasi")  # noqa: S106 - the sink takes any
    clock, submitted = Clock(), 0
    while counts["answered"] < messages or (receipts and counts["received"] < messages):
        if submitted < messages and submitted - counts["answered"] < WINDOW:
            submitted += 1
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM, source_addr=SENDER,
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL, destination_addr=recipient(submitted),
                short_message=TEXT.encode(), registered_delivery=True,
            )  # fmt: skip
        else:
            client.read_once()
    return clock.read()


def aiosmpplib(port: int, messages: int, receipts: bool) -> dict[str, float]:  # noqa: C901 - its classes are in it
    import aiosmpplib as library
    import uvloop

    logging.disable(logging.CRITICAL)

    async def run() -> dict[str, float]:  # noqa: C901 - its classes are in it
        window, done = asyncio.Semaphore(WINDOW), asyncio.Event()
        counts = {"answered": 0, "received": 0}
        clock: list[Clock] = []

        class Broker(library.broker.AbstractBroker):
            submitted = 0

            async def enqueue(self, smpp_message: object) -> None:
                raise NotImplementedError

            async def dequeue(self) -> object:
                clock or clock.append(Clock())
                if self.submitted == messages:
                    await asyncio.Event().wait()
                await window.acquire()
                self.submitted += 1
                return library.SubmitSm(
                    short_message=TEXT, source=library.PhoneNumber(SENDER), log_id=str(self.submitted),
                    destination=library.PhoneNumber(recipient(self.submitted)),
                )  # fmt: skip

        class Hook(library.hook.AbstractHook):
            async def sending(self, smpp_message: object, pdu: bytes, client_id: str) -> None:
                del smpp_message, pdu, client_id

            async def received(self, smpp_message: object, pdu: bytes, client_id: str) -> None:
                del pdu, client_id
                if isinstance(smpp_message, library.SubmitSmResp):
                    counts["answered"] += 1
                    window.release()
                elif isinstance(smpp_message, library.DeliverSm):
                    counts["received"] += 1
                if counts["received" if receipts else "answered"] == messages:
                    done.set()

            async def send_error(self, smpp_message: object, error: Exception, client_id: str) -> None:
                del smpp_message, client_id
                raise error

        class Correlator(library.correlator.SimpleCorrelator):
            """Its own, without going through all that wait for a receipt at every PDU."""

            async def _remove_expired(self) -> None:
                pass

        esme = library.ESME(
            "127.0.0.1",
            port,
            "ghasi",
            "ghasi",
            log_level="CRITICAL",
            hook=Hook(),
            broker=Broker(),
            correlator=Correlator("bench"),
        )
        running = asyncio.create_task(esme.start())
        await done.wait()
        measured = clock[0].read()
        running.cancel()
        return measured

    return uvloop.run(run())


def naz(port: int, messages: int, receipts: bool) -> dict[str, float]:  # noqa: C901 - its classes are in it
    import naz as library
    import uvloop

    logging.disable(logging.CRITICAL)

    async def run() -> dict[str, float]:  # noqa: C901 - its classes are in it
        window, done = asyncio.Semaphore(WINDOW), asyncio.Event()
        counts = {"answered": 0, "received": 0}
        clock: list[Clock] = []

        class Broker(library.broker.BaseBroker):
            submitted = 0

            async def enqueue(self, message: object) -> None:
                raise NotImplementedError

            async def dequeue(self) -> object:
                clock or clock.append(Clock())
                if self.submitted == messages:
                    await asyncio.Event().wait()
                await window.acquire()
                self.submitted += 1
                return library.protocol.SubmitSM(
                    short_message=TEXT, source_addr=SENDER, destination_addr=recipient(self.submitted),
                    log_id=str(self.submitted),
                )  # fmt: skip

        class Hook(library.hooks.BaseHook):
            async def to_smsc(self, smpp_command: str, log_id: str, hook_metadata: str, pdu: bytes) -> None:
                pass

            async def from_smsc(
                self, smpp_command: str, log_id: str, hook_metadata: str, status: object, pdu: bytes
            ) -> None:
                del log_id, hook_metadata, status, pdu
                if smpp_command == "submit_sm_resp":
                    counts["answered"] += 1
                    window.release()
                elif smpp_command == "deliver_sm":
                    counts["received"] += 1
                if counts["received" if receipts else "answered"] == messages:
                    done.set()

        class Correlater(library.correlater.BaseCorrelater):
            """In place of its own, which goes through all of the last 15 seconds each time."""

            def __init__(self) -> None:
                self.known: dict[object, tuple[str, str]] = {}

            async def put(
                self, smpp_command: str, sequence_number: int, log_id: str, hook_metadata: str,
                smsc_message_id: str | None = None,
            ) -> None:  # fmt: skip
                del smpp_command
                self.known[smsc_message_id or sequence_number] = (log_id, hook_metadata)

            async def get(
                self, smpp_command: str, sequence_number: int, smsc_message_id: str | None = None
            ) -> tuple[str, str]:
                del smpp_command
                return self.known.pop(smsc_message_id or sequence_number, ("", ""))

        client = library.Client(
            "127.0.0.1", port, "ghasi", "ghasi", broker=Broker(), hook=Hook(), correlation_handler=Correlater()
        )
        await client.connect()
        await client.tranceiver_bind()
        tasks = [asyncio.create_task(one) for one in (client.dequeue_messages(), client.receive_data())]
        await done.wait()
        measured = clock[0].read()
        for task in tasks:
            task.cancel()
        return measured

    return uvloop.run(run())


CLIENTS: dict[str, Callable[[int, int, bool], dict[str, float]]] = {
    "bare": bare, "ghasi": ghasi, "smpplib": smpplib, "aiosmpplib": aiosmpplib, "naz": naz,
}  # fmt: skip

if __name__ == "__main__":
    name, port, messages, receipts = sys.argv[1:]
    print(json.dumps(CLIENTS[name](int(port), int(messages), receipts == "with")))
