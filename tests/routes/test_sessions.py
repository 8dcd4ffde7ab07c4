"""Staying signed in through the gateway: tabs that refresh at once, and refresh tokens that come back too late."""

import asyncio

from tests.asgi import Answer
from tests.routes.world import Customer, World, cookie_of


async def refresh(customer: Customer, cookie: str) -> Answer:
    headers = {"cookie": f"theme=dark; ghasi_refresh={cookie}", "origin": "http://127.0.0.1:3000"}
    return await customer.world.call("POST", "/v1/auth/refresh", headers=headers, client=customer.address)


def refused(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (401, "invalid_refresh_token")
    assert answer.header("set-cookie") is None


async def later(world: World, customer: Customer, seconds: int) -> None:
    """Let time pass since the customer's tokens were used."""
    done = await world.resources.pool.execute(
        """
        UPDATE auth.refresh_tokens AS token SET used_at = used_at - make_interval(secs => $2)
        FROM auth.refresh_families AS family
        WHERE family.id = token.family_id AND family.user_id = $1 AND used_at IS NOT NULL
        """,
        customer.user_id,
        float(seconds),
    )
    assert done != "UPDATE 0"


async def me(customer: Customer, token: str) -> int:
    return (await customer.call("GET", "/v1/auth/me", authorization=f"Bearer {token}")).status


async def test_two_tabs_that_refresh_at_once_a_hundred_times_stay_signed_in(roomy: World) -> None:
    customer = await roomy.sign_in()
    cookie, seen = customer.cookie, {customer.cookie}
    for _ in range(100):
        one, two = await asyncio.gather(refresh(customer, cookie), refresh(customer, cookie))
        assert (one.status, two.status) == (200, 200), (one.body, two.body)
        cookie = cookie_of(one)
        assert cookie == cookie_of(two)
        assert cookie not in seen
        seen.add(cookie)
    assert await me(customer, one.json["access_token"]) == 200
    assert await me(customer, two.json["access_token"]) == 200


async def test_a_tab_that_is_one_step_behind_stays_signed_in(roomy: World) -> None:
    """The second tab's request may arrive when the first has its answer already."""
    customer = await roomy.sign_in()
    first = await refresh(customer, customer.cookie)
    await later(roomy, customer, 29)
    second = await refresh(customer, customer.cookie)
    assert (second.status, cookie_of(second)) == (200, cookie_of(first))
    assert (await refresh(customer, cookie_of(second))).status == 200


async def test_a_token_used_again_after_the_window_ends_the_whole_sign_in(roomy: World) -> None:
    customer = await roomy.sign_in()
    successor = cookie_of(await refresh(customer, customer.cookie))
    await later(roomy, customer, 31)
    refused(await refresh(customer, customer.cookie))
    refused(await refresh(customer, successor))
    assert await me(customer, customer.token) == 200, "an access token lives on until it expires"


async def test_a_token_used_again_after_its_successor_was_is_refused_and_no_more(roomy: World) -> None:
    customer = await roomy.sign_in()
    second = cookie_of(await refresh(customer, customer.cookie))
    third = cookie_of(await refresh(customer, second))
    refused(await refresh(customer, customer.cookie))
    assert (await refresh(customer, third)).status == 200
    await later(roomy, customer, 31)
    refused(await refresh(customer, second))
    refused(await refresh(customer, third))


async def test_another_sign_in_of_the_same_person_is_not_ended_with_it(roomy: World) -> None:
    laptop, phone = await roomy.sign_in("one person"), await roomy.sign_in("one person")
    assert laptop.user_id == phone.user_id
    await refresh(laptop, laptop.cookie)
    await later(roomy, laptop, 31)
    refused(await refresh(laptop, laptop.cookie))
    assert (await refresh(phone, phone.cookie)).status == 200


async def test_signing_out_ends_the_sign_in_for_every_tab(roomy: World) -> None:
    customer = await roomy.sign_in()
    successor = cookie_of(await refresh(customer, customer.cookie))
    headers = {"cookie": f"ghasi_refresh={customer.cookie}"}
    answer = await roomy.call("POST", "/v1/auth/logout", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert "Max-Age=0" in (answer.header("set-cookie") or "")
    for cookie in (customer.cookie, successor):
        refused(await refresh(customer, cookie))
