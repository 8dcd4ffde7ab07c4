"""Moments by a message's number, shared between processes: the load, the SMSC and the receiver each write their own.

A file of one double a message, mapped by who stamps and by who reads, so that a stamp costs one store in memory and
nothing has to be handed over. All moments are of CLOCK_MONOTONIC, which the processes of one machine share.
"""

import contextlib
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path

MOST = 8_000_000
"""Numbers that a file has places for; what is never written takes no memory."""
MARK = b"n="
DIGITS = 7
DUE, ANSWERED, SUBMITTED, RECEIPTED, TOLD = "due", "answered", "submitted", "receipted", "told"
"""A request should leave; its answer is here; the SMSC has the submit_sm; has sent the receipt; the webhook is here."""


class Stamps:
    """One file of moments."""

    def __init__(self, folder: str | Path, name: str) -> None:
        with (Path(folder) / name).open("a+b") as file:
            file.truncate(MOST * 8)
            self.moments = memoryview(mmap.mmap(file.fileno(), MOST * 8)).cast("d")

    def put(self, number: int, moment: float) -> None:
        """Stamp a message; of two stamps the first counts."""
        if not self.moments[number]:
            self.moments[number] = moment


def number_in(content: bytes) -> int | None:
    """Return the number of the message that a submit_sm or a webhook is about: `n=0000042` in its text."""
    at = content.find(MARK)
    digits = content[at + 2 : at + 2 + DIGITS]
    return int(digits) if at >= 0 and digits.isdigit() else None


def delays(before: Stamps, after: Stamps, numbers: range, now: float | None = None) -> list[float]:
    """Return the seconds between two stamps of each of these messages that has both.

    With `now`, one that waits for its second stamp counts as well, with the time that it has waited: what is late
    would be left out otherwise.
    """
    return [
        (then or now or first) - first
        for first, then in zip(
            before.moments[numbers.start : numbers.stop], after.moments[numbers.start : numbers.stop], strict=True
        )
        if first and (then or now)
    ]


@contextlib.contextmanager
def stamps_folder() -> Iterator[Path]:
    """Make a folder for stamps, in memory where there is one, so that no disk is written to."""
    shared = Path("/dev/shm")  # noqa: S108 - the folder in it is private
    with tempfile.TemporaryDirectory(prefix="ghasi-bench-", dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)
