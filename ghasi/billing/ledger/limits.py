"""What holds an account back, and which alerts are due. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ghasi.contract.shapes import AlertKind, SpendingStatus

THRESHOLDS_PERCENT = (50, 80, 100)


class Figures(NamedTuple):
    """What an account has, holds and has spent; `held_micros` is all that is held, `held_by_now` that up to this month.

    `top_up_micros` is the balance after the last top-up, `limit_micros` the lower of the operator's limit and the
    customer's own.
    """

    prepaid: bool
    balance_micros: int
    held_micros: int
    spent_micros: int
    held_by_now_micros: int
    limit_micros: int | None
    top_up_micros: int | None


class SpendingState(NamedTuple):
    """Whether an account may send, until when that holds at most, and whether even what it holds is not covered."""

    status: SpendingStatus = "ok"
    exhausted: bool = False
    until: datetime | None = None


class Threshold(NamedTuple):
    """A part of a limit, or of a balance, that is used up."""

    kind: AlertKind
    limit_micros: int
    percent: int


def judge(figures: Figures, month_end: datetime) -> SpendingState:
    """Say whether an account may send.

    One whose every cent is held for messages on their way may send no more, but is not exhausted: those go out.
    """
    limit_micros = figures.limit_micros
    over_limit = limit_micros is not None and figures.spent_micros >= limit_micros
    if figures.prepaid and figures.balance_micros <= figures.held_micros:
        return SpendingState("insufficient_balance", figures.balance_micros <= 0 or over_limit)
    if limit_micros is not None and figures.spent_micros + figures.held_by_now_micros >= limit_micros:
        return SpendingState("spending_limit_reached", over_limit, month_end)
    return SpendingState()


def available(figures: Figures) -> int | None:
    """Return what may still be spent; None: any amount."""
    bounds: list[int] = []
    if figures.prepaid:
        bounds.append(figures.balance_micros - figures.held_micros)
    if figures.limit_micros is not None:
        bounds.append(figures.limit_micros - figures.spent_micros - figures.held_by_now_micros)
    return min(bounds, default=None)


def crossed(figures: Figures) -> Sequence[Threshold]:
    """Return every threshold that is reached: of the month's limit, and of the balance after the last top-up."""
    found: list[Threshold] = []
    if figures.limit_micros is not None:
        found += _reached("spending_limit", figures.spent_micros, figures.limit_micros)
    if figures.prepaid and figures.top_up_micros is not None:
        found += _reached("balance", figures.top_up_micros - figures.balance_micros, figures.top_up_micros)
    return found


def _reached(kind: AlertKind, used_micros: int, limit_micros: int) -> list[Threshold]:
    if limit_micros <= 0:
        return []
    return [
        Threshold(kind, limit_micros, percent)
        for percent in THRESHOLDS_PERCENT if used_micros * 100 >= limit_micros * percent
    ]  # fmt: skip
