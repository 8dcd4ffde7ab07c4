"""`ghasi admin rates`: what messages cost, from files and as files, and which rate holds."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.billing.rates import admin
from ghasi.billing.rates.changes import KINDS, Change, count_kinds
from ghasi.billing.rates.files import parse_prefix, parse_time, write_tiers
from ghasi.billing.rates.finding import Asked, explain, list_holding
from ghasi.billing.rates.history import RateFilter
from ghasi.commands.operator import Operator, OperatorFlags, do
from ghasi.commands.output import Row, RowLimit, count, print_line, print_row, print_rows
from ghasi.contract.errors import invalid
from ghasi.contract.pricing import Direction, Rate
from ghasi.contract.values import decimal_string
from ghasi.messages.numbers import parse_recipient, parse_sender

rates = App(name="rates")

HERE = Operator()
PLAIN = {"direction": "outbound", "country": "*", "prefix": ""}
"""What a column that no rate uses says; it is left out of tables."""
ALWAYS = ("currency", "country")
CONDITIONS = ("currency", "direction", "country", "prefix", "sender_kind", "carrier_class", "account", "plan")
TimeFlag = Annotated[str | None, Parameter(help="RFC 3339 or a day; by default now")]


@dataclass(frozen=True, slots=True)
class Filter:
    """Flags that choose rates."""

    country: Annotated[str | None, Parameter(help="ISO 3166, or * for rates of no country")] = None
    prefix: Annotated[str | None, Parameter(help="What the rates' prefixes begin with")] = None
    account: UUID | None = None
    plan: str | None = None
    currency: str | None = None

    def wanted(self) -> RateFilter:
        """Return it as billing takes it."""
        return RateFilter(
            country=self.country.upper() if self.country else None,
            prefix=None if self.prefix is None else _parse_prefix(self.prefix),
            account_id=self.account,
            plan=self.plan,
            currency=self.currency.upper() if self.currency else None,
        )


ALL = Filter()
FilterFlags = Annotated[Filter, Parameter(name="*")]


@rates.command(name="list")
def list_rates(
    *,
    chosen: FilterFlags = ALL,
    at: TimeFlag = None,
    history: Annotated[bool, Parameter(help="Every rate that was ever added", negative="")] = False,
    limit: RowLimit = 1000,
    operator: OperatorFlags = HERE,
) -> None:
    """List the rates that are valid, or with --history all of them, by their conditions."""
    when = None if history else _parse_at(at)
    found = do(operator, "billing", lambda it: admin.list_rates(it.pool, chosen.wanted(), at=when))
    _print([_row(rate) for rate in found], ("price", "tiers", "valid_from"), limit, operator)


@rates.command(name="import")
def import_rates(
    file: Path,
    *,
    dry_run: Annotated[bool, Parameter(help="Show what would change, and change nothing", negative="")] = False,
    limit: Annotated[RowLimit, Parameter(help="How many lines --dry-run shows at most")] = 200,
    operator: OperatorFlags = HERE,
) -> None:
    """Add the rates of a CSV file: all of them, or none when a line is wrong."""
    text = file.read_text(encoding="utf-8-sig")
    if not dry_run:
        changes = do(operator, "billing", lambda it: admin.import_rates(it.pool, text, operator.actor))
        print_line(_say(changes), _counts(changes), as_json=operator.json)
        return
    changes = do(operator, "billing", lambda it: admin.try_import(it.pool, text))
    changes.sort(key=lambda change: (KINDS.index(change.kind), change.line))
    rows = [_change_row(change) for change in changes]
    if operator.json:
        print_row({**_counts(changes), "changes": rows}, as_json=True)
        return
    _print(rows, ("valid_from", "before", "price"), limit, operator, first=("change", "line"))
    print_line(f"{_say(changes)}; nothing was changed", {}, as_json=False)


@rates.command(name="export")
def export_rates(
    *,
    chosen: FilterFlags = ALL,
    at: TimeFlag = None,
    all_: Annotated[bool, Parameter(name="--all", help="Every version that ever holds", negative="")] = False,
    operator: OperatorFlags = HERE,
) -> None:
    """Write the rates that are valid, or with --all all versions, as CSV that imports again without a change."""
    when = None if all_ else _parse_at(at)
    sys.stdout.write(do(operator, "billing", lambda it: admin.export_rates(it.pool, chosen.wanted(), at=when)))


@rates.command(name="find")
def find_rate(
    *,
    account: UUID,
    to: Annotated[str, Parameter(help="The other end's number in E.164, of inbound messages too")],
    from_: Annotated[str | None, Parameter(name="--from", help="The account's own end")] = None,
    carrier_class: Annotated[str | None, Parameter(help="`class` of the carrier in carriers.toml")] = None,
    direction: Direction = "outbound",
    at: TimeFlag = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Say which rate a message is charged at and why; those that hold too, but count less, follow it."""
    recipient, when = parse_recipient(to), _parse_at(at)
    asked = Asked(account, recipient.number, recipient.country, parse_sender(from_), carrier_class, direction)
    question, found = do(operator, "billing", lambda it: list_holding(it.pool, asked, when))
    rows = [{"holds": not number, **_row(rate), "why": explain(rate, when)} for number, rate in enumerate(found)]
    if operator.json:
        print_row({**question._asdict(), "at": when, "rates": rows}, as_json=True)
        return
    if found:
        price = f"{decimal_string(found[0].amount_micros)} {question.currency} a segment"
        print_line(f"{price}: {rows[0]['why']}", {}, as_json=False)
        _print(rows, ("price", "tiers", "valid_from", "why"), len(rows), operator, first=("holds",))
    else:
        print_line("free: no rate holds", {}, as_json=False)


def _row(rate: Rate) -> dict[str, Any]:
    key = rate.key._asdict()
    account = key.pop("account_id")
    price = {"price": decimal_string(rate.amount_micros), "tiers": write_tiers(rate.tiers) or None}
    return {**key, "account": account, **price, "valid_from": rate.valid_from, "id": rate.id}


def _change_row(change: Change) -> dict[str, Any]:
    before = change.before and _price(change.before)
    if before and change.kind == "added":
        before = f"({before})"
    line = {"change": change.kind, "line": change.line, **_row(change.rate)}
    return line | {"before": before, "price": _price(change.rate)}


def _price(rate: Rate) -> str:
    return ";".join(filter(None, (decimal_string(rate.amount_micros), write_tiers(rate.tiers))))


def _print(rows: Sequence[Row], last: Iterable[str], limit: int, operator: Operator, first: Iterable[str] = ()) -> None:
    """Print rows without the columns that none of them uses."""
    used = [
        column
        for column in (*CONDITIONS, *last)
        if column in ALWAYS or any(row[column] not in (None, PLAIN.get(column)) for row in rows)
    ]
    print_rows(rows[:limit], as_json=operator.json, columns=(*first, *used))
    if len(rows) > limit and not operator.json:
        print_line(f"... and {len(rows) - limit} more", {}, as_json=False)


def _counts(changes: Sequence[Change]) -> dict[str, int]:
    counts = count_kinds(changes)
    return {kind: counts[kind] for kind in KINDS}


def _say(changes: Sequence[Change]) -> str:
    counts = count_kinds(changes)
    rest = [f"{counts[kind]} {kind}" for kind in ("raised", "lowered", "mixed", "repeated", "unchanged")]
    always = ("raised", "lowered", "unchanged")
    said = [text for text in rest if text.split()[1] in always or not text.startswith("0 ")]
    return ", ".join((f"{count(counts['added'], 'rate')} added", *said))


def _parse_at(text: str | None) -> datetime:
    try:
        return parse_time(text or "") or datetime.now(UTC)
    except ValueError as error:
        raise invalid("at", str(error)) from error


def _parse_prefix(text: str) -> str:
    try:
        return parse_prefix(text)
    except ValueError as error:
        raise invalid("prefix", str(error)) from error
