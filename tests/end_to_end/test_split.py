"""What holds only when services are processes of their own."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import Deployment, split, until, urls_of


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with split(GHASI_LIMIT_AUTH="1000") as deployment:
        yield deployment


async def test_messages_can_be_read_while_message_store_is_stopped(deployment: Deployment) -> None:
    async with signed_up(deployment) as customer:
        sent = await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "x"})
        deployment.stop("message-store")
        for path in ("/v1/messages", f"/v1/messages/{sent['id']}"):
            answer = await customer.call("GET", path)
            assert (answer.status, answer.headers["Via"].startswith("1.1 ghasi/")) == (200, True)
        deployment.restart("message-store")
        assert (await customer.call("GET", "/v1/messages")).status == 200


async def test_a_stopped_service_is_a_502_and_the_others_go_on(deployment: Deployment) -> None:
    async with signed_up(deployment) as customer:
        deployment.stop("billing-service")
        answer = await customer.call("GET", "/v1/billing/usage")
        assert (answer.status, answer.json["message"]) == (
            502,
            "An invalid response was received from the upstream server",
        )
        assert (await customer.call("GET", "/v1/webhooks")).status == 200
        deployment.restart("billing-service")

        async def back() -> bool:
            return (await customer.call("GET", "/v1/billing/usage")).status == 200

        await until(back)


async def test_an_upstream_takes_requests_from_the_gateway_alone(deployment: Deployment) -> None:
    async with signed_up(deployment) as customer:
        url = f"http://127.0.0.1:{deployment.ports['message-store']}/v1/messages"
        account = {"X-Account-Id": customer.session["account"]["id"], "X-User-Id": customer.session["user"]["id"]}
        async with customer.http.get(url, headers=account) as response:
            assert (response.status, (await response.json())["code"]) == (403, "not_from_gateway")


def test_a_second_gateway_refuses_to_start(deployment: Deployment) -> None:
    printed = deployment.run("serve", "gateway", expect=2, GHASI_API_PORT="0", **urls_of(deployment))
    assert "gateway" in printed
