"""Any text, through a carrier's splitter and the wire, and back through the reader of what comes in."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ghasi.carriers.alphabet import decode
from ghasi.carriers.carrier import InboundPart, Segment
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.configuration import SmppConfiguration
from ghasi.carriers.smpp.inbound import DeliveryReader
from ghasi.carriers.smpp.submit import Submitter

NOW = datetime(2026, 11, 22, tzinfo=UTC)
texts = st.one_of(
    st.text(max_size=400),
    st.text(st.sampled_from("aB@€^\n{é"), max_size=700),
    st.text(st.sampled_from("@\r\x1ba"), max_size=400),
    st.text(st.sampled_from("дa😀é\x85"), max_size=300),
    st.builds(lambda word, times: word * times, st.text(max_size=3), st.integers(0, 200)),
)


def configured(**more: object) -> SmppConfiguration:
    told = {"name": "one", "kind": "smpp", "host": "h", "port": 1, "system_id": "me", "password": ""} | more
    return SmppConfiguration(**told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gsm7", "long_messages"), [*product(["unpacked", "packed", "latin1"], ["udh8", "udh16", "sar", "payload"])]
)
@settings(max_examples=60, deadline=None)
@given(text=texts, reference=st.integers(0, 255), backwards=st.booleans())
@example(text="@" * 160, reference=0, backwards=False)
@example(text="@" * 161, reference=0, backwards=False)
@example(text="a" * 151 + "\r" * 10 + "@" * 150, reference=1, backwards=True)
@example(text="a" * 152 + "€" * 80 + "@" * 300, reference=255, backwards=True)
@example(text="é" * 141, reference=7, backwards=False)
def test_a_text_arrives_as_it_was(gsm7: str, long_messages: str, text: str, reference: int, backwards: bool) -> None:
    told = configured(gsm7=gsm7, long_messages=long_messages)
    submitter = Submitter(told)
    split = submitter.split(text)
    arrived: list[InboundPart] = []
    for number, payload in enumerate(split.parts, 1):
        one = Segment("+93701234567", "12345", split.encoding, payload, number, split.count, reference, None, "m-1")
        message = pdu.decode_short_message(submitter.encode(one))
        if long_messages != "payload":
            assert len(message.short_message) <= (140 if gsm7 != "unpacked" or split.encoding != "gsm7" else 160)
        word = DeliveryReader(told, submitter.addresses).read(message, NOW, number)
        assert isinstance(word, InboundPart)
        arrived.insert(0 if backwards else len(arrived), word)
    assert len({(part.reference, part.parts) for part in arrived}) == 1
    arrived.sort(key=lambda part: part.part)
    assert [part.part for part in arrived] == list(range(1, arrived[0].parts + 1))
    back = decode(arrived[0].encoding, b"".join(part.payload for part in arrived))
    if gsm7 == "packed" and back != text:  # where a packed text ends can only be told with a carriage return more
        assert back == text + "\r" or back + "\r" == text
    else:
        assert back == text
