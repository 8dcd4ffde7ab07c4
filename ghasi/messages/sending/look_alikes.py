"""What GSM-7 has in place of characters that it lacks: above all punctuation that phones put in by themselves.

Owns the table of suggestions. Nothing is ever replaced by itself: a sender sees them and decides, or asks for it. No
letter is transliterated, for that changes what is written; those that only look different, such as full-width ones,
are.
"""

import unicodedata

from ghasi.carriers.segmentation import count_segments

_SPACES = "\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u00ad\u200b\u2060\ufeff"  # soft hyphen, zero width space, word joiner, byte order mark
_ALIKE = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02c8\u00b4`",
    '"': "\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u02ba\u3003",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u02d7\ufe58\ufe63",
    "<": "\u2039\u3008",
    ">": "\u203a\u3009",
    "/": "\u2044\u2215",
    "*": "\u2022\u2217\u00b7\u22c5\u25cf\u25e6",
    "~": "\u02dc\u223c",
    "^": "\u02c6",
    "|": "\u00a6\u2223",
    "\\": "\u2216",
    ":": "\u2236",
    "%": "\u066a",
    ",": "\u066b\u3001",
    ".": "\u2024",
    "!": "\u01c3",
    "!!": "\u203c",
    "x": "\u00d7",
    "+": "\u2795",
    "...": "\u2026\u22ef",
    "..": "\u2025",
    "\n": "\u2028\u2029\u0085\v",
    "TM": "\u2122",
    "(c)": "\u00a9",
    "(r)": "\u00ae",
    "No.": "\u2116",
    "1/2": "\u00bd",
    "1/4": "\u00bc",
    "3/4": "\u00be",
    "ff": "\ufb00",
    "fi": "\ufb01",
    "fl": "\ufb02",
    "ffi": "\ufb03",
    "ffl": "\ufb04",
}
_FULL_WIDTH = range(0xFF01, 0xFF5F)
_FULL_WIDTH_OFFSET = 0xFEE0
_LOOK_ALIKES: dict[str, str] = (
    {chr(code): chr(code - _FULL_WIDTH_OFFSET) for code in _FULL_WIDTH if code - _FULL_WIDTH_OFFSET != ord("`")}
    | dict.fromkeys(_SPACES, " ")
    | dict.fromkeys(_INVISIBLE, "")
    | {character: plain for plain, characters in _ALIKE.items() for character in characters}
    | {"\uff40": "'"}
)
_TRANSLATION = str.maketrans(_LOOK_ALIKES)
_LABELS = {"Cc": "control", "Co": "private-use", "Cn": "unassigned", "Cs": "surrogate"}


def suggest(character: str) -> str | None:
    """Return what to write in place of a character outside GSM-7: "" is to leave it out, None that there is nothing."""
    return _LOOK_ALIKES.get(character)


def make_gsm7(text: str) -> str:
    """Return a text with its look-alikes replaced if it is GSM-7 then and no longer; else as it was.

    A text of invisible characters alone stays, too: nobody asked for an empty one.
    """
    encoding, segments = count_segments(text)
    if encoding == "gsm7":
        return text
    plain = text.translate(_TRANSLATION)
    encoding, fewer = count_segments(plain)
    return plain if plain and encoding == "gsm7" and fewer <= segments else text


def describe(character: str) -> str:
    """Return a character's Unicode name; those without one get a label (Unicode, section 4.8)."""
    label = _LABELS.get(unicodedata.category(character), "unnamed")
    return unicodedata.name(character, f"<{label}-{ord(character):04X}>")
