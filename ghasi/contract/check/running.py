"""Checks a deployment: chooses promises, goes through them theme by theme, and says what became of each.

Owns the order. The limits come last, since they use up everybody's windows.
"""

import fnmatch
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ghasi.contract.check import (
    callers,
    claims,
    errors,
    forwarding,
    headers,
    limits,
    ownership,
    routes,
    shapes,
    timeouts,
)
from ghasi.contract.check.asking import Http
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.options import Clock, Options
from ghasi.contract.check.promises import (
    BROKEN,
    HELD,
    NOT_CHECKED,
    Broken,
    CannotCheck,
    NotChecked,
    Outcome,
    Promise,
    State,
)

THEMES: dict[str, tuple[str, tuple[Promise, ...]]] = {
    "claims": ("What the access token says", claims.PROMISES),
    "routes": ("Which routes there are", routes.PROMISES),
    "callers": ("Who may call", callers.PROMISES),
    "errors": ("What errors look like", errors.PROMISES),
    "headers": ("Headers of answers, and those that services get", headers.PROMISES + forwarding.PROMISES),
    "shapes": ("What answers look like", shapes.PROMISES),
    "ownership": ("Whose things are whose", ownership.PROMISES),
    "timeouts": ("What becomes of slow and broken services", timeouts.PROMISES),
    "limits": ("How often one may call", limits.PROMISES),
}
"""By name: what a theme is about, and its promises; in the order in which they are checked."""
PROMISES: tuple[Promise, ...] = tuple(promise for _, promises in THEMES.values() for promise in promises)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of every promise that was chosen. `left_behind` is what could not be deleted again."""

    url: str
    outcomes: tuple[Outcome, ...]
    requests: int
    seconds: float
    left_behind: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """Return how many promises have this outcome."""
        return sum(outcome.state == state for outcome in self.outcomes)

    @property
    def broken(self) -> bool:
        """Whether any promise is broken."""
        return any(outcome.state == BROKEN for outcome in self.outcomes)


def choose(options: Options) -> tuple[Promise, ...]:
    """Return the promises that `only` and `extensions` choose; raises CannotCheck where a pattern matches none."""
    for pattern in options.only:
        if not any(fnmatch.fnmatchcase(promise.id, pattern) for promise in PROMISES):
            raise CannotCheck(f"--only: no promise is called {pattern!r}")
    return tuple(
        promise
        for promise in PROMISES
        if (not options.only or any(fnmatch.fnmatchcase(promise.id, pattern) for pattern in options.only))
        and not (promise.extension and options.extensions is False)
    )


async def check(
    options: Options,
    *,
    clock: Clock | None = None,
    tell: Callable[[str], None] = lambda _: None,
    progress: Callable[[Promise, int, int], None] = lambda *_: None,
) -> Report:
    """Check the promises that the options choose; raises CannotCheck where that is not possible.

    `tell` hears what is waited for, `progress` which promise is looked at and how many of all that is. What is made
    on the way is deleted again, whatever happens.
    """
    clock = clock or Clock()
    promises = choose(options)
    began = clock.monotonic()
    async with Http(options.base, clock) as http:
        await http.must_reach()
        bench = Bench(options, http, clock, chosen={promise.id for promise in promises}, tell=tell)
        try:
            await bench.open()
            outcomes = []
            for number, promise in enumerate(promises, 1):
                progress(promise, number, len(promises))
                outcomes.append(await _look_at(promise, bench))
        finally:
            await bench.clean_up()
            await bench.close()
        return Report(options.base, tuple(outcomes), http.asked, clock.monotonic() - began, tuple(bench.left_behind))


async def _look_at(promise: Promise, bench: Bench) -> Outcome:
    try:
        await promise.check(bench)
    except Broken as broken:
        return Outcome(promise, BROKEN, bench.redact(broken.expected), bench.redact(broken.seen))
    except CannotCheck:
        raise
    except NotChecked as reason:
        return Outcome(promise, NOT_CHECKED, why=bench.redact(str(reason)))
    except Exception as error:  # noqa: BLE001 - what answers are like is not ours to choose, and others are to be checked
        at = traceback.extract_tb(error.__traceback__)[-1]
        seen = f"{type(error).__name__} in {Path(at.filename).name}, line {at.lineno}"
        return Outcome(promise, BROKEN, "an answer that can be made sense of", seen)
    return Outcome(promise, HELD)
