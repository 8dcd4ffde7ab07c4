"""What `ghasi simulator` shows of itself: one line that is renewed in a terminal, and a summary at the end.

Owns the words and when they are written. Changes nothing at the simulator.
"""

import asyncio
import os
import shutil
import sys
from collections import Counter, deque

from ghasi.carriers.simulator import Simulator
from ghasi.carriers.smpp import statuses

RENEWED_EACH_S = 0.5
_RATE_OVER = 5  # lines
_CLEAR = "\r\x1b[K"
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_NAMES = 3


class StatusLine:
    """The line; `show` it each RENEWED_EACH_S until it is cancelled, which clears it."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._seen: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER)

    async def show(self) -> None:
        """Renew the line until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                columns = shutil.get_terminal_size().columns
                sys.stdout.write(_CLEAR + self.line(loop.time(), columns - 1))
                sys.stdout.flush()
                await asyncio.sleep(RENEWED_EACH_S)
        finally:
            sys.stdout.write(_CLEAR)
            sys.stdout.flush()

    def line(self, now: float, columns: int) -> str:
        """Return as many of the figures, the most telling ones first, as the columns have room for."""
        self._seen.append((now, self._simulator.received))
        began, before = self._seen[0]
        rate = round((self._simulator.received - before) / (now - began)) if now > began else 0
        simulator = self._simulator
        figures = [
            (f"{rate:,}", "submits/s"),
            _links(simulator),
            (f"{simulator.received:,}", "submits"),
            (f"{simulator.outstanding:,}", "outstanding"),
            (f"{simulator.receipts_pending:,}", "receipts pending"),
            (f"{simulator.receipts_acknowledged:,}", "acknowledged"),
            (f"{simulator.refused.total():,}", "refused"),
            (f"{simulator.lost:,}", "never answered"),
            (f"{simulator.phone_messages:,}", "from phones"),
        ]
        shown: list[str] = []
        used = 0
        for position, (figure, words) in enumerate(figures):
            if position > 5 and figure == "0":  # noqa: PLR2004 - what is rare is shown once there is some
                continue
            used += len(figure) + len(words) + 1 + (3 if shown else 0)
            if used > columns:
                break
            shown.append(f"{_BOLD}{figure}{_PLAIN} {_DIM}{words}{_PLAIN}")
        return f" {_DIM}·{_PLAIN} ".join(shown)


def can_renew() -> bool:
    """Tell whether stdout is a terminal in which a line can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def summarize(simulator: Simulator) -> str:
    """Return what happened, in lines for people."""
    refused = f"{simulator.refused.total():,} refused{_statuses(simulator.refused)}"
    submits = f"{_count(simulator.received, 'submit')}: {simulator.accepted:,} taken, {refused}"
    lines = [
        f"{submits}, {simulator.lost:,} never answered",
        f"{_count(simulator.receipts_acknowledged, 'receipt')} acknowledged, {simulator.receipts_pending:,} pending",
    ]
    if simulator.duplicates:
        lines.append(f"{_count(simulator.duplicates, 'submit')} repeated the number and the text of an earlier one")
    if simulator.phone_messages:
        lines.append(
            f"{_count(simulator.phone_messages, 'message')} from phones, "
            f"acknowledged {_count(simulator.phone_messages_acknowledged, 'time')}"
        )
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _statuses(refused: Counter[int]) -> str:
    named = ", ".join(f"{statuses.status_name(status)} {number:,}" for status, number in refused.most_common())
    return f" ({named})" if named else ""


def _links(simulator: Simulator) -> tuple[str, str]:
    """Return the number of links, and who is bound: those with most links first."""
    bound = Counter(session.system_id or "not bound" for session in simulator.sessions)
    if not bound:
        return "no", "links"
    names = [name if number == 1 else f"{name} x{number}" for name, number in bound.most_common(_NAMES)]
    return _count(bound.total(), "link"), f"({', '.join(names)}{', ...' if len(bound) > _NAMES else ''})"
