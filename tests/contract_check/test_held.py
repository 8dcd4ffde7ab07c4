"""Against all of Ghasi, every promise is held, and all of them can be checked."""

import pytest

from ghasi.contract.check import HELD, PROMISES
from tests.contract_check.standing import Standing

UNPLAYED = "no --upstream NAME=HOST:PORT"


async def test_every_promise_is_held(standing: Standing) -> None:
    """Those that need upstreams to be played are looked at again in the next test, and all others by then."""
    report = await standing.check()
    assert report.left_behind == ()
    assert len(report.outcomes) == len(PROMISES)
    assert [one for one in report.outcomes if one.state != HELD and one.why != UNPLAYED] == []


@pytest.mark.usefixtures("quicker")
async def test_those_that_need_the_gateways_other_side_are_held(standing: Standing) -> None:
    alone = [one for one in (await standing.check("headers.*", "timeouts.*")).outcomes if one.why == UNPLAYED]
    report = await standing.check(*(one.promise.id for one in alone), played=True)
    assert len(alone) == len(report.outcomes) == 20
    assert [one for one in report.outcomes if one.state != HELD] == []
