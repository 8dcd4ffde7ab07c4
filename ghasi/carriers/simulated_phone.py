"""A phone of the simulated SMSC: it binds as the subscriber and sends one text to a number or a short code.

Owns that one exchange from the connection to the unbind. How the text is split is segmentation.py's; what an SMSC does
with it is simulator.py's.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ghasi.carriers.segmentation import segment
from ghasi.carriers.smpp import pdu, statuses

_ANSWER_WITHIN_S = 10.0
_DATA_CODINGS = {"gsm7": 0, "ucs2": 8}
_ESME_RDELIVERYFAILURE = 0xFE
_UDHI = 0x40
_LONGEST_SHORT_CODE = 8


class PhoneError(Exception):
    """The text can't be sent, or the SMSC did not take it; the text says why."""


@dataclass(frozen=True, slots=True)
class SimulatorAddress:
    """Where the simulated SMSC is, and as whom a phone binds there."""

    host: str
    port: int
    system_id: str = "subscriber"
    password: str = ""
    tls: ssl.SSLContext | None = None


def write_parts(sender: str, recipient: str, text: str, reference: int) -> list[pdu.ShortMessage]:
    """Return a text as a phone sends it: a long one in parts with 8-bit references (3GPP TS 23.040, 9.2.3.24.1).

    Raises PhoneError for an address without a form in SMPP, and for a text that is too long.
    """
    try:
        split = segment(text)
        source, destination = _address_of(sender), _address_of(recipient)
        pdu.encode_address(source)
        pdu.encode_address(destination)
    except (pdu.PduError, ValueError) as error:
        raise PhoneError(str(error)) from error
    concatenated = split.count > 1
    return [
        pdu.ShortMessage(
            source=source,
            destination=destination,
            esm_class=_UDHI if concatenated else 0,
            data_coding=_DATA_CODINGS[split.encoding],
            short_message=bytes((5, 0, 3, reference, split.count, number)) + data if concatenated else data,
        )
        for number, data in enumerate(split.parts, 1)
    ]


def disturb(
    parts: Sequence[pdu.ShortMessage], *, shuffle: bool, lose: int, chances: random.Random
) -> list[pdu.ShortMessage]:
    """Return the parts without `lose` of them, in any order where they are shuffled."""
    kept = sorted(chances.sample(range(len(parts)), max(0, len(parts) - lose)))
    if shuffle:
        chances.shuffle(kept)
    return [parts[index] for index in kept]


async def send_from_phone(address: SimulatorAddress, parts: Sequence[pdu.ShortMessage]) -> None:
    """Submit the parts in their order; raises PhoneError, and OSError when nobody listens there."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.tls)
            try:
                await _exchange(reader, writer, address, parts)
            finally:
                writer.close()
    except TimeoutError as error:
        raise PhoneError(f"there was no answer within {_ANSWER_WITHIN_S:.0f} s") from error
    except pdu.PduError as error:
        raise PhoneError(f"what answers there is no SMSC: {error}") from error


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: SimulatorAddress,
    parts: Sequence[pdu.ShortMessage],
) -> None:
    frames = _read_answers(reader)
    bind = pdu.encode_bind(pdu.Bind(system_id=address.system_id, password=address.password))
    writer.write(pdu.encode(pdu.BIND_TRANSMITTER, 1, bind))
    status = await anext(frames)
    if status != statuses.ESME_ROK:
        raise PhoneError(f"the bind as {address.system_id} was refused: {statuses.status_name(status)}")
    for sequence, part in enumerate(parts, 2):
        writer.write(pdu.encode(pdu.SUBMIT_SM, sequence, pdu.encode_short_message(part)))
        status = await anext(frames)
        if status == _ESME_RDELIVERYFAILURE:
            raise PhoneError("no client that receives has bound there yet, so nobody would get it")
        if status != statuses.ESME_ROK:
            raise PhoneError(f"the message was refused: {statuses.status_name(status)}")
    writer.write(pdu.encode(pdu.UNBIND, len(parts) + 2))
    await anext(frames)


async def _read_answers(reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """Yield the status of each response; what the SMSC asks is passed over."""
    frames = pdu.FrameReader()
    while data := await reader.read(65_536):
        for frame in frames.feed(data):
            if frame.command & pdu.RESPONSE:
                yield frame.status
        if frames.fault is not None:
            raise frames.fault
    raise PhoneError("the SMSC closed the connection")


def _address_of(number: str) -> pdu.Address:
    """Return E.164 with + as international, up to 8 digits as a short code, more as of unknown type, else a name."""
    if number.isascii() and number[:1] == "+" and number[1:].isdigit():
        return pdu.Address(1, 1, number[1:])
    if number.isascii() and number.isdigit():
        return pdu.Address(3, 0, number) if len(number) <= _LONGEST_SHORT_CODE else pdu.Address(0, 1, number)
    return pdu.Address(5, 0, number)
