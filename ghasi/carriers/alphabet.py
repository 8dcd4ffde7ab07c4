"""The alphabets of short messages: text to octets and back.

Owns the GSM 7-bit default alphabet with its extension table and its packing (3GPP TS 23.038, 6.1.2 and 6.2.1), and
what a data_coding says of user data (TS 23.038, 4; SMPP 3.4, 5.2.19). Splits nothing and knows no carrier; decoding
never raises, since what a phone sent is shown as well as it can be.
"""

import re
from typing import Literal

from ghasi.carriers.carrier import Encoding

ESCAPE = 0x1B
CARRIAGE_RETURN = 0x0D
SEPTETS_IN_ALL = 160
"""What the 140 octets of one short message hold, its header included."""

_DEFAULT = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = dict(zip(b"\n\x14()/<=>@e", "\f^{}\\[~]|€", strict=True))

_TO_SEPTETS: dict[int, str] = {ord(c): chr(code) for code, c in enumerate(_DEFAULT) if code != ESCAPE} | {
    ord(c): chr(ESCAPE) + chr(code) for code, c in _EXTENSION.items()
}
_FROM_SEPTETS: dict[int, str] = dict(enumerate(_DEFAULT)) | {ESCAPE: " "} | dict.fromkeys(range(128, 256), "\ufffd")
_PLAIN = frozenset(_DEFAULT) - {chr(ESCAPE)}
_EXTENDED = frozenset(_EXTENSION.values())
GSM7_CHARACTERS = _PLAIN | _EXTENDED
"""Every character that GSM-7 has, those of the extension table too."""
_PLAIN_ASCII = bytes(ord(c) for c in _PLAIN if c.isascii())
_EXTENDED_ASCII = bytes(ord(c) for c in _EXTENDED if c.isascii())
_ESCAPED = re.compile(r"\x1b([^\x1b])", re.DOTALL)
_LATIN1_TEXT = bytes(code for code in range(256) if code in b"\t\n\f\r" or 0x20 <= code < 0x7F or code >= 0xA0)  # noqa: PLR2004

Alphabet = Literal[
    "gsm7", "ascii", "latin1", "ucs2", "binary", "compressed", "cyrillic", "hebrew", "japanese", "korean"
]
"""What a data_coding says; compressed (TS 23.042) and binary are no text."""
_CODECS = {"cyrillic": "iso8859-5", "hebrew": "iso8859-8", "japanese": "shift_jis", "korean": "euc_kr"}


def count_extended(text: str) -> int | None:
    """Return how many characters stand in the extension table, or None when the text is not GSM-7."""
    if text.isascii():
        rest = text.encode().translate(None, _PLAIN_ASCII)
        return None if rest.translate(None, _EXTENDED_ASCII) else len(rest)
    others = set(text) - _PLAIN
    if not others:
        return 0
    return sum(map(text.count, others)) if others <= _EXTENDED else None


def encode_gsm7(text: str) -> bytes:
    """Encode a text that `count_extended` has a number for as septets, one an octet; raises ValueError for others."""
    if count_extended(text) is None:
        raise ValueError("the text has characters that GSM-7 lacks")
    return translate_gsm7(text)


def translate_gsm7(text: str) -> bytes:
    """Encode a text that is known to be GSM-7 as septets, one an octet."""
    return text.translate(_TO_SEPTETS).encode("latin-1")


def decode_gsm7(septets: bytes) -> str:
    """Decode septets, one an octet.

    After an escape a code without a meaning is the character of the default alphabet, and an escape that leads to
    nothing, or to another escape, is a space (TS 23.038, 6.2.1 and 6.2.1.1). What is no septet is U+FFFD.
    """
    text = septets.decode("latin-1")
    if ESCAPE not in septets:
        return text.translate(_FROM_SEPTETS)
    pieces = _ESCAPED.split(text)  # every second piece followed an escape
    return "".join(
        _EXTENSION.get(ord(piece), piece.translate(_FROM_SEPTETS)) if number % 2 else piece.translate(_FROM_SEPTETS)
        for number, piece in enumerate(pieces)
    )


def encode_latin1(text: str) -> bytes | None:
    """Encode a text as Latin-1, or return None when it has a character beyond, or a control character."""
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    return None if data.translate(None, _LATIN1_TEXT) else data


def pack_septets(septets: bytes, fill_bits: int = 0) -> bytes:
    """Pack septets, one an octet, into octets, the first after so many bits of zero (TS 23.038, 6.1.2.1)."""
    packed = bytearray()
    for start in range(0, len(septets), 8):  # eight septets are seven octets
        bits = 0
        for position, septet in enumerate(septets[start : start + 8]):
            bits |= (septet & 0x7F) << (7 * position)
        packed += bits.to_bytes(7, "little")
    octets = (7 * len(septets) + fill_bits + 7) // 8
    if not fill_bits:
        return bytes(packed[:octets])
    return (int.from_bytes(packed, "little") << fill_bits).to_bytes(len(packed) + 1, "little")[:octets]


def unpack_septets(octets: bytes, fill_bits: int = 0) -> bytes:
    """Unpack all septets that octets can hold after the fill bits; the last one may be padding."""
    count = max(8 * len(octets) - fill_bits, 0) // 7
    if fill_bits:
        octets = (int.from_bytes(octets, "little") >> fill_bits).to_bytes(len(octets), "little")
    septets = bytearray()
    for start in range(0, len(octets), 7):
        bits = int.from_bytes(octets[start : start + 7], "little")
        septets += bytes(bits >> shift & 0x7F for shift in range(0, 56, 7))
    return bytes(septets[:count])


def fill_bits_after(header_octets: int) -> int:
    """Return how many bits follow a user data header so that the text begins with a septet (TS 23.040, 9.2.3.24)."""
    return -8 * header_octets % 7


def pads_alike(septets: int, last: int) -> bool:
    """Tell whether packed septets (with the header's, in all) would be read as one fewer and padding.

    Packed user data has no count of its septets in SMPP, so the last of 8, 16, ... may be padding: a carriage return
    (TS 23.038, 6.1.2.3.1), or zeros, which would be @. A whole message's 160th is taken for an @ when it says so.
    """
    return not septets % 8 and (last == CARRIAGE_RETURN or (last == 0 and septets != SEPTETS_IN_ALL))


def pack(septets: bytes, header_octets: int = 0) -> bytes:
    """Pack the septets of one message behind a header of so many octets, so that `unpack` gives them back.

    Seven bits left over are filled with a carriage return, which phones show as nothing. A text whose last septet
    would be taken for that gets one carriage return more, where there is room.
    """
    before = -(-8 * header_octets // 7)
    in_all = before + len(septets)
    if septets and (in_all % 8 == 7 or (pads_alike(in_all, septets[-1]) and in_all != SEPTETS_IN_ALL)):  # noqa: PLR2004
        septets += b"\r"
    return pack_septets(septets, fill_bits_after(header_octets))


def unpack(octets: bytes, header_octets: int = 0) -> bytes:
    """Unpack the septets of one message behind a header of so many octets, without what is padding."""
    septets = unpack_septets(octets, fill_bits_after(header_octets))
    in_all = -(-8 * header_octets // 7) + len(septets)
    return septets[:-1] if septets and pads_alike(in_all, septets[-1]) else septets


def decode(encoding: Encoding, payload: bytes) -> str:
    """Decode user data; never raises: what can't be read is U+FFFD."""
    if encoding == "gsm7":
        return decode_gsm7(payload)
    if encoding == "ucs2":
        return payload.decode("utf-16-be", "replace")
    return payload.decode("latin-1" if encoding == "latin1" else "utf-8", "replace")


def alphabet_of(data_coding: int) -> Alphabet:
    """Return what a data_coding (0 to 255) says of user data.

    0 to 15 are SMPP's own numbers, in which 0 is the SMSC's default, GSM-7 unless it says otherwise; all others are
    of TS 23.038, 4, where what is reserved counts as the default alphabet.
    """
    if data_coding < 0x10:  # noqa: PLR2004 - SMPP's own
        return _SMPP_CODINGS.get(data_coding, "binary" if data_coding in {2, 4, 9} else "gsm7")
    group = data_coding >> 4
    if group < 8:  # noqa: PLR2004 - general data coding, and marked for automatic deletion
        if data_coding & 0x20:
            return "compressed"
        return ("gsm7", "binary", "ucs2", "gsm7")[data_coding >> 2 & 3]
    if group == 0xE:  # noqa: PLR2004 - message waiting in UCS-2
        return "ucs2"
    return "binary" if group == 0xF and data_coding & 4 else "gsm7"  # noqa: PLR2004 - with a message class


_SMPP_CODINGS: dict[int, Alphabet] = {
    1: "ascii",
    3: "latin1",
    5: "japanese",
    6: "cyrillic",
    7: "hebrew",
    8: "ucs2",
    10: "japanese",
    13: "japanese",
    14: "korean",
}


def read_user_data(alphabet: Alphabet, data: bytes) -> tuple[Encoding, bytes]:
    """Return user data that is no packed GSM-7 in one of our encodings.

    GSM-7 with an octet that is no septet is Latin-1, as some SMSCs mean it; so are ASCII, and binary data, which keeps
    its octets that way. UCS-2 may be in either order when a mark says so, and loses half a character at its end.
    """
    if alphabet == "gsm7":
        return ("gsm7" if data.isascii() else "latin1"), data
    if alphabet == "ucs2":
        whole = data[: len(data) & ~1]
        if whole[:2] == b"\xff\xfe":
            return "ucs2", whole.decode("utf-16-le", "surrogatepass")[1:].encode("utf-16-be", "surrogatepass")
        return "ucs2", whole[2:] if whole[:2] == b"\xfe\xff" else whole
    if alphabet in _CODECS:
        return "text", data.decode(_CODECS[alphabet], "replace").encode()
    return "latin1", data
