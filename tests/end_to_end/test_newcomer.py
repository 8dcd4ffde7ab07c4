"""The newcomer's path over real sockets: sign up, JWT, API key, SMS over SMPP, webhook, usage, invoice.

The same code against all of Ghasi started by one command and against its services as separate processes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import aiohttp
import pytest

from tests.end_to_end.customer import Customer, receiving, signed_up
from tests.end_to_end.deployment import SHAPES, Deployment, until


@pytest.fixture(scope="module", params=list(SHAPES))
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with SHAPES[request.param](GHASI_LIMIT_AUTH="1000", GHASI_LIMIT_SENDS="1000") as deployment:
        yield deployment


async def delivered(customer: Customer, message_id: str, token: str) -> dict[str, object]:
    async def final() -> dict[str, object] | None:
        message = await customer.good("GET", f"/v1/messages/{message_id}", token=token)
        return message if message["completed_at"] else None

    return await until(final)


async def test_all_sixteen_routes(deployment: Deployment) -> None:
    async with receiving() as receiver, signed_up(deployment) as customer:
        # auth-service
        me = await customer.good("GET", "/v1/auth/me")
        assert me == {"user": customer.session["user"], "account": customer.session["account"]}
        assert me["user"]["roles"] == ["customer"]
        refreshed = await customer.good("POST", "/v1/auth/refresh", {})
        assert refreshed["user"] == me["user"]
        customer.token = refreshed["access_token"]
        key = await customer.good("POST", "/v1/api-keys", {"name": "first"})
        token = key["key"]
        assert token.startswith("ghk_")
        listed = await customer.good("GET", "/v1/api-keys")
        assert [one["id"] for one in listed["data"]] == [key["id"]]
        assert "key" not in listed["data"][0]

        # webhook-dispatcher
        made = await customer.good(
            "POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.delivered"]}, token=token
        )
        receiver.secret = made["secret"]
        changed = await customer.good(
            "PUT", f"/v1/webhooks/{made['id']}",
            {"url": receiver.url, "events": ["message.*"], "description": "all"}, token=token,
        )  # fmt: skip
        assert (changed["events"], changed["description"]) == (["message.*"], "all")
        assert [one["id"] for one in (await customer.good("GET", "/v1/webhooks", token=token))["data"]] == [made["id"]]

        # sms-orchestrator and message-store
        sent = await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "سلام"}, token=token)
        assert (sent["status"], sent["encoding"], sent["country"]) == ("accepted", "ucs2", "AF")
        message = await delivered(customer, sent["id"], token)
        assert message["status"] == "delivered"
        listed = await customer.good("GET", "/v1/messages?status=delivered", token=token)
        assert [one["id"] for one in listed["data"]] == [sent["id"]]

        # the webhook, signed
        async def three() -> bool:
            return len(receiver.events) >= 3

        await until(three)
        assert sorted(event["type"] for event in receiver.events) == [
            "message.accepted", "message.delivered", "message.sent",
        ]  # fmt: skip
        assert receiver.forged == 0
        assert receiver.of("message.delivered") == {sent["id"]}

        # billing-service
        async def used() -> dict[str, object] | None:
            usage = await customer.good("GET", "/v1/billing/usage?group_by=country", token=token)
            return usage if usage["totals"]["messages"] else None

        usage = await until(used, within_s=5)
        assert usage["totals"] == {"messages": 1, "segments": 1, "amount": "0.0450"}
        assert usage["data"][0]["group"] == "AF"

        async def priced() -> object:
            return (await customer.good("GET", f"/v1/messages/{sent['id']}", token=token))["price"]

        assert await until(priced, within_s=5) == {"amount": "0.0450", "currency": "USD"}
        period = datetime.now(UTC).strftime("%Y-%m")
        for _ in range(2):
            deployment.run("admin", "invoices", "close", "--period", period, "--early")
        invoices = (await customer.good("GET", "/v1/billing/invoices", token=token))["data"]
        assert [(one["status"], one["total"]) for one in invoices] == [("open", "0.04")]
        invoice = await customer.good("GET", f"/v1/billing/invoices/{invoices[0]['id']}", token=token)
        assert [(line["country"], line["messages"]) for line in invoice["line_items"]] == [("AF", 1)]

        # and the ends of things
        assert (await customer.call("DELETE", f"/v1/webhooks/{made['id']}", token=token)).status == 204
        assert (await customer.call("DELETE", f"/v1/api-keys/{key['id']}")).status == 204

        async def refused() -> bool:
            return (await customer.call("GET", "/v1/messages", token=token)).status == 401

        await until(refused, within_s=1.0)


async def test_every_ending_over_smpp(deployment: Deployment) -> None:
    endings = {"0001": "undelivered", "0002": "expired", "0003": "failed", "0004": "delivered"}
    async with signed_up(deployment) as customer:
        sent = {
            suffix: (await customer.good("POST", "/v1/messages", {"to": f"+9370123{suffix}", "body": "x"}))["id"]
            for suffix in endings
        }
        for suffix, status in endings.items():
            message = await delivered(customer, sent[suffix], customer.token)
            assert message["status"] == status
            assert (message["error"] is None) == (status == "delivered")


async def test_another_accounts_ids_are_404(deployment: Deployment) -> None:
    async with signed_up(deployment) as ann, signed_up(deployment) as bob:
        message = await ann.good("POST", "/v1/messages", {"to": "+93701234567", "body": "x"})
        key = await ann.good("POST", "/v1/api-keys", {"name": "k"})
        hook = await ann.good("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9/x", "events": ["message.*"]})
        for method, path, body in (
            ("GET", f"/v1/messages/{message['id']}", None),
            ("DELETE", f"/v1/api-keys/{key['id']}", None),
            ("PUT", f"/v1/webhooks/{hook['id']}", {"url": "http://127.0.0.1:9/y", "events": ["message.*"]}),
            ("DELETE", f"/v1/webhooks/{hook['id']}", None),
        ):
            answer = await bob.call(method, path, body)
            assert (answer.status, answer.json["code"]) == (404, "not_found"), (method, path)
        spoofed = await bob.call(
            "GET", f"/v1/messages/{message['id']}",
            X_Account_Id=ann.session["account"]["id"], X_User_Id=ann.session["user"]["id"],
            X_Consumer_Username="ghasi-user",
        )  # fmt: skip
        assert spoofed.status == 404
        for path in ("/v1/api-keys", "/v1/messages", "/v1/webhooks", "/v1/billing/invoices"):
            assert (await bob.good("GET", path))["data"] == []


async def test_what_an_operator_decides_holds_within_a_second(deployment: Deployment) -> None:
    async with signed_up(deployment) as customer:
        account = customer.session["account"]["id"]
        body = {"to": "+93701234567", "body": "x"}
        await customer.good("POST", "/v1/messages", body)

        async def outcome() -> tuple[int, str | None]:
            answer = await customer.call("POST", "/v1/messages", body)
            return answer.status, answer.json.get("code")

        for arguments, expected in (
            (("suspend", account), (403, "account_suspended")),
            (("activate", account), (202, None)),
            (("countries", account, "SE"), (403, "country_not_allowed")),
            (("countries", account, "all"), (202, None)),
            (("cap", account, "1"), (403, "daily_cap_reached")),
        ):
            deployment.run("admin", "accounts", *arguments)

            async def holds(expected: tuple[int, str | None] = expected) -> bool:
                return await outcome() == expected

            await until(holds, within_s=1.0)


async def test_the_portals_door(deployment: Deployment) -> None:
    async with aiohttp.ClientSession() as http, http.get(deployment.portal + "/") as response:
        assert response.status == 200
        assert len(response.history) <= 1
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in policy
        assert "default-src" in policy
        assert 'type="password"' in await response.text()


async def test_nothing_secret_is_logged(deployment: Deployment) -> None:
    async with signed_up(deployment) as customer:
        key = await customer.good("POST", "/v1/api-keys", {"name": "k"})
        await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "swordfish-7531"}, token=key["key"])
        await customer.call("GET", "/v1/messages", token=key["key"][:-1] + "x")
        await customer.call("POST", "/v1/messages", {"to": "x", "body": "swordfish-7531"})
        printed = deployment.output()
        for secret in ("swordfish-7531", key["key"], customer.token, "correct horse"):
            assert secret not in printed
