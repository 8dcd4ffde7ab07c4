"""How a text becomes short messages: its alphabet, and where it is split.

Owns the GSM 7-bit default alphabet with its extension table (3GPP TS 23.038, 6.2.1) and the sizes of concatenated
parts with an 8-bit reference (TS 23.040, 9.2.3.24.1). Never packs septets and adds no header: that is the carrier's.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Encoding = Literal["gsm7", "ucs2"]

GSM7_SINGLE = 160  # septets
GSM7_PART = 153
UCS2_SINGLE = 140  # octets: 70 UTF-16 units
UCS2_PART = 134
MOST_PARTS = 255  # the header's count is one octet

_ESCAPE = 0x1B
_DEFAULT = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = dict(zip(b"\n\x14()/<=>@e", "\f^{}\\[~]|€", strict=True))

_SEPTETS: dict[int, str] = {ord(c): chr(code) for code, c in enumerate(_DEFAULT) if code != _ESCAPE} | {
    ord(c): chr(_ESCAPE) + chr(code) for code, c in _EXTENSION.items()
}
_EXTENDED = frozenset(_EXTENSION.values())
_PLAIN = frozenset(_DEFAULT) - {chr(_ESCAPE)}
_PLAIN_ASCII = bytes(ord(c) for c in _PLAIN if c.isascii())
_EXTENDED_ASCII = bytes(ord(c) for c in _EXTENDED if c.isascii())


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A text as segments: GSM-7 as unpacked septets (one an octet), UCS-2 as UTF-16BE, in the order of the parts."""

    encoding: Encoding
    parts: list[bytes]

    @property
    def count(self) -> int:
        """The number of segments, at least 1."""
        return len(self.parts)


def segment(text: str) -> Segmentation:
    """Split a text into the user data of its segments.

    GSM-7 where every character has a septet, else UCS-2 (also for NUL and for the escape character, which the
    alphabet gives no meaning of their own). An extension character is two septets and, like a surrogate pair, never
    split. Raises ValueError for lone surrogates and for texts of more than 255 segments.
    """
    extended = _count_extended(text)
    if extended is None:
        encoding: Encoding = "ucs2"
        data = text.encode("utf-16-be")
        cuts = _ucs2_cuts(data)
    else:
        encoding = "gsm7"
        data = text.translate(_SEPTETS).encode("latin-1")
        cuts = _gsm7_cuts(data)
    parts = [data[start:end] for start, end in cuts]
    if len(parts) > MOST_PARTS:
        raise ValueError(f"a text of {len(parts)} segments is longer than the {MOST_PARTS} that can be concatenated")
    return Segmentation(encoding, parts)


def count_segments(text: str) -> tuple[Encoding, int]:
    """Return the encoding and number of segments that `segment` would give, without building them.

    Raises ValueError for lone surrogates; has no upper bound.
    """
    extended = _count_extended(text)
    if extended is None:
        data = text.encode("utf-16-be")
        return "ucs2", 1 if len(data) <= UCS2_SINGLE else sum(1 for _ in _ucs2_cuts(data))
    septets = len(text) + extended
    if septets <= GSM7_SINGLE:
        return "gsm7", 1
    if not extended:
        return "gsm7", -(-septets // GSM7_PART)
    return "gsm7", sum(1 for _ in _gsm7_cuts(text.translate(_SEPTETS).encode("latin-1")))


@dataclass(frozen=True, slots=True)
class Measure:
    """A text's size: `units` are septets or UTF-16 code units, `left` is what still fits into its last segment.

    An empty text has no segment. `units_per_segment` is less where there are several, since each has a header then.
    """

    encoding: Encoding
    segments: int
    units: int
    units_per_segment: int
    left: int


def measure(text: str) -> Measure:
    """Measure a text as `segment` would split it; raises ValueError for lone surrogates, has no upper bound."""
    extended = _count_extended(text)
    if extended is None:
        encoding: Encoding = "ucs2"
        data = text.encode("utf-16-be")
        cuts = list(_ucs2_cuts(data))
        octets, single, part = 2, UCS2_SINGLE, UCS2_PART
    else:
        encoding = "gsm7"
        data = text.translate(_SEPTETS).encode("latin-1")
        cuts = list(_gsm7_cuts(data))
        octets, single, part = 1, GSM7_SINGLE, GSM7_PART
    start, end = cuts[-1]
    room = single if len(cuts) == 1 else part
    segments = len(cuts) if text else 0
    return Measure(encoding, segments, len(data) // octets, room // octets, (room - (end - start)) // octets)


def count_forcing(text: str) -> Counter[str]:
    """Return the characters that GSM-7 lacks, with how often each is there, in the order of the text."""
    return Counter(character for character in text if character not in _PLAIN and character not in _EXTENDED)


def _count_extended(text: str) -> int | None:
    """Return how many characters stand in the extension table, or None when the text is not GSM-7."""
    if text.isascii():
        rest = text.encode().translate(None, _PLAIN_ASCII)
        return None if rest.translate(None, _EXTENDED_ASCII) else len(rest)
    others = set(text) - _PLAIN
    if not others:
        return 0
    return sum(map(text.count, others)) if others <= _EXTENDED else None


def _gsm7_cuts(septets: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends; an escape never ends a part, since no second septet is an escape."""
    length = len(septets)
    if length <= GSM7_SINGLE:
        yield 0, length
        return
    start = 0
    while start < length:
        end = start + GSM7_PART
        if end < length and septets[end - 1] == _ESCAPE:
            end -= 1
        yield start, min(end, length)
        start = end


def _ucs2_cuts(octets: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends; a high surrogate (D800 to DBFF) never ends a part."""
    length = len(octets)
    if length <= UCS2_SINGLE:
        yield 0, length
        return
    start = 0
    while start < length:
        end = start + UCS2_PART
        if end < length and octets[end - 2] & 0xFC == 0xD8:  # noqa: PLR2004 - the six bits that mark one
            end -= 2
        yield start, min(end, length)
        start = end
