"""What a promise of the contract is, and what can become of one that is checked.

Owns no promise: those are in the modules by theme. A check returns where the promise is held and raises otherwise.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ghasi.contract.check.bench import Bench

State = Literal["held", "broken", "not checked"]
HELD: State = "held"
BROKEN: State = "broken"
NOT_CHECKED: State = "not checked"
Check = Callable[["Bench"], Awaitable[None]]


class Broken(Exception):  # noqa: N818 - says what is the matter
    """A promise is broken: what was expected, and what was seen in its place; neither holds a secret."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}, seen {seen}")
        self.expected = expected
        self.seen = seen


class NoAnswer(Broken):
    """A request had no answer at all."""


class NotChecked(Exception):  # noqa: N818 - says what happened
    """A promise cannot be checked in this run, and why."""


class CannotCheck(Exception):  # noqa: N818 - says what happened
    """The run as a whole is not possible: the deployment cannot be reached, or a flag makes no sense."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that the contract promises: `source` says where; an extension is promised by Ghasi alone."""

    id: str
    says: str
    source: str
    check: Check
    extension: bool = False

    @property
    def theme(self) -> str:
        """The first part of the id, under which it is shown."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a promise: `expected` and `seen` of a broken one, `why` of one that was not checked."""

    promise: Promise
    state: State
    expected: str = ""
    seen: str = ""
    why: str = ""


def source_of(section: int, *, extension: bool) -> str:
    """Return where a promise about a row stands: in a section of the contract, or beyond it."""
    return "extension" if extension else f"contract {section}"
