"""Phone numbers and sender ids: what may be sent to, and in whose name. Rules of E.164 come from phonenumbers."""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers

from ghasi.contract.errors import invalid

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_NAME_RULE = "a name of 1 to 11 letters, digits, spaces and . _ & -, with a letter in it"
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ._&-]{1,11}")
_DIGITS = re.compile(r"\+[1-9][0-9]{5,14}")
_KINDS = (
    "mobile", "fixed_line", "voip", "personal_number", "pager", "uan", "premium_rate", "toll_free", "shared_cost",
    "voicemail",
)  # fmt: skip
INVALID_NUMBER = "must be a valid phone number in E.164, for example +93701234567"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A number in E.164 and its ISO 3166 country, None where a number belongs to none."""

    number: str
    country: str | None


def parse_recipient(text: str) -> Recipient:
    """Read a number that a message may go to; raises Problem invalid_number."""
    country = None
    if _DIGITS.fullmatch(text):
        for length in (1, 2, 3):
            code = int(text[1 : 1 + length])
            regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
            if regions is not None:
                country = _find_region(code, regions, text[1 + length :])
                break
    if country is None:
        raise invalid("to", INVALID_NUMBER, "invalid_number")
    return Recipient(text, None if country == "001" else country)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A region's numbers: what `whole` and one of the kinds have exists; `leading` tells them from its neighbours'.

    Each is a pattern with the lengths that it holds for, none of them where it holds for all.
    """

    leading: re.Pattern[str] | None
    whole: tuple[re.Pattern[str], frozenset[int]]
    kinds: tuple[tuple[re.Pattern[str], frozenset[int]], ...]

    def has(self, national: str) -> bool:
        """Whether the region has such a number."""
        length = len(national)
        pattern, lengths = self.whole
        if (lengths and length not in lengths) or pattern.fullmatch(national) is None:
            return False
        for pattern, lengths in self.kinds:
            if (not lengths or length in lengths) and pattern.fullmatch(national) is not None:
                return True
        return False


@cache
def _find_plan(code: int, region: str) -> _Plan:
    """Return the plan of one of a calling code's regions.

    phonenumbers.is_valid_number_for_region asks the same of the same metadata, but what messages go to last, and looks
    every pattern up anew.
    """
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    if metadata is None:
        raise LookupError(f"phonenumbers has no metadata of {region}")
    [whole] = _describe(metadata.general_desc)
    kinds = [description for name in _KINDS for description in _describe(getattr(metadata, name))]
    leading = None if metadata.leading_digits is None else re.compile(metadata.leading_digits)
    return _Plan(leading, whole, tuple(kinds))


def _describe(description: phonenumbers.PhoneNumberDesc | None) -> list[tuple[re.Pattern[str], frozenset[int]]]:
    if description is None or not description.national_number_pattern:
        return []
    return [(re.compile(description.national_number_pattern), frozenset(description.possible_length))]


def _find_region(code: int, regions: tuple[str, ...], national: str) -> str | None:
    """Return the region that a number is valid in, as phonenumbers chooses it among those that share a calling code."""
    for region in regions:
        plan = _find_plan(code, region)
        if len(regions) == 1 or plan.leading is None:
            if plan.has(national):
                return region
        elif plan.leading.match(national):
            return region if plan.has(national) else None
    return None


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
