"""The catalogue of why messages were not delivered is whole, and stands in the docs."""

from typing import get_args

from ghasi.contract.emit.documents import errors_markdown
from ghasi.contract.errors import CODES
from ghasi.contract.message_errors import MESSAGE_ERRORS, STATUS_MEANINGS
from ghasi.contract.shapes import FINAL_STATUSES, MessageStatus


def test_each_code_says_what_happened_why_and_what_to_do() -> None:
    for code, fault in MESSAGE_ERRORS.items():
        for said in (fault.message, fault.cause, fault.remedy):
            assert said[0].isupper(), code
            assert said.endswith("."), code
    assert not MESSAGE_ERRORS.keys() & CODES.keys(), "errors.md has an anchor for each"


def test_each_status_has_a_meaning_and_final_ones_say_so() -> None:
    assert list(STATUS_MEANINGS) == list(get_args(MessageStatus))
    final = {status for status, said in STATUS_MEANINGS.items() if said.endswith("This is final.")}
    assert final == FINAL_STATUSES - {"unknown"}, "unknown may still become known"


def test_the_docs_have_all_of_it() -> None:
    page = errors_markdown()
    for code, fault in MESSAGE_ERRORS.items():
        assert f'<a id="{code}"></a>`{code}` | {fault.message} | {fault.cause} | {fault.remedy}' in page
    assert all(f"| `{status}` | {said} |" in page for status, said in STATUS_MEANINGS.items())
