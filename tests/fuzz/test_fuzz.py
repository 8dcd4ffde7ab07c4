"""A few thousand examples of what `make fuzz` runs for minutes; always the same ones."""

import asyncio
import gc
import itertools
import random
import tracemalloc

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.running import Finding, run_examples
from tests.fuzz.streams import make_stream
from tests.fuzz.targets import Fuzz

SEED = 20261123


def run(first: int, count: int) -> None:
    configured = structlog.get_config()
    try:
        asyncio.run(run_examples(itertools.islice(itertools.count(first), count), until=None))
    finally:
        structlog.configure(**configured)


def test_nothing_but_pdu_errors_and_no_growth() -> None:
    run(SEED, 200)  # what is cached is there
    tracemalloc.start()
    try:
        run(SEED + 200, 600)
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 20
    assert peak < 16 << 20


@settings(max_examples=150)
@given(chance=st.randoms(use_true_random=False))
def test_each_target_with_what_hypothesis_draws(chance: random.Random) -> None:
    async def once() -> None:
        fuzz = Fuzz()
        for target in fuzz.targets.values():
            await target(chance)

    asyncio.run(once())


def test_streams_are_of_all_kinds() -> None:
    """The fuzzer would find nothing if all it made were refused at once."""
    streams = [make_stream(random.Random(seed)) for seed in range(500)]
    assert len(set(streams)) > 490
    assert max(map(len, streams)) > 1000


def test_a_finding_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_fuzz: Fuzz, _chance: random.Random) -> None:
        raise IndexError

    monkeypatch.setattr(Fuzz, "cut_frames", fail)
    with pytest.raises(Finding, match=f"--only frames --seed {SEED}"):
        run(SEED, 1)
