"""Numbers are held against phonenumbers' own parser, which reads much more than E.164."""

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghasi.contract.errors import Problem
from ghasi.messages.numbers import parse_recipient, parse_sender

EXAMPLES = [
    (region, phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    if (number := phonenumbers.example_number_for_type(region, kind)) is not None
]


def test_every_countrys_example_numbers_are_accepted() -> None:
    for region, number in EXAMPLES:
        # islands share their mainland's numbers: the parser's own word on the region counts
        expected = phonenumbers.region_code_for_number(phonenumbers.parse(number, None))
        assert parse_recipient(number).country == expected, (region, number)
        assert parse_sender(number) == number


@given(st.from_regex(r"\+[0-9]{6,15}", fullmatch=True))
@example("+0433110000")
def test_what_is_accepted_is_what_phonenumbers_calls_valid_e164(text: str) -> None:
    try:
        parsed = phonenumbers.parse(text, None)
        valid = phonenumbers.is_valid_number(parsed)
        # a trunk prefix is dropped by the parser: then the text was not E.164
        valid &= phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == text
    except phonenumbers.NumberParseException:
        valid = False
    if valid:
        assert parse_recipient(text).number == text
    else:
        with pytest.raises(Problem, match="invalid_number"):
            parse_recipient(text)


@pytest.mark.parametrize("text", ["Ghasi", "A", "123", "12345678", "+93701234567", "AT&T", "My Shop", "a_b.c-d"])
def test_good_senders(text: str) -> None:
    assert parse_sender(text) == text


@pytest.mark.parametrize(
    "text", ["", " Ghasi", "Ghasi ", "12", "123456789", "twelve chars", "Über", "a\nb", "+12", "...", "+"]
)
def test_bad_senders(text: str) -> None:
    with pytest.raises(Problem, match="invalid_sender") as raised:
        parse_sender(text)
    assert "letters, digits, spaces and . _ & -" in raised.value.errors[0].message
