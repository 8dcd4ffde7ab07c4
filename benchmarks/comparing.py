"""The shape of every comparison: contenders that are measured by turns, medians over the rounds, and their ceilings.

What a contender measures is a dictionary of figures. Known to tables and plots are `per_s`, percentiles such as
`p99_ms`, `cpu_us` of our own parts by name and `beside_us` of the load, the receiver and the SMSC; a figure that is a
dictionary of dictionaries (such as the steps of a message) gets a table of its own.
"""

import argparse
import statistics
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]
Measure = Callable[[], Awaitable[Figures]]
Contenders = dict[str, Measure]
HEADINGS = {
    "p50_ms": "p50 ms", "p90_ms": "p90 ms", "p99_ms": "p99 ms", "p999_ms": "p99.9 ms", "max_ms": "max ms",
    "cpu_us": "CPU us each", "beside_us": "beside it, CPU us", "rss_mib": "RSS MiB", "pss_mib": "PSS MiB",
    "ready_s": "seconds to ready",
}  # fmt: skip
SHOWN = ("p50_ms", "p99_ms", "ready_s", "cpu_us", "beside_us")
"""Columns of a comparison's first table, where a contender has them."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: `opened` sets up once and gives the contenders, `ceilings` says what ours is measured by."""

    name: str
    measures: str
    unit: str
    opened: Callable[[argparse.Namespace], AbstractAsyncContextManager[Contenders]]
    ceilings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


async def compare(comparison: Comparison, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Measure all contenders by turns for so many rounds; return rounds, medians and ratios."""
    console.print(f"[bold]{comparison.name}[/]: {comparison.measures}")
    rounds: list[dict[str, Figures]] = []
    async with comparison.opened(options) as contenders:
        for number in range(options.rounds):
            measured = {name: await measure() for name, measure in contenders.items()}
            rounds.append(measured)
            told = ", ".join(
                f"{name} {figures['per_s']:,.0f}" for name, figures in measured.items() if "per_s" in figures
            )
            console.print(f"  round {number + 1}{': ' if told else ''}{told}", highlight=False)
    return {
        "measures": comparison.measures, "unit": comparison.unit, "rounds": rounds,
        "medians": medians(rounds), "ratios": ratios(rounds, comparison.ceilings),
    }  # fmt: skip


def medians(rows: list[Any]) -> Any:
    """Return rows of one shape as one, each number the median over them."""
    if isinstance(rows[0], Mapping):
        names = {name: None for row in rows for name in row}
        return {name: medians([row[name] for row in rows if name in row]) for name in names}
    return statistics.median(rows)


def ratios(rounds: list[dict[str, Figures]], ceilings: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return how much of each ceiling is reached: the median of the rounds' ratios."""
    return [
        {
            "what": ours, "ceiling": ceiling,
            "ratio": statistics.median(one[ours]["per_s"] / one[ceiling]["per_s"] for one in rounds),
        }
        for ours, others in ceilings.items() for ceiling in others
    ]  # fmt: skip


def show(name: str, result: Mapping[str, Any], console: Console) -> None:
    """Print a comparison as tables."""
    figures: dict[str, Figures] = result["medians"]
    columns = [column for column in SHOWN if any(column in one for one in figures.values())]
    rated = any("per_s" in one for one in figures.values())
    table = Table(name, *([result["unit"]] if rated else []), *(HEADINGS[column] for column in columns), box=None,
                  title=f"{name}: medians of {len(result['rounds'])}", title_justify="left")  # fmt: skip
    for contender, one in figures.items():
        cells = [write(one[column]) if column in one else "" for column in columns]
        table.add_row(contender, *([f"{one['per_s']:,.0f}" if "per_s" in one else ""] if rated else []), *cells)
    console.print(table)
    for ratio in result["ratios"]:
        console.print(f"  {ratio['what']} is [bold]{ratio['ratio']:.2f}[/] of {ratio['ceiling']}", highlight=False)
    for contender, one in figures.items():
        for title, nested in one.items():
            if isinstance(nested, dict) and all(isinstance(value, dict) for value in nested.values()) and nested:
                console.print(nested_table(f"{contender}: {title}", nested))
    console.print()


def nested_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Make a table of figures by part or by step."""
    columns = list({name: None for row in rows.values() for name in row})
    table = Table("", *(HEADINGS.get(name, name) for name in columns), box=None, title=title, title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(write(row[column]) if column in row else "" for column in columns))
    return table


def write(value: Any) -> str:
    """Write a figure, or figures by part, with as many digits as matter."""
    if isinstance(value, Mapping):
        return ", ".join(f"{part} {write(one)}" for part, one in value.items())
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
