"""`ghasi admin usage verify`: whether a month's messages, charges and usage agree.

The one place that reads what two services keep: it changes nothing, and is no service.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress, TaskID

from ghasi.billing.usage.verifying import MOST_KEPT, Facts, Recount, begin_recount
from ghasi.commands.failures import FAILED
from ghasi.commands.operator import Operator, OperatorFlags, do_with
from ghasi.commands.output import RowLimit, count, print_line, print_row, print_rows
from ghasi.messages.keeping import partitions
from ghasi.messages.reading import recount_queries as messages
from ghasi.storage.resources import Resources

usage = App(name="usage")

HERE = Operator()
AT_A_TIME = 5_000
ARRIVES_WITHIN_S, ASKED_EVERY_S = 10.0, 0.25
"""How long is waited for what is under way between messages and billing."""
COLUMNS = ("difference", "account", "what", "messages_say", "billing_has")


@usage.command(name="verify")
def verify(
    *,
    period: Annotated[str, Parameter(help="A month: YYYY-MM")],
    account: Annotated[UUID | None, Parameter(help="This one alone")] = None,
    limit: RowLimit = 100,
    operator: OperatorFlags = HERE,
) -> int:
    """Recount a month from its messages and name what differs from billing; exit status 1 when anything does."""
    recount, is_behind = do_with(
        operator, ("messages", "billing"), lambda its: _recount(its["messages"], its["billing"], period, account)
    )
    rows = [
        dict(zip(COLUMNS, (one.kind, one.account_id, one.what, one.message, one.billing), strict=True))
        for one in recount.found
    ]
    differing = sum(recount.counts.values())
    notes = _notes(recount, is_behind=is_behind)
    if operator.json:
        said = {"period": period, "messages": recount.messages, "charges": recount.charges}
        said |= {"uncheckable": recount.uncheckable, "differences": differing, "by_kind": dict(recount.counts)}
        print_row(said | {"notes": notes, "found": rows[:limit]}, as_json=True)
    else:
        seen = f"{count(recount.messages, 'message')} and {count(recount.charges, 'charge')} of {period}"
        print_line(f"{seen}: {count(differing, 'difference')}", {}, as_json=False)
        for note in notes:
            print_line(note, {}, as_json=False)
        if rows:
            print_rows(rows[:limit], as_json=False, columns=COLUMNS)
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(recount.counts.items()))
            print_line(f"In all: {kinds}", {}, as_json=False)
    return FAILED if differing else 0


async def _recount(told_by: Resources, kept_by: Resources, period: str, account: UUID | None) -> tuple[Recount, bool]:
    """Go through the messages of a month, then look again at what differs, then check the sums."""
    pool = kept_by.pool
    known = await partitions.list_partitions(told_by.pool)
    recount = await begin_recount(pool, period, account, {one.month for one in known if one.attached and one.month})
    with _progress() as (progress, task):
        after = recount.first
        while True:
            told = await messages.list_told(told_by.pool, after, recount.beyond, account, AT_A_TIME)
            until = told[-1].id if len(told) == AT_A_TIME else recount.beyond
            await recount.take(pool, [Facts._make(one) for one in told], after, until)
            progress.update(task, completed=recount.share_of(until))
            if until == recount.beyond:
                break
            after = until
        is_behind = not await _has_arrived(told_by, kept_by) if recount.differing else False
        if recount.differing and len(recount.found) < MOST_KEPT:
            again = await messages.list_told_of(told_by.pool, recount.differing)
            await recount.look_again(pool, [Facts._make(one) for one in again])
        progress.update(task, description="sums")
        await recount.check_sums(pool)
    return recount, is_behind


async def _has_arrived(told_by: Resources, kept_by: Resources) -> bool:
    """Wait until billing has read what messages have said by now, and messages what billing has; whether they have."""
    waited_s, now = 0.0, datetime.now(UTC)
    while not (
        await kept_by.events.has_read_until("messages", "billing", now)
        and await told_by.events.has_read_until("billing", "messages", now)
    ):
        if waited_s >= ARRIVES_WITHIN_S:
            return False
        await asyncio.sleep(ASKED_EVERY_S)
        waited_s += ASKED_EVERY_S
    return True


def _notes(recount: Recount, *, is_behind: bool) -> list[str]:
    notes: list[str] = []
    if recount.uncheckable:
        months = ", ".join(sorted(recount.unread_months))
        notes.append(f"{count(recount.uncheckable, 'charge')} cannot be checked: messages of {months} are detached")
    if is_behind:
        notes.append("Billing has not read all that messages say, or the reverse: is the worker running?")
    if len(recount.found) >= MOST_KEPT:
        notes.append(f"The first {MOST_KEPT:,} differences alone are kept")
    return notes


@contextmanager
def _progress() -> Iterator[tuple[Progress, TaskID]]:
    """Show how far the recount has come, on a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress, progress.add_task("messages", total=1.0)
