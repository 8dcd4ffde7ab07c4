"""Promises about limits: exactly so many requests of a group pass in a UTC minute, and what the next is told.

Counting uses up everybody's windows, and is therefore the last thing in a run.
"""

from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from functools import partial

from ghasi.contract.check import expecting, making, tokens
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.counting import Count, Counting, count
from ghasi.contract.check.people import Person
from ghasi.contract.check.promises import Broken, NotChecked, Promise
from ghasi.contract.row import API_KEY_LIMIT, LIMIT_GROUPS, LimitGroup
from ghasi.contract.table import BY_OPERATION

_OF_CONTRACT = {"auth", "api_keys", "sends", "reads"}
_PROBE = BY_OPERATION["list_webhooks"]
_WINDOW_S = 60
_TRIES = 3
_TOO_MANY = 429
_ABOUT = {
    "auth": "Sign-in, refreshing and me", "api_keys": "Creating API keys", "sends": "Sending messages",
    "reads": "Reads (GET), of all services together", "writes": "Other writes", "previews": "Previews and dry runs",
    "exports": "Exports", "batches": "Batches",
}  # fmt: skip


async def _counted(bench: Bench) -> Counting:
    """Return the counts of all groups that this run asks for; counted once."""
    groups = [group for group in LIMIT_GROUPS if f"limits.{group.name}" in bench.chosen]
    return await bench.once("counting", lambda: count(bench, groups or [API_KEY_LIMIT]))


async def _limit(group: LimitGroup, bench: Bench) -> None:
    counting = await _counted(bench)
    if group.name in counting.faults:
        raise counting.faults[group.name]
    found, limit = counting.counts[group.name], bench.options.limit(group)
    if found.disturbed is not None:
        raise found.disturbed
    if found.passed > limit:
        raise Broken(f"request {limit + 1} of a minute refused with 429", "it passed")


async def _refused(bench: Bench) -> list[Count]:
    counts = [found for found in (await _counted(bench)).counts.values() if found.refusals]
    if not counts:
        raise NotChecked("nothing was refused")
    return counts


async def _refusal(bench: Bench) -> None:
    for found in await _refused(bench):
        answer = found.refusals[0]
        expecting.kong(answer, _TOO_MANY, "API rate limit exceeded")
        if bench.options.origin is not None:
            expecting.readable(answer, bench.options.origin.rstrip("/"))
        reset, retry = (expecting.whole_number(answer, name) for name in ("RateLimit-Reset", "Retry-After"))
        if retry != reset:
            raise Broken(f"Retry-After: {reset}, as RateLimit-Reset", f"Retry-After: {retry}")
        for name in ("RateLimit-Remaining", "X-RateLimit-Remaining-Minute"):
            if expecting.whole_number(answer, name) != 0:
                raise Broken(f"{name}: 0 in {found.group.name}", "more")


async def _refused_again(bench: Bench) -> None:
    for found in await _refused(bench):
        first, *others = found.refusals
        for answer in others:
            if answer.status != _TOO_MANY:
                raise Broken(f"429 again in {found.group.name}", describe(answer))
            if expecting.whole_number(answer, "RateLimit-Reset") > expecting.whole_number(first, "RateLimit-Reset"):
                raise Broken("the same end of the window after a refusal", "a later one")


async def _other_account(bench: Bench) -> None:
    await bench.other_person()
    counts = [found for found in await _refused(bench) if found.other is not None]
    if not counts:
        raise NotChecked("no limit of an account was counted")
    for found in counts:
        if found.other is not None and found.other.status == _TOO_MANY:
            raise Broken(f"account B to have a window of its own in {found.group.name}", "429")


async def _window(bench: Bench) -> None:
    """Hold that windows end with the UTC minute, and that the next one is whole."""
    counts = await _refused(bench)
    for found in counts:
        for answer in found.refusals:
            _ends_with_the_minute(answer, bench)
    if not any(found.before is not None and found.first is not None for found in counts):
        await _see_the_next(counts[0], bench)


def _ends_with_the_minute(answer: Answer, bench: Bench) -> None:
    date = answer.headers.get("Date")
    try:
        at = parsedate_to_datetime(date).timestamp() if date else bench.clock.time()
    except ValueError:
        raise Broken("Date: a time", "another value") from None
    ends = (at + expecting.whole_number(answer, "RateLimit-Reset")) % _WINDOW_S
    if min(ends, _WINDOW_S - ends) > 1.5:  # noqa: PLR2004 - both are told in whole seconds
        raise Broken("a window that ends with the UTC minute", f"one that ends {ends:.0f} s into it")


async def _see_the_next(found: Count, bench: Bench) -> None:
    await bench.pace.wait(expecting.whole_number(found.refusals[-1], "RateLimit-Reset"), "the next minute")
    answer = await found.ask()
    remaining = expecting.whole_number(answer, "RateLimit-Remaining")
    if answer.status == _TOO_MANY or remaining != bench.options.limit(found.group) - 1:
        raise Broken("a whole window in the next minute", f"{remaining} requests left of it after the first")


async def _bad_tokens(bench: Bench) -> None:
    person = await bench.person()
    bad = Person("", tokens.with_bad_signature(person.token))

    async def ask() -> None:
        answer = await bench.ask(_PROBE, bad, played=True, paced=False)
        if answer.status != 401:  # noqa: PLR2004 - as the contract has it
            raise Broken("401", describe(answer))

    await _costs(bench, 1, ask)


async def _key_shares(bench: Bench) -> None:
    holder = await making.key_holder(bench)

    async def ask() -> None:
        await bench.ask(_PROBE, holder, played=True)

    await _costs(bench, 2, ask)


async def _costs(bench: Bench, cost: int, between: Callable[[], Awaitable[None]]) -> None:
    """Hold that with something between them two requests take so many of the account's window."""
    person = await bench.person()
    for _ in range(_TRIES):
        before = expecting.whole_number(await bench.ask(_PROBE, person, played=True), "RateLimit-Remaining")
        await between()
        after = expecting.whole_number(await bench.ask(_PROBE, person, played=True), "RateLimit-Remaining")
        if before - after == cost:
            return
    raise Broken(f"RateLimit-Remaining lower by {cost}", f"lower by {before - after}")


PROMISES: tuple[Promise, ...] = (
    Promise("limits.bad_tokens", "A refused token uses nothing of the account's window", "design 5", _bad_tokens),
    Promise("limits.key_shares", "An API key shares its account's window", "extension", _key_shares, True),
    *(
        Promise(
            f"limits.{group.name}",
            f"{_ABOUT[group.name]}: {group.default} a minute per {'IP' if group.per == 'ip' else group.per}",
            "contract 5" if group.name in _OF_CONTRACT else "extension", partial(_limit, group),
            group.name not in _OF_CONTRACT,
        )
        for group in LIMIT_GROUPS
    ),
    Promise("limits.refusal", "One too many is Kong's 429 with Retry-After", "contract 5", _refusal),
    Promise("limits.refused_again", "A refused request makes nothing later", "design 5", _refused_again),
    Promise("limits.window", "Windows end with the UTC minute, and the next is whole", "design 5", _window),
    Promise("limits.other_account", "Another account has windows of its own", "contract 5", _other_account),
)  # fmt: skip
