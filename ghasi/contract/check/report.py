"""Writes what became of promises: a table for people, JSON, and JUnit for CI.

Owns the columns and the members. Everything in it is safe to show: outcomes hold no secret.
"""

import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ghasi.contract.check.promises import BROKEN, HELD, NOT_CHECKED, Outcome, State
from ghasi.contract.check.running import THEMES, Report

_MARKS: dict[State, tuple[str, str]] = {
    HELD: ("held", "green"),
    BROKEN: ("BROKEN", "bold red"),
    NOT_CHECKED: ("not checked", "yellow"),
}
_WIDE = 120
"""From how many columns on there is room for where a promise stands."""


def show(console: Console, report: Report) -> None:
    """Print the promises by theme, and a summary line."""
    for theme, (about, _) in THEMES.items():
        outcomes = [outcome for outcome in report.outcomes if outcome.promise.theme == theme]
        if outcomes:
            console.print(Text(f"\n{theme}", style="bold"), Text(about, style="dim"))
            console.print(_table(outcomes, wide=console.width >= _WIDE))
    console.print()
    for outcome in report.outcomes:
        if outcome.state == BROKEN:
            console.print(Text(f"broken: {outcome.promise.id}", style="red"))
    for text in report.left_behind:
        console.print(Text(f"left behind: {text}", style="yellow"))
    console.print(Text(summary(report), style="bold red" if report.broken else "bold green"))


def summary(report: Report) -> str:
    """Return how many promises are held, broken and not checked, in one line."""
    counts = ", ".join(f"{report.count(state)} {state}" for state in (HELD, BROKEN, NOT_CHECKED))
    return f"{counts} at {report.url} ({report.requests} requests, {report.seconds:.0f} s)"


def _table(outcomes: list[Outcome], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=len("not checked"))
    table.add_column(overflow="fold", ratio=None if wide else 2, min_width=20)
    table.add_column(overflow="fold", ratio=None if wide else 3)
    if wide:
        table.add_column(no_wrap=True, style="dim")
    for outcome in outcomes:
        mark, style = _MARKS[outcome.state]
        name = outcome.promise.id.partition(".")[2]
        source = [outcome.promise.source] if wide else []
        table.add_row(Text(mark, style=style), name, _told(outcome), *source)
    return table


def _told(outcome: Outcome) -> Text:
    text = Text(outcome.promise.says)
    if outcome.state == BROKEN:
        text.append(f"\nexpected {outcome.expected}", style="red")
        text.append(f"\nseen {outcome.seen}", style="red")
    elif outcome.state == NOT_CHECKED:
        text.append(f"\n{outcome.why}", style="dim")
    return text


def as_json(report: Report) -> str:
    """Return the report as a JSON document."""
    return json.dumps(
        {
            "url": report.url,
            "held": report.count(HELD),
            "broken": report.count(BROKEN),
            "not_checked": report.count(NOT_CHECKED),
            "requests": report.requests,
            "left_behind": list(report.left_behind),
            "promises": [_member(outcome) for outcome in report.outcomes],
        },
        indent=2,
        ensure_ascii=False,
    )


def _member(outcome: Outcome) -> dict[str, Any]:
    promise = outcome.promise
    member: dict[str, Any] = {
        "id": promise.id, "theme": promise.theme, "promise": promise.says, "source": promise.source,
        "extension": promise.extension, "outcome": outcome.state.replace(" ", "_"),
    }  # fmt: skip
    if outcome.state == BROKEN:
        member |= {"expected": outcome.expected, "seen": outcome.seen}
    if outcome.state == NOT_CHECKED:
        member["why"] = outcome.why
    return member


def as_junit(report: Report) -> str:
    """Return the report as JUnit's XML: a suite for each theme, a case for each promise."""
    suites = ET.Element("testsuites", name="ghasi contract check")
    for theme in THEMES:
        outcomes = [outcome for outcome in report.outcomes if outcome.promise.theme == theme]
        if not outcomes:
            continue
        suite = ET.SubElement(
            suites, "testsuite", name=theme, tests=str(len(outcomes)), errors="0",
            failures=str(sum(outcome.state == BROKEN for outcome in outcomes)),
            skipped=str(sum(outcome.state == NOT_CHECKED for outcome in outcomes)),
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"), hostname=report.url,
        )  # fmt: skip
        for outcome in outcomes:
            case = ET.SubElement(suite, "testcase", classname=theme, name=outcome.promise.id, time="0")
            if outcome.state == BROKEN:
                told = f"{outcome.promise.says}\nexpected {outcome.expected}\nseen {outcome.seen}"
                ET.SubElement(case, "failure", message=f"seen {outcome.seen}").text = told
            elif outcome.state == NOT_CHECKED:
                ET.SubElement(case, "skipped", message=outcome.why)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
