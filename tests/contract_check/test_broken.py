"""Each promise is broken in turn, and named, and no other is where the others can be held."""

import pytest

from ghasi.contract.check import BROKEN, PROMISES
from tests.contract_check import spoils_at_the_gateway
from tests.contract_check.spoils import SPOILS
from tests.contract_check.standing import Standing, set_limits

assert spoils_at_the_gateway


def test_every_promise_has_a_way_to_be_broken() -> None:
    assert sorted(SPOILS) == sorted(promise.id for promise in PROMISES)


@pytest.mark.usefixtures("quicker")
@pytest.mark.parametrize("identifier", list(SPOILS))
async def test_what_is_broken_is_named_and_nothing_else(standing: Standing, identifier: str) -> None:
    spoil = SPOILS[identifier]
    set_limits(standing, **spoil.limits)
    only = spoil.only or (f"{identifier.partition('.')[0]}.*",)
    report = await standing.check(
        *only, changes=spoil.changes(standing), played=spoil.played, **spoil.options(standing)
    )
    named = {one.promise.id: (one.expected, one.seen) for one in report.outcomes if one.state == BROKEN}
    assert identifier in named, (spoil.how, [(one.promise.id, one.why) for one in report.outcomes if one.why])
    assert named.keys() <= {identifier} | spoil.also, (spoil.how, named)
