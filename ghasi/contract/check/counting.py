"""Counts how many requests pass in a minute, all groups in the same one, with what costs and changes nothing.

Owns the experiment: it begins in a fresh window with enough of it left, and begins again where somebody else used the
window meanwhile. Judges nothing.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ghasi.contract.check import expecting
from ghasi.contract.check.asking import Answer
from ghasi.contract.check.bench import HARMLESS, NO_BODY, Bench
from ghasi.contract.check.people import Person
from ghasi.contract.check.promises import Broken, NoAnswer, NotChecked
from ghasi.contract.row import AUTH_LIMIT, LIMIT_GROUPS, Auth, LimitGroup, Row
from ghasi.contract.table import CONTRACT, ROWS

TRIES = 3
"""How often a group is counted where the count was disturbed, and how many minutes may begin with a used window."""
REFUSALS = 2
_TOO_MANY = 429
_MOST_OF_A_MINUTE_S = 50.0
_SPARE_S = 2.0
_QUERIES = {"export_messages": "?surprise=1"}
"""Where a good request would be work for nothing."""


@dataclass(slots=True)
class Count:
    """What became of a group: how many passed before the first was refused, and the refusals.

    `disturbed` says which answer did not fit. `before` is what was left of the window that was waited for, and `first`
    the answer that began the next.
    """

    group: LimitGroup
    ask: "Asker"
    passed: int = 0
    refusals: list[Answer] = field(default_factory=list)
    disturbed: Broken | None = None
    before: int | None = None
    first: Answer | None = None
    other: Answer | None = None
    """What another account was answered while this one's window was used up."""


@dataclass(slots=True)
class Counting:
    """The counts of all groups that were chosen; of those that could not be counted, why."""

    counts: dict[str, Count] = field(default_factory=dict)
    faults: dict[str, Broken | NotChecked] = field(default_factory=dict)


class Asker:
    """Asks for the rows of one group in turn, past the pace; as the person it is made with, or as another."""

    def __init__(self, bench: Bench, rows: Sequence[Row], person: Person | None) -> None:
        self._bench = bench
        self._rows: Iterator[Row] = itertools.cycle(rows)
        self._person = person

    async def __call__(self, person: Person | None = None) -> Answer:
        """Ask once."""
        row = next(self._rows)
        who = (person or self._person) if row.auth is Auth.BEARER else None
        body = HARMLESS.get(row.operation, {}) if row.body is not None else NO_BODY
        query, origin = _QUERIES.get(row.operation, ""), self._bench.options.origin
        headers = [] if origin is None else [("Origin", origin.rstrip("/"))]
        return await self._bench.ask(row, who, query=query, json=body, headers=headers, played=True, paced=False)


async def count(bench: Bench, groups: Iterable[LimitGroup]) -> Counting:
    """Count groups; what was made for other promises is deleted first, since later there is no leave for it."""
    await bench.clean_up()
    other = await _other_person(bench)
    counting = Counting()
    askers: dict[LimitGroup, Asker] = {}
    for group in groups:
        try:
            askers[group] = await _asker(bench, group)
        except (NotChecked, Broken) as reason:
            counting.faults[group.name] = reason
    left = set(askers)
    for _ in range(TRIES):
        fresh = await _begin(bench, {group: askers[group] for group in LIMIT_GROUPS if group in left}, counting)
        await asyncio.gather(*(_go_on(bench, counting, group) for group in fresh))
        left = {group for group in fresh if _is_open(counting, group)}
        if not left:
            break
    for found in counting.counts.values():
        if other is not None and found.group.per == "account" and found.refusals:
            with contextlib.suppress(NoAnswer):
                found.other = await found.ask(other)
    return counting


async def _other_person(bench: Bench) -> Person | None:
    """Return the person of account B, if any; they may have to sign up, for which there is no leave later."""
    try:
        return await bench.other_person()
    except NotChecked:
        return None


async def _asker(bench: Bench, group: LimitGroup) -> Asker:
    rows = [row for row in CONTRACT if row.limit is group]
    if not rows:
        rows = [row for row in ROWS if row.limit is group]
        for row in rows:
            await bench.there(row)
    try:
        person = await bench.person()
    except NotChecked:
        if group is not AUTH_LIMIT:
            raise
        person, rows = None, [row for row in rows if row.auth is not Auth.BEARER]
    return Asker(bench, rows, person)


async def _begin(bench: Bench, askers: dict[LimitGroup, Asker], counting: Counting) -> list[LimitGroup]:
    """Make the first request of each group, in a minute in which all can be counted; return those that were."""
    left = dict(askers)
    for _ in range(TRIES + 1):
        firsts = await asyncio.gather(*(asker() for asker in left.values()), return_exceptions=True)
        wait_s = 0
        for group, first in zip(list(left), firsts, strict=True):
            try:
                if isinstance(first, BaseException):
                    raise first
                wait_s = max(wait_s, _take_first(bench, group, askers[group], first, counting))
            except (NotChecked, Broken) as reason:
                counting.faults[group.name] = reason
                del left[group]
        if not wait_s:
            return list(left)
        await bench.pace.wait(wait_s, "a fresh minute, to count the limits")
    for group in left:
        counting.faults[group.name] = NotChecked("somebody else goes on using this limit")
    return []


def _take_first(bench: Bench, group: LimitGroup, ask: Asker, answer: Answer, counting: Counting) -> int:
    """Enter a group's first answer; return how many seconds to wait for a better beginning, or 0."""
    limit = bench.options.limit(group)
    given, remaining, reset_s = (
        expecting.whole_number(answer, f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")
    )
    if given != limit:
        raise Broken(f"{limit} requests a minute (else say --limit {group.name}=NUMBER)", f"RateLimit-Limit: {given}")
    needed_s = limit * answer.took_s * 1.5 + _SPARE_S
    if needed_s > _MOST_OF_A_MINUTE_S:
        raise NotChecked(f"{limit} requests one after another take more than a minute")
    before = counting.counts[group.name].before if group.name in counting.counts else None
    if remaining == limit - 1 and answer.status != _TOO_MANY and reset_s >= needed_s:
        counting.counts[group.name] = Count(group, ask, passed=1, before=before, first=answer)
        return 0
    counting.counts[group.name] = Count(group, ask, before=remaining if remaining < limit - 1 else before)
    return reset_s


def _is_open(counting: Counting, group: LimitGroup) -> bool:
    """Say whether a group has to be counted again."""
    return group.name not in counting.faults and counting.counts[group.name].disturbed is not None


async def _go_on(bench: Bench, counting: Counting, group: LimitGroup) -> None:
    """Go on with a group; an answer that cannot be counted is its fault alone."""
    try:
        await _count_on(bench, counting.counts[group.name])
    except (NotChecked, Broken) as reason:
        counting.faults[group.name] = reason


async def _count_on(bench: Bench, count: Count) -> None:
    """Go on until a request is refused, or one more passed than may."""
    limit = bench.options.limit(count.group)
    while count.passed <= limit:
        answer = await count.ask()
        if answer.status == _TOO_MANY:
            break
        count.passed += 1
        expected, seen = max(0, limit - count.passed), expecting.whole_number(answer, "RateLimit-Remaining")
        if seen != expected and count.passed <= limit and count.disturbed is None:
            shown = f"RateLimit-Remaining: {expected} after {count.passed} requests"
            asked = "does somebody else call?" if seen < expected else "is it one window for all routes of the group?"
            count.disturbed = Broken(f"{shown} ({asked})", str(seen))
            return
    else:
        return
    count.refusals = [answer, *[await count.ask() for _ in range(REFUSALS - 1)]]
    if count.passed != limit:
        count.disturbed = Broken(f"{limit} requests to pass", f"{count.passed}")
