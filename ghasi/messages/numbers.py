"""Phone numbers and sender ids: what may be sent to, and in whose name. Rules of E.164 come from phonenumbers."""

import re
from dataclasses import dataclass

import phonenumbers

from ghasi.contract.errors import invalid

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ._&-]{1,11}")
_DIGITS = re.compile(r"\+[0-9]{6,15}")
INVALID_NUMBER = "must be a valid phone number in E.164, for example +93701234567"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A number in E.164 and its ISO 3166 country, None where a number belongs to none."""

    number: str
    country: str | None


def parse_recipient(text: str) -> Recipient:
    """Read a number that a message may go to; raises Problem invalid_number."""
    if not _DIGITS.fullmatch(text):
        raise invalid("to", INVALID_NUMBER, "invalid_number")
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise invalid("to", INVALID_NUMBER, "invalid_number") from None
    country = phonenumbers.region_code_for_number(number)
    if country is None or not phonenumbers.is_valid_number_for_region(number, country):
        raise invalid("to", INVALID_NUMBER, "invalid_number")
    return Recipient(text, None if country == "001" else country)


def parse_sender(text: str | None) -> str | None:
    """Read a sender: E.164, a short code of 3 to 8 digits, or a name; raises Problem invalid_sender.

    A name has at most 11 characters: an alphanumeric address holds 11 septets (3GPP TS 23.040, 9.1.2.5).
    """
    if text is None or _SHORT_CODE.fullmatch(text) or (_NAME.fullmatch(text) and text == text.strip()):
        return text
    if _DIGITS.fullmatch(text):
        try:
            if phonenumbers.is_possible_number(phonenumbers.parse(text, None)):
                return text
        except phonenumbers.NumberParseException:
            pass
    raise invalid("from", "must be E.164, a short code of 3 to 8 digits, or a name of 1 to 11 letters and digits",
                  "invalid_sender")  # fmt: skip


def number_filter(text: str) -> str:
    """Read a number in a query string, where an unescaped + has become a space."""
    return f"+{text[1:]}" if text.startswith(" ") else text
