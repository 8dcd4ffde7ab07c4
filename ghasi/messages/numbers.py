"""Phone numbers and sender ids: what may be sent to, and in whose name. Rules of E.164 come from phonenumbers."""

import re
from dataclasses import dataclass

import phonenumbers

from ghasi.contract.errors import invalid

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_NAME_RULE = "a name of 1 to 11 letters, digits, spaces and . _ & -, with a letter in it"
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ._&-]{1,11}")
_DIGITS = re.compile(r"\+[1-9][0-9]{5,14}")
INVALID_NUMBER = "must be a valid phone number in E.164, for example +93701234567"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A number in E.164 and its ISO 3166 country, None where a number belongs to none."""

    number: str
    country: str | None


def parse_recipient(text: str) -> Recipient:
    """Read a number that a message may go to; raises Problem invalid_number."""
    number = _number(text)
    country = None if number is None else phonenumbers.region_code_for_number(number)
    if number is None or country is None or not phonenumbers.is_valid_number_for_region(number, country):
        raise invalid("to", INVALID_NUMBER, "invalid_number")
    return Recipient(text, None if country == "001" else country)


def _number(text: str) -> phonenumbers.PhoneNumber | None:
    """Take E.164 apart; other notations and trunk prefixes, which phonenumbers.parse reads too, are no numbers here."""
    if not _DIGITS.fullmatch(text):
        return None
    for length in (1, 2, 3):
        code, national = int(text[1 : 1 + length]), text[1 + length :]
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE and national:
            zeros = len(national) - len(national.lstrip("0"))
            return phonenumbers.PhoneNumber(
                country_code=code,
                national_number=int(national),
                italian_leading_zero=True if zeros else None,
                number_of_leading_zeros=zeros if zeros > 1 else None,
            )
    return None


def parse_sender(text: str | None) -> str | None:
    """Read a sender: E.164, a short code of 3 to 8 digits, or a name; raises Problem invalid_sender.

    A name has at most 11 characters: an alphanumeric address holds 11 septets (3GPP TS 23.040, 9.1.2.5).
    """
    if text is None or _SHORT_CODE.fullmatch(text) or (_NAME.fullmatch(text) and text == text.strip()):
        return text
    number = _number(text)
    if number is not None and phonenumbers.is_possible_number(number):
        return text
    raise invalid("from", f"must be E.164, a short code of 3 to 8 digits, or {_NAME_RULE}", "invalid_sender")


def number_filter(text: str) -> str:
    """Read a number in a query string, where an unescaped + has become a space."""
    return f"+{text[1:]}" if text.startswith(" ") else text
