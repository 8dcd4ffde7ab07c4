"""What an HTTP answer to a submit means. Pure: status and body in, a verdict out.

Owns the usual meaning of HTTP statuses where a carrier's configuration says nothing else.
"""

from dataclasses import dataclass

import msgspec

from ghasi.carriers.carrier import Outcome, SubmitResult
from ghasi.carriers.http.configuration import AnswerRules, pointers_of
from ghasi.carriers.http.pointer import Pointer, find_word, find_words, parse_pointer

LONGEST_ID = 255
LONGEST_DETAIL = 100
_SUCCESS = range(200, 300)
_USUAL: dict[str, str] = {
    "2xx": "accepted",
    "3xx": "doubt",
    "4xx": "refused",
    "5xx": "doubt",
    # elsewhere, or not for us: nothing was taken, and nothing will be until somebody sets it right
    "301": "away", "302": "away", "307": "away", "308": "away",
    "401": "away", "404": "away", "405": "away", "407": "away",
    "402": "no_credit",
    "403": "not_permitted",
    "408": "retry", "425": "retry",
    "429": "throttled", "503": "throttled",
}  # fmt: skip

_RESULTS: dict[str, tuple[Outcome, str | None]] = {
    "accepted": (Outcome.ACCEPTED, None),
    "throttled": (Outcome.THROTTLED, "throttled"),
    "retry": (Outcome.THROTTLED, "carrier_error"),
    "away": (Outcome.UNSENT, None),
    "doubt": (Outcome.UNANSWERED, None),
    "refused": (Outcome.REFUSED, "submit_failed"),
}  # all others are codes of message errors


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says: a meaning (see AnswerRules), the carrier's message id, and words fit for an operator."""

    verdict: str
    carrier_message_id: str | None
    detail: str

    def result(self) -> SubmitResult:
        """Return the submit's end."""
        outcome, error_code = _RESULTS.get(self.verdict, (Outcome.REFUSED, self.verdict))
        if outcome is Outcome.ACCEPTED:
            return SubmitResult(outcome, self.carrier_message_id)
        return SubmitResult(outcome, None, error_code, self.detail)


class AnswerReader:
    """Reads the answers of one carrier."""

    def __init__(self, rules: AnswerRules) -> None:
        self._rules = rules
        self._id: Pointer | None = None if rules.id is None else parse_pointer(rules.id)
        self._status = [parse_pointer(pointer) for pointer in pointers_of(rules.status)]
        self._detail: Pointer | None = None if rules.detail is None else parse_pointer(rules.detail)

    def read(self, status: int, body: bytes, own_id: str) -> Reading:
        """Read an answer: a known word in its body counts before its HTTP status, but accepts nothing by itself.

        A success whose body cannot be read where it should be is in doubt: the message may have been taken.
        """
        document = _decode(body)
        words = find_words(document, self._status)
        known = next((self._rules.values[word] for word in words if word in self._rules.values), None)
        verdict = self._verdict_of(status)
        if known is not None and (known != "accepted" or status in _SUCCESS):
            verdict = known
        elif verdict == "accepted" and self._status:
            verdict = self._rules.other if words else "doubt"
        detail = self._describe(status, words, document)
        if verdict != "accepted" or self._id is None:
            return Reading(verdict, own_id if verdict == "accepted" else None, detail)
        found = find_word(document, self._id)
        if document is None:
            return Reading("doubt", None, detail)
        return Reading(verdict, found if is_usable_id(found) else None, detail)

    def _verdict_of(self, status: int) -> str:
        exact, kind = str(status), f"{status // 100}xx"
        given = self._rules.statuses
        return given.get(exact) or given.get(kind) or _USUAL.get(exact) or _USUAL.get(kind, "doubt")

    def _describe(self, status: int, words: list[str], document: object) -> str:
        said = None if self._detail is None else find_word(document, self._detail)
        return printable(" ".join([f"HTTP {status}", *words, *([said] if said else [])]))


def is_usable_id(word: str | None) -> bool:
    """Whether a word can be a message id: printable, and not longer than any carrier's is."""
    return word is not None and 0 < len(word) <= LONGEST_ID and word.isprintable()


def printable(text: str) -> str:
    """Return what a carrier said, cut and without what no log should have."""
    return "".join(character for character in text[:LONGEST_DETAIL] if character.isprintable())


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
