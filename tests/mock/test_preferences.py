"""The Prefer header, by RFC 7240: what is read, what is left out, what is told of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.mock.preferences import NOTHING, Wish, read_wish
from tests.mock.conftest import World

SEND = BY_OPERATION["send_message"]


def wish(*values: str) -> Wish:
    return read_wish([(b"prefer", value.encode("latin-1")) for value in values], SEND)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["code=429"], Wish(429, None, 0.0, "code=429")),
        (["CODE=429"], Wish(429, None, 0.0, "code=429")),
        ([" code = 429 "], Wish(429, None, 0.0, "code=429")),
        (['code="429"'], Wish(429, None, 0.0, "code=429")),
        (["respond-async, code=429; foo=bar", "return=minimal"], Wish(429, None, 0.0, "code=429")),
        # of two the first counts
        (["code=422", "code=429"], Wish(422, None, 0.0, "code=422")),
        (["code=422, example=invalid_sender"], Wish(422, "invalid_sender", 0.0, "code=422, example=invalid_sender")),
        (["code=422; problem=invalid_sender"], Wish(422, "invalid_sender", 0.0, "code=422, problem=invalid_sender")),
        (["problem=invalid_sender"], Wish(422, "invalid_sender", 0.0, "problem=invalid_sender")),
        (['example="token expired"'], Wish(401, "token expired", 0.0, 'example="token expired"')),
        (["wait=3"], Wish(None, None, 3.0, "wait=3")),
        (["wait=0.5, code=504"], Wish(504, None, 0.5, "code=504, wait=0.5")),
        # what cannot be had is left out, and the rest is done
        (["code=418"], NOTHING),
        (["code=200"], NOTHING),
        (["code=418, problem=invalid_sender"], NOTHING),
        (["problem=invalid_url"], NOTHING),
        (["code=422, problem=not_found"], Wish(422, None, 0.0, "code=422")),
        (["code=422, problem=account_suspended"], Wish(422, None, 0.0, "code=422")),
        (["wait=soon, code=²"], NOTHING),
        (["code", "code=", 'code="'], NOTHING),
        (["wait=-1"], NOTHING),
        ([], NOTHING),
    ],
)
def test_preferences(values: list[str], expected: Wish) -> None:
    assert wish(*values) == expected


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_header_is_read(values: list[bytes]) -> None:
    found = read_wish([(b"prefer", value) for value in values], SEND)
    assert bool(found.applied) == (found != NOTHING)


async def test_what_cannot_be_had_is_as_if_it_were_not_wished_for(world: World) -> None:
    answer = await world.call("GET", "/v1/messages", headers={"prefer": "code=418, return=minimal"})
    assert answer.status == 200
    assert answer.header("preference-applied") is None
    answer = await world.call("GET", "/v1/nothing", headers={"prefer": "code=200"})
    assert (answer.status, answer.json["message"]) == (404, "no Route matched with those values")


async def test_an_answer_is_as_late_as_wished(world: World) -> None:
    answer = await world.call("GET", "/v1/messages", headers={"prefer": "wait=3"})
    assert (answer.status, answer.header("preference-applied")) == (200, "wait=3")
    assert sum(world.slept) == 3
    answer = await world.call("GET", "/v1/messages", headers={"prefer": "wait=3600, code=504"})
    # nobody would wait longer than the time-out
    assert (answer.status, sum(world.slept)) == (504, 3 + 7.75)
