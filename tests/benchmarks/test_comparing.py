"""Rounds by turns: medians of figures of any shape, and ratios to a ceiling of the same round."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

from benchmarks.comparing import Comparison, Contenders, Figures, compare, show


@asynccontextmanager
async def opened(_: argparse.Namespace) -> AsyncIterator[Contenders]:
    rates = {"ours": iter([10.0, 40.0, 20.0]), "bare": iter([100.0, 100.0, 400.0])}
    asked: list[str] = []

    def contender(name: str) -> Figures:
        asked.append(name)
        return {"per_s": next(rates[name]), "cpu_us": {"API": len(asked)}, "steps": {"POST": {"p99_ms": 3.0}}}

    async def ours() -> Figures:
        return contender("ours")

    async def bare() -> Figures:
        return contender("bare")

    yield {"ours": ours, "bare": bare}


async def test_contenders_take_turns_and_a_ratio_is_of_one_round() -> None:
    console = Console(record=True, width=120)
    comparison = Comparison("some", "what is measured", "requests/s", opened, {"ours": ("bare",)})
    result = await compare(comparison, argparse.Namespace(rounds=3), console)
    assert result["medians"]["ours"]["per_s"] == 20.0
    assert result["medians"]["ours"]["cpu_us"] == {"API": 3}  # first, third and fifth to be asked
    assert result["ratios"] == [{"what": "ours", "ceiling": "bare", "ratio": pytest.approx(0.1)}]  # not 20 / 100
    show("some", result, console)
    text = console.export_text()
    assert "ours is 0.10 of bare" in text
    assert "ours: steps" in text
