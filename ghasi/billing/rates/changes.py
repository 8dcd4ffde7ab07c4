"""What a file of rates would change: each of its lines beside what held before. Pure: knows no database."""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from ghasi.billing.model import RatesError
from ghasi.billing.rates.files import RateLine
from ghasi.contract.pricing import EVERY_COUNTRY, Question, Rate, RateBook, RateKey, default_key
from ghasi.contract.values import new_id

ChangeKind = Literal["lowered", "raised", "mixed", "added", "repeated", "unchanged"]
"""`added` where no rate had these conditions, `mixed` where some tiers are raised and others lowered; `repeated` is the
price that holds by then already, from another moment on; `unchanged` is what alone is not written."""
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
NO_ACCOUNT = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Change:
    """What a line does: `rate` is as it would be written, `before` what held at its moment in its place.

    Where it is `added`, `before` is the less particular rate that held for the same messages, if there is one.
    """

    line: int
    kind: ChangeKind
    rate: Rate
    before: Rate | None


def find_changes(lines: Sequence[RateLine], known: Sequence[Rate], now: datetime) -> list[Change]:
    """Return what each line changes, by the moments from which they hold; lines without one hold from `now` on.

    A line says nothing new when the rate of its very `valid_from`, or without one the rate valid now, is the same.
    Raises RatesError where a currency would have no default rate.
    """
    versions: dict[RateKey, list[Rate]] = {}
    for rate in known:
        insort(versions.setdefault(rate.key, []), rate, key=_order)
    _check_defaults(lines, versions)
    book = RateBook(known)
    changes: list[Change] = []
    for line in sorted(lines, key=lambda line: line.valid_from or now):
        rate = Rate(new_id(), line.key, line.amount_micros, line.valid_from or now, line.tiers)
        rates = versions.setdefault(line.key, [])
        position = bisect_right(rates, rate.valid_from, key=lambda rate: rate.valid_from)
        before = rates[position - 1] if position else None
        if before is None:
            changes.append(Change(line.number, "added", rate, _find_broader(book, rate)))
            rates.insert(0, rate)
            continue
        kind = _compare(before, rate)
        replaces = before.valid_from == rate.valid_from
        if kind == "repeated" and (replaces or line.valid_from is None):
            changes.append(Change(line.number, "unchanged", before, before))
            continue
        if replaces and rate.id <= before.id:  # made where the clock is ahead; of one moment the last id counts
            rate = replace(rate, id=UUID(int=before.id.int + 1))
        changes.append(Change(line.number, kind, rate, before))
        rates.insert(position, rate)
    return changes


def rates_of(changes: Iterable[Change]) -> list[Rate]:
    """Return the rates that changes write."""
    return [change.rate for change in changes if change.kind != "unchanged"]


def count_kinds(changes: Iterable[Change]) -> Counter[ChangeKind]:
    """Count changes by kind."""
    return Counter(change.kind for change in changes)


def _order(rate: Rate) -> tuple[datetime, UUID]:
    return rate.valid_from, rate.id


def _check_defaults(lines: Sequence[RateLine], versions: dict[RateKey, list[Rate]]) -> None:
    keys = versions.keys() | {line.key for line in lines}
    lacking = {key.currency for key in keys if default_key(key.currency) not in keys}
    if faults := [
        f"line {line.number}: {line.key.currency} has no rate for {EVERY_COUNTRY}, which every currency needs"
        for line in lines
        if line.key.currency in lacking
    ]:
        raise RatesError("nothing was imported:\n" + "\n".join(faults))


def _compare(before: Rate, rate: Rate) -> ChangeKind:
    starts = {0}.union(tier.from_segments for tier in before.tiers + rate.tiers)
    differences = [rate.price_after(segments) - before.price_after(segments) for segments in starts]
    if not any(differences):
        return "repeated"
    if min(differences) >= 0:
        return "raised"
    return "lowered" if max(differences) <= 0 else "mixed"


def _find_broader(book: RateBook, rate: Rate) -> Rate | None:
    """Return the rate that holds, of those known, for what a rate of new conditions is about."""
    key = rate.key
    question = Question(
        key.currency, key.direction, key.account_id or NO_ACCOUNT, key.plan, key.country, key.prefix, key.sender_kind,
        key.carrier_class,
    )  # fmt: skip
    return book.find(question, rate.valid_from)
