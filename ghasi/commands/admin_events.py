"""`ghasi admin events`: how far each service has read what others say, and letting one read again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from ghasi.commands.operator import Operator, OperatorFlags, do, do_with
from ghasi.commands.output import print_line, print_rows
from ghasi.contract.errors import Problem
from ghasi.storage import audit
from ghasi.storage.databases import SERVICES
from ghasi.storage.events.carrier import RELAY, Standing
from ghasi.storage.events.outbox import CONSUMERS
from ghasi.storage.resources import Resources

events = App(name="events")

HERE = Operator()
COLUMNS = ("source", "consumer", "carried_by", "behind", "lag_s", "read_until", "place")
Since = Annotated[str, Parameter(help="When what is read again happened; UTC, where it has no offset")]


@events.command(name="list")
def list_events(*, operator: OperatorFlags = HERE) -> None:
    """List who reads whom: how many events lie before it, and up to when it has read all that happened."""
    rows = [_row(one) for one in do_with(operator, SERVICES, _list)]
    print_rows(rows, as_json=operator.json, columns=COLUMNS)


async def _list(its: Mapping[str, Resources]) -> list[Standing]:
    found: list[Standing] = []
    for source, consumers in CONSUMERS.items():
        if its[source].settings.nats_url is not None:
            found.append(await its[source].events.standing(source, RELAY))
        found += [await its[consumer].events.standing(source, consumer) for consumer in consumers]
    return found


def _row(one: Standing) -> dict[str, object]:
    lag_s = None if one.lag_s is None else round(one.lag_s, 1)
    return {name: lag_s if name == "lag_s" else getattr(one, name) for name in COLUMNS}


@events.command(name="replay")
def replay(source: str, consumer: str, *, since: Since, operator: OperatorFlags = HERE) -> None:
    """Let a service read again what another has said since a time, as far as that is kept; it does nothing twice."""
    if consumer not in CONSUMERS.get(source, ()):
        known = "; ".join(f"{one} is read by {', '.join(readers)}" for one, readers in CONSUMERS.items())
        raise Problem("invalid_request", f"{consumer} does not read {source}: {known}")
    at = _time(since)

    async def go_back(it: Resources) -> None:
        async with it.pool.acquire() as connection, connection.transaction():
            await it.events.replay(connection, source, consumer, at)
            await audit.record(
                connection, actor=operator.actor, action="events.replayed", subject=f"{source}/{consumer}", since=at
            )

    do(operator, consumer, go_back)
    said = {"source": source, "consumer": consumer, "since": at}
    print_line(f"{consumer} reads {source} again since {at:%Y-%m-%d %H:%M:%S}", said, as_json=operator.json)


def _time(written: str) -> datetime:
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise Problem("invalid_request", f"--since: {written!r} is no time such as 2026-11-23T08:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
