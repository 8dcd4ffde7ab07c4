"""`ghasi admin routes`: the rules by which messages find their carriers, and why one of them goes where it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from cyclopts import App, Parameter

from ghasi.carriers.configuration import (
    CarrierConfigurationError,
    CarriersFile,
    read_carriers_file,
    simulator_configuration,
)
from ghasi.carriers.routing import Asked, Checked, Explanation, Quality, Routes, Step
from ghasi.carriers.routing_rules import RouteConfiguration
from ghasi.carriers.segmentation import count_segments
from ghasi.commands.operator import Operator, OperatorFlags, do
from ghasi.commands.output import count, print_line, print_rows
from ghasi.contract.errors import Problem
from ghasi.contract.values import new_id, rfc3339
from ghasi.messages.dispatch import admin
from ghasi.messages.dispatch.quality import read_quality
from ghasi.messages.numbers import parse_recipient, parse_sender
from ghasi.storage.resources import Resources

routes = App(name="routes")

HERE = Operator()
NO_ACCOUNT = UUID(int=0)
IMPLIED = "(no routes: every carrier, in order)"
FileFlag = Annotated[Path | None, Parameter(help="Another carriers.toml than the one of the settings")]
_CONDITIONS = ("countries", "accounts", "senders", "prefixes", "days", "hours", "time_zone", "body")


@routes.command(name="list")
def list_routes(*, file: FileFlag = None, operator: OperatorFlags = HERE) -> None:
    """List the rules in their order: what each one asks for, and where it leads."""
    found = _read(file, operator)
    if found is None or not found.routes:
        names = [one.name for one in found.carriers] if found else do(operator, "messages", _known)
        rows: list[dict[str, Any]] = [{"name": None, "to": names, "strategy": "failover", "overflow": True}]
    else:
        rows = [_plain(rule) for rule in found.routes]
    if not operator.json:
        rows = [_short(number, row) for number, row in enumerate(rows, start=1)]
    print_rows(rows, as_json=operator.json, columns=("rule", "name", "conditions", "to", "how"))


async def _known(it: Resources) -> list[str]:
    return [row["name"] for row in await admin.list_carriers(it.pool)]


def _read(file: Path | None, operator: Operator) -> CarriersFile | None:
    """Read the file that is given, else that of the settings; None where there is none, as with --dev."""
    path = file or operator.settings().carriers
    if path is None:
        return None
    try:
        return read_carriers_file(path)
    except CarrierConfigurationError as error:
        raise Problem("invalid_request", str(error)) from error


def _plain(rule: RouteConfiguration) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(rule)
    return {name: value for name, value in row.items() if value is not None}


def _short(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule in columns that a terminal has room for; a table of many prefixes is counted."""
    table = isinstance(row.get("prefixes"), dict)
    said = [f"{key} {_join(row[key])}" for key in _CONDITIONS if key in row and not (key == "prefixes" and table)]
    if table:
        said.append(f"prefixes {len(row['prefixes'])} in a table")
    to = "rejected" if row.get("reject") else "by prefix" if table else _join(row["to"])
    how = [] if row.get("reject") else [row["strategy"]]
    if "weights" in row:
        how.append(" ".join(f"{name}={weight}" for name, weight in row["weights"].items()))
    how += [f"{key} {row[key]}" for key in ("min_delivery_rate", "max_latency_s") if key in row]
    if row.get("overflow"):
        how.append("overflow")
    name = row["name"] or IMPLIED
    return {
        "rule": number,
        "name": name,
        "conditions": "; ".join(said) or "all messages",
        "to": to,
        "how": ", ".join(how) or "-",
    }


def _join(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True)
class Seen:
    """The carriers as the workers last wrote them down; a routing View."""

    rows: Mapping[str, Mapping[str, Any]]
    qualities: Mapping[tuple[str, str | None], Quality]

    def usable(self, carrier: str) -> bool:
        """Return whether it is up and takes new messages."""
        row = self.rows.get(carrier)
        return row is not None and bool(row["bound"]) and row["mode"] == "active"

    def has_room(self, carrier: str) -> bool:
        """Return whether its window had room."""
        row = self.rows[carrier]
        return int(row["outstanding"]) < int(row["window_size"])

    def quality(self, carrier: str, country: str | None) -> Quality | None:
        """Return how well it did with a country over the last hours."""
        return self.qualities.get((carrier, country))

    def describe(self, carrier: str) -> str:
        """Return its state in words."""
        row = self.rows.get(carrier)
        if row is None:
            return "no worker has it"
        if row["mode"] != "active":
            return str(row["mode"])
        return f"up, {row['outstanding']}/{row['window_size']}" if row["bound"] else f"away: {row['detail']}"


@routes.command(name="test")
def explain_route(
    to: str,
    *,
    sender: Annotated[str | None, Parameter(name="--from", help="The sender; none is the carrier's default")] = None,
    account: Annotated[UUID | None, Parameter(help="Whose message it is")] = None,
    body: Annotated[str, Parameter(help="Its text")] = "",
    at: Annotated[str | None, Parameter(help="When, as 2026-11-23T08:00:00+04:30; default now")] = None,
    message: Annotated[UUID | None, Parameter(help="Its id, by which weights choose; default a new one")] = None,
    file: FileFlag = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Explain where a message to a number would go now: each rule, the candidates in order, who would take it."""
    recipient = parse_recipient(to)
    segments = _segments(body)
    asked = Asked(
        recipient.number, recipient.country, parse_sender(sender), account or NO_ACCOUNT, body, segments, _time(at),
        message or new_id(),
    )  # fmt: skip
    found = _read(file, operator)

    async def look(it: Resources) -> Seen:
        return Seen({row["name"]: row for row in await admin.list_carriers(it.pool)}, await read_quality(it.pool))

    seen = do(operator, "messages", look)
    routing = found.routing if found is not None else Routes([], list(seen.rows) or _simulated(operator))
    if not routing.carriers:
        raise Problem("not_found", "There is no carrier: GHASI_CARRIERS is not set, and no worker has told of one.")
    explained = routing.explain(asked, seen)
    outcome, taker = _outcome(explained, seen)
    if operator.json:
        print_line("", _as_json(asked, explained, seen, outcome, taker), as_json=True)
        return
    about = [to, asked.country or "no country", count(segments, "segment"), f"from {sender or 'no sender'}"]
    print_line(", ".join((*about, f"{asked.at:%a %Y-%m-%d %H:%M %Z}")) + "\n", {}, as_json=False)
    steps = [_step(number, step) for number, step in enumerate(explained.steps, start=1)]
    if not routing.rules:
        steps = [{"rule": 1, "name": IMPLIED, "matches": True, "why": "there is no [[route]]"}]
    print_rows(steps, as_json=False, columns=("rule", "name", "matches", "why"))
    if explained.candidates:
        print_line("", {}, as_json=False)
        columns = ("place", "carrier", "state", "segment_costs", "delivered", "latency_s", "note")
        print_rows(_candidates(explained, seen), as_json=False, columns=columns)
    print_line(f"\n{outcome}", {}, as_json=False)


def _simulated(operator: Operator) -> list[str]:
    """Return what there is with --dev before a worker has told of it."""
    return [simulator_configuration("", 0).name] if operator.settings().dev else []


def _segments(body: str) -> int:
    try:
        return count_segments(body)[1]
    except ValueError:  # what came as no UTF-8 from the shell
        raise Problem("invalid_request", "--body: is no text in UTF-8") from None


def _time(written: str | None) -> datetime:
    if written is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise Problem("invalid_request", f"--at: {written!r} is no time such as 2026-11-23T08:00:00Z") from None
    if at.tzinfo is None:
        raise Problem("invalid_request", "--at: needs an offset, such as +04:30 or Z")
    return at


def _outcome(explained: Explanation, seen: Seen) -> tuple[str, str | None]:
    """Say what would become of the message now, and name the carrier that would take it."""
    decision = explained.decision
    if decision.rejected:
        return f"Rejected by {decision.rule}: the message fails with not_permitted.", None
    if not decision.candidates:
        return "No route: the message fails with no_route.", None
    usable = [name for name in decision.candidates if seen.usable(name)]
    if not usable:
        return f"No carrier is up: the message waits for {' or '.join(decision.candidates)}.", None
    free = next((name for name in (usable if decision.overflow else usable[:1]) if seen.has_room(name)), None)
    if free is None:
        return f"{usable[0]} has no room: the message waits for it.", None
    return f"{free} would take it now.", free


def _step(number: int, step: Step) -> dict[str, Any]:
    unmet = [f"{one.key}: wants {one.wants}, has {_has(one)}" for one in step.conditions if not one.holds]
    met = [f"{one.key}: {one.has}" for one in step.conditions]
    why = "; ".join(met if step.matched else unmet) or "no conditions"
    return {"rule": number, "name": step.rule, "matches": step.matched, "why": why}


def _has(condition: Checked) -> str:
    return "none (--account)" if condition.has == str(NO_ACCOUNT) else condition.has


def _candidates(explained: Explanation, seen: Seen) -> Sequence[dict[str, Any]]:
    rows = []
    for place, one in enumerate(explained.candidates, start=1):
        quality = one.quality
        delivered = f"{quality.delivery_rate * 100:.1f}% of {quality.messages}" if quality else None
        latency_s = None if quality is None or quality.latency_s is None else f"{quality.latency_s:.1f}"
        rows.append(
            {
                "place": place,
                "carrier": one.carrier,
                "state": seen.describe(one.carrier),
                "segment_costs": None if one.cost is None else f"{one.cost:f}",
                "delivered": delivered,
                "latency_s": latency_s,
                "note": f"below {one.fault}" if one.fault else None,
            }
        )
    return rows


def _as_json(asked: Asked, explained: Explanation, seen: Seen, outcome: str, taker: str | None) -> dict[str, Any]:
    decision = explained.decision
    return {
        "to": asked.to,
        "country": asked.country,
        "from": asked.sender,
        "segments": asked.segments,
        "at": rfc3339(asked.at),
        "message": str(asked.seed),
        "rule": decision.rule,
        "rejected": decision.rejected,
        "overflow": decision.overflow,
        "taken_by": taker,
        "outcome": outcome,
        "rules": [msgspec.to_builtins(step) for step in explained.steps],
        "candidates": [
            {
                "carrier": one.carrier,
                "usable": one.usable,
                "state": seen.describe(one.carrier),
                "cost": None if one.cost is None else f"{one.cost:f}",
                "quality": None if one.quality is None else msgspec.to_builtins(one.quality),
                "fault": one.fault,
            }
            for one in explained.candidates
        ],
    }
