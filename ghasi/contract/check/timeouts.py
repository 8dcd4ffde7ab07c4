"""Promises about services at fault: too slow, refusing, breaking off.

All but the first need upstreams that the checker plays. Every time-out is waited for once, all at the same time.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial

from ghasi.contract.check import expecting
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.playing import Part
from ghasi.contract.check.promises import Broken, NoAnswer, NotChecked, Promise
from ghasi.contract.row import Auth, Row, Upstream
from ghasi.contract.table import BY_OPERATION, CONTRACT

LATE_S = 1.0
"""How much earlier than its time-out an answer is that is still in time."""
PATIENCE_S = 2.0
"""How much longer than the time-out an answer is waited for."""
GROUPS: dict[str, tuple[str, tuple[Row, ...]]] = {
    name: (source, tuple(BY_OPERATION[operation] for operation in operations))
    for name, source, operations in (
        ("auth", "contract 6", ("refresh_session",)),
        ("api_keys", "design 5", ("list_api_keys",)),
        ("send", "contract 6", ("send_message",)),
        ("messages", "contract 6", ("list_messages", "get_message")),
        ("billing", "contract 6", ("get_usage", "list_invoices")),
        ("webhooks", "contract 6", ("list_webhooks", "create_webhook")),
    )
}
"""The contract's groups of time-outs, and what is asked for in each."""


@dataclass(frozen=True, slots=True)
class _Waited:
    """What became of a request: its answer, or that there was none."""

    row: Row
    part: Part
    answer: Answer | NoAnswer


async def _ask(bench: Bench, row: Row, part: Part) -> _Waited:
    person = await bench.person() if row.auth is Auth.BEARER else None
    body = b"{}" if row.body is not None else None
    try:
        answer: Answer | NoAnswer = await bench.ask(
            row, person, query=f"?{part.query}", body=body, headers=[("Accept", "application/json")], played=True,
            within_s=row.timeout_s + PATIENCE_S,
        )  # fmt: skip
    except NoAnswer as none:
        answer = none
    if not part.received and not isinstance(answer, NoAnswer):
        raise NotChecked(f"the gateway did not ask the {row.upstream} that is played: {describe(answer)}")
    return _Waited(row, part, answer)


async def _wait_for_all(bench: Bench) -> dict[str, list[_Waited] | NotChecked]:
    """Ask for every row of the chosen groups, once of an upstream that hangs and once of one that is late."""

    async def ask(name: str) -> list[_Waited] | NotChecked:
        asked = []
        for row in GROUPS[name][1]:
            asked.append(_ask(bench, row, bench.stage.play("hang")))
            if len(row.upstreams) == 1:
                asked.append(_ask(bench, row, bench.stage.play("late", row.timeout_s - LATE_S)))
        results = await asyncio.gather(*asked, return_exceptions=True)
        for result in results:
            if isinstance(result, NotChecked):
                return result
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, _Waited)]

    async def wait() -> dict[str, list[_Waited] | NotChecked]:
        names = [
            name
            for name, (_, rows) in GROUPS.items()
            if f"timeouts.{name}" in bench.chosen and rows[0].upstream in bench.played
        ]
        longest = max(row.timeout_s for name in names for row in GROUPS[name][1])
        bench.tell(f"waiting {longest:.0f} s for slow upstreams")
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))

    return await bench.once("timeouts", wait)


async def _answers(bench: Bench) -> None:
    """Hold that nothing that this run asked for, and no list, took longer than the contract has it."""
    person = await bench.person()
    for row in CONTRACT:
        if row.operation.startswith("list_") and bench.real(row) and row.operation not in bench.late:
            with contextlib.suppress(NoAnswer):
                await bench.ask(row, person)
    if bench.late:
        operation, seen = next(iter(bench.late.items()))
        row = BY_OPERATION[operation]
        raise Broken(f"an answer to {row.method} {row.path} within {row.timeout_s:g} s", seen)


async def _timeout(name: str, bench: Bench) -> None:
    bench.stage  # noqa: B018 - raises where nothing is played
    upstream = GROUPS[name][1][0].upstream
    if upstream not in bench.played:
        raise NotChecked(f"no --upstream {upstream}=HOST:PORT")
    waited = (await _wait_for_all(bench))[name]
    if isinstance(waited, NotChecked):
        raise waited
    for one in waited:
        (_in_time if one.part.how == "late" else _too_slow)(one, bench)


def _too_slow(one: _Waited, bench: Bench) -> None:
    """Hold that the client had its 504, or the answer of another upstream that is not played, in time."""
    row, answer = one.row, one.answer
    expected = f"504 for {row.method} {row.path} within {row.timeout_s:g} s"
    if isinstance(answer, NoAnswer):
        raise Broken(expected, answer.seen)
    if answer.took_s > row.timeout_s:
        raise Broken(expected, f"{describe(answer)} after {answer.took_s:.2f} s")
    if answer.status < 500 and not bench.played.issuperset(row.upstreams):  # noqa: PLR2004 - the other has answered
        return
    expecting.kong_text(answer, 504)


def _in_time(one: _Waited, _: Bench) -> None:
    row, answer = one.row, one.answer
    expected = f"the answer to {row.method} {row.path} of an upstream that takes {one.part.late_s:g} s"
    if isinstance(answer, NoAnswer):
        raise Broken(expected, answer.seen)
    if answer.status != 200:  # noqa: PLR2004 - what is played
        raise Broken(expected, f"{describe(answer)} after {answer.took_s:.2f} s")


def _rows_of_one(bench: Bench) -> list[Row]:
    """Return rows with one upstream, which is played: one without a body and, where there is one, one with it."""
    bench.stage  # noqa: B018 - raises where nothing is played
    rows = [
        row
        for row in CONTRACT
        if row.auth is Auth.BEARER and not row.parameters and len(row.upstreams) == 1 and row.upstream in bench.played
    ]
    chosen = [next((row for row in rows if (row.body is not None) == body), None) for body in (False, True)]
    found = [row for row in chosen if row is not None]
    if not found:
        raise NotChecked("no --upstream of a route that has one upstream alone")
    return found


async def _broken_off(bench: Bench) -> list[Answer]:
    async def ask() -> list[Answer]:
        return [_answered(await _ask(bench, row, bench.stage.play("break"))) for row in _rows_of_one(bench)]

    return await bench.once("broken off", ask)


async def _breaks_off(bench: Bench) -> None:
    for answer in await _broken_off(bench):
        expecting.kong_text(answer, 502)


async def _refuses(bench: Bench) -> None:
    rows = _rows_of_one(bench)
    for row in rows:  # that it is asked at all
        _answered(await _ask(bench, row, bench.stage.play()))
    async with bench.stage.away(*{row.upstream for row in rows}):
        for row in rows:
            person = await bench.person()
            body = b"{}" if row.body is not None else None
            accept = [("Accept", "application/json")]
            expecting.kong_text(await bench.ask(row, person, body=body, headers=accept, played=True), 502)


async def _said_by_whom(bench: Bench) -> None:
    for answer in await _broken_off(bench):
        expecting.header(answer, "Via")
        for name in ("X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency"):
            expecting.whole_number(answer, name)


async def _falls_back(bench: Bench) -> None:
    both = (Upstream.STORE, Upstream.ORCHESTRATOR)
    bench.stage  # noqa: B018 - raises where nothing is played
    if not bench.played.issuperset(both):
        raise NotChecked(f"no --upstream {both[0]}=HOST:PORT and {both[1]}=HOST:PORT")
    row = BY_OPERATION["list_messages"]
    _answered(await _ask(bench, row, bench.stage.play()))
    async with bench.stage.away(Upstream.STORE):
        part = bench.stage.play()
        answer = await bench.ask(row, await bench.person(), query=f"?{part.query}", played=True)
        if answer.status != 200 or [received.upstream for received in part.received] != [both[1]]:  # noqa: PLR2004
            raise Broken(f"200 by {both[1]} while {both[0]} refuses", describe(answer))


def _answered(waited: _Waited) -> Answer:
    if isinstance(waited.answer, NoAnswer):
        raise waited.answer
    return waited.answer


PROMISES: tuple[Promise, ...] = (
    Promise("timeouts.answers", "Answers come within the contract's time", "contract 6", _answers),
    *(
        Promise(
            f"timeouts.{name}", f"A slow {rows[0].upstream} is a 504 within {rows[0].timeout_s:g} s", source,
            partial(_timeout, name),
        )
        for name, (source, rows) in GROUPS.items()
    ),
    Promise("timeouts.broken_off", "An upstream that breaks off is Kong's 502", "design 5", _breaks_off),
    Promise("timeouts.refused", "An upstream that refuses is Kong's 502", "design 5", _refuses),
    Promise("timeouts.headers", "Kong's 502 has Via and both latencies", "design 5", _said_by_whom),
    Promise("timeouts.fallback", "sms-orchestrator answers where message-store refuses", "contract 2", _falls_back),
)  # fmt: skip
