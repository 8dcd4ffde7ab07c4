"""The SMSCs that the same tests run against: our simulator, and node-smpp in a process of its own."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import gsmcodecs  # noqa: F401 - registers the codec gsm23.038

from ghasi.carriers.simulated_phone import SimulatorAddress, send_from_phone
from ghasi.carriers.simulator import Behaviour, Simulator, serve_simulator
from ghasi.carriers.smpp import pdu
from tests.carriers.smsc import eventually
from tests.node import NODE, PEERS, need


@dataclass(frozen=True)
class Received:
    """A submit as the SMSC read it: the text is decoded by the SMSC."""

    source: str
    destination: str
    text: str
    reference: int
    parts: int
    part: int


class Smsc(Protocol):
    """What a test asks of an SMSC."""

    port: int
    received: list[Received]
    accepted: int
    most_unanswered: int
    receipts_acknowledged: int
    messages_acknowledged: int
    binds: int

    async def behave(
        self, *, latency_s: float = 0, mute_every: int = 0, receipts: Literal["text", "tlv", "both"] = "both"
    ) -> None: ...

    async def drop(self) -> None: ...

    async def unbind(self) -> None: ...

    async def write(self, data: bytes) -> None: ...

    async def inbound(self, source: str, destination: str, texts: list[str], *, reference: int | None = None) -> None:
        """Send what a phone wrote, in parts as they are given; ASCII as GSM-7, else UCS-2."""


def header(reference: int | None, parts: int, part: int) -> bytes:
    return b"" if reference is None else bytes((5, 0, 3, reference, parts, part))


class OurSmsc:
    """The simulator, in this process."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.port = simulator.port
        self.received: list[Received] = []
        self.most_unanswered = 0

    @property
    def accepted(self) -> int:
        return self.simulator.accepted

    @property
    def receipts_acknowledged(self) -> int:
        return self.simulator.receipts_acknowledged

    @property
    def messages_acknowledged(self) -> int:
        return self.simulator.phone_messages_acknowledged

    @property
    def binds(self) -> int:
        return sum(session.system_id is not None for session in self.simulator.sessions)

    def on_submit(self, message: pdu.ShortMessage) -> None:
        self.most_unanswered = max(self.most_unanswered, self.simulator.outstanding + 1)
        data, reference, parts, part = message.text, 0, 1, 1
        if message.esm_class & 0x40:
            element, data = data[1 : data[0] + 1], data[data[0] + 1 :]
            reference, parts, part = struct.unpack(">HBB" if element[0] == 8 else ">BBB", element[2:])
        text = data.decode("utf-16-be") if message.data_coding == 8 else data.decode("gsm23.038")
        self.received.append(Received(message.source.value, message.destination.value, text, reference, parts, part))

    async def behave(self, *, latency_s: float = 0, mute_every: int = 0, receipts: Any = "both") -> None:
        self.simulator.behaviour = replace(
            self.simulator.behaviour, latency_s=latency_s, loss=1 / mute_every if mute_every else 0, receipts=receipts
        )

    async def drop(self) -> None:
        self.simulator.drop_links()

    async def unbind(self) -> None:
        for session in list(self.simulator.sessions):
            session.unbind()

    async def write(self, data: bytes) -> None:
        for session in self.simulator.sessions:
            assert session._transport is not None
            session._transport.write(data)

    async def inbound(self, source: str, destination: str, texts: list[str], *, reference: int | None = None) -> None:
        parts = []
        for number, text in enumerate(texts, 1):
            coding = 0 if text.isascii() else 8
            parts.append(
                pdu.ShortMessage(
                    source=pdu.Address(1, 1, source),
                    destination=pdu.Address(3, 0, destination),
                    esm_class=0 if reference is None else 0x40,
                    data_coding=coding,
                    short_message=header(reference, len(texts), number)
                    + text.encode("utf-16-be" if coding else "gsm23.038"),
                )
            )
        await send_from_phone(SimulatorAddress("127.0.0.1", self.port), parts)


class NodeSmsc:
    """node-smpp in a process of its own, which says and is told what happens in JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.port = 0
        self.received: list[Received] = []
        self.accepted = self.most_unanswered = self.receipts_acknowledged = self.messages_acknowledged = self.binds = 0
        self.errors: list[str] = []
        self._asked = self._done = 0

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            match said.pop("event"):
                case "listening":
                    self.port = said["port"]
                case "bound":
                    self.binds += 1
                case "submit":
                    self.accepted += said.pop("status") == 0
                    self.most_unanswered = max(self.most_unanswered, said.pop("unanswered"))
                    self.received.append(Received(**said))
                case "acknowledged":
                    self.receipts_acknowledged += said["what"] == "receipt" and said["status"] == 0
                    self.messages_acknowledged += said["what"] == "message" and said["status"] == 0
                case "done":
                    self._done += 1
                case "error":
                    self.errors.append(said["message"])

    async def _do(self, task: str, **asked: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"task": task, **asked}).encode() + b"\n")
        self._asked += 1
        asked_now = self._asked
        await eventually(lambda: self._done >= asked_now)

    async def behave(self, *, latency_s: float = 0, mute_every: int = 0, receipts: str = "both") -> None:
        await self._do("behave", latency_ms=latency_s * 1000, mute_every=mute_every, receipts=receipts)

    async def drop(self) -> None:
        await self._do("drop")

    async def unbind(self) -> None:
        await self._do("unbind")

    async def write(self, data: bytes) -> None:
        await self._do("write", hex=data.hex())

    async def inbound(self, source: str, destination: str, texts: list[str], *, reference: int | None = None) -> None:
        for number, text in enumerate(texts, 1):
            await self._do(
                "inbound", source_addr=source, source_addr_ton=1, source_addr_npi=1, destination_addr=destination,
                dest_addr_ton=3, dest_addr_npi=0, data_coding=0 if text.isascii() else 8, text=text,
                **({} if reference is None else {"udh": header(reference, len(texts), number).hex()}),
            )  # fmt: skip


@asynccontextmanager
async def our_smsc() -> AsyncIterator[Smsc]:
    simulator = await serve_simulator(
        behaviour=Behaviour(receipt_delay_s=0.02, redelivery_s=1, seed=7),
        on_submit=lambda message: smsc.on_submit(message),  # noqa: PLW0108 - it does not exist yet
    )
    smsc = OurSmsc(simulator)
    yield smsc
    await simulator.close()


@asynccontextmanager
async def node_smsc() -> AsyncIterator[Smsc]:
    need("smpp")
    process = await asyncio.create_subprocess_exec(
        NODE, PEERS / "smsc.mjs", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    smsc = NodeSmsc(process)
    listening = asyncio.create_task(smsc.listen())
    try:
        await eventually(lambda: smsc.port, within_s=30)
        yield smsc
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


SMSCS = {"simulator": our_smsc, "node-smpp": node_smsc}
