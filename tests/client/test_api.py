"""The Python client against an API on a real socket that refuses what the contract refuses."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET

from ghasi.client.api import ApiError, ApiUnreachableError, Ghasi, RefreshCookie
from ghasi.contract import shapes, table
from tests.client.fake_api import ID, SAMPLES, FakeApi, Given, Seen, message
from tests.live import live

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
SET_COOKIE = "ghasi_refresh=grt_new; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000"


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[FakeApi, str]]:
    api = FakeApi()
    async with live(api) as url:
        yield api, url


@pytest.fixture
async def api(served: tuple[FakeApi, str]) -> AsyncIterator[FakeApi]:
    yield served[0]
    served[0].released.set()
    served[0].reset()


@pytest.fixture
async def ghasi(served: tuple[FakeApi, str], api: FakeApi) -> AsyncIterator[Ghasi]:
    async with Ghasi(served[1] + "/", token="ghk_key", headers={"X-Extra": "1"}) as ghasi:
        yield ghasi


async def test_there_is_a_method_for_each_route_of_the_contract(ghasi: Ghasi, api: FakeApi) -> None:
    calls: dict[str, Any] = {
        "sign_in_with_firebase": ghasi.sign_in_with_firebase("id token"),
        "refresh_session": ghasi.refresh_session(),
        "get_json_web_keys": ghasi.get_json_web_keys(),
        "get_me": ghasi.get_me(),
        "list_api_keys": ghasi.list_api_keys(limit=3, cursor="abc"),
        "create_api_key": ghasi.create_api_key("ci", scopes=["messages:send"], expires_at=SINCE),
        "revoke_api_key": ghasi.revoke_api_key(ID),
        "send_message": ghasi.send_message("+93701234567", "Hello", sender="Ghasi", validity_s=60),
        "list_messages": ghasi.list_messages(status="sent", sender="+1", created_after=SINCE),
        "get_message": ghasi.get_message(ID),
        "send_batch": ghasi.send_batch(
            shapes.NewBatch(body="Hello", recipients=[shapes.BatchRecipient(to="+93701234567")])
        ),
        "cancel_message": ghasi.cancel_message(ID),
        "redact_message": ghasi.redact_message(ID),
        "list_senders": ghasi.list_senders(),
        "update_sender": ghasi.update_sender(ID, default=True, pool=False),
        "list_opt_outs": ghasi.list_opt_outs(to="+93701234567", sender="+1"),
        "create_opt_out": ghasi.create_opt_out("+93701234567"),
        "delete_opt_out": ghasi.delete_opt_out(ID),
        "list_webhooks": ghasi.list_webhooks(),
        "create_webhook": ghasi.create_webhook("https://example.com", ["message.*"], headers={"X-A": "1"}),
        "update_webhook": ghasi.update_webhook(ID, "https://example.com", ["message.*"], description=None),
        "delete_webhook": ghasi.delete_webhook(ID),
        "get_account": ghasi.get_account(),
        "update_account": ghasi.update_account("Acme"),
        "get_preferences": ghasi.get_preferences(),
        "update_preferences": ghasi.update_preferences("Asia/Kabul", None),
        "list_users": ghasi.list_users(),
        "update_user": ghasi.update_user(ID, "owner"),
        "remove_user": ghasi.remove_user(ID),
        "list_invitations": ghasi.list_invitations(),
        "create_invitation": ghasi.create_invitation("omid@example.com"),
        "revoke_invitation": ghasi.revoke_invitation(ID),
        "preview_message": ghasi.preview_message("Hello", to="+93701234567"),
        "list_message_deliveries": ghasi.list_message_deliveries(ID, limit=3),
        "get_webhook": ghasi.get_webhook(ID),
        "rotate_webhook_secret": ghasi.rotate_webhook_secret(ID),
        "send_test_event": ghasi.send_test_event(ID),
        "list_deliveries": ghasi.list_deliveries(ID, status="failed", created_after=SINCE),
        "get_delivery": ghasi.get_delivery(ID, ID),
        "resend_delivery": ghasi.resend_delivery(ID, ID),
        "recover_deliveries": ghasi.recover_deliveries(ID, SINCE),
        "list_account_deliveries": ghasi.list_account_deliveries(webhook_id=ID, response_status="5xx"),
        "list_attempts": ghasi.list_attempts(ID, outcome="failed", response_status="none", message_id=ID),
        "replay_events": ghasi.replay_events(ID, SINCE, event_types=["message.sent"], cursor="abc"),
        "dry_run_event": ghasi.dry_run_event("message.sent", shapes.EventSample(country="AF", sender="Bakery")),
        "get_summary": ghasi.get_summary(since=SINCE, time_zone="Asia/Kabul"),
        "get_balance": ghasi.get_balance(),
        "list_balance_transactions": ghasi.list_balance_transactions(kind="top_up"),
        "set_spending_limit": ghasi.set_spending_limit("50.00"),
        "list_rates": ghasi.list_rates(number="+93701234567", at=SINCE),
        "get_invoice_pdf": ghasi.get_invoice_pdf(ID),
        "list_invoices": ghasi.list_invoices(status="open", overdue=True, period="2026-10"),
        "preview_invoice": ghasi.preview_invoice(),
        "get_invoice_csv": ghasi.get_invoice_csv(ID),
        "get_invoice_sources": ghasi.get_invoice_sources(ID, line=0),
        "list_credit_notes": ghasi.list_credit_notes(invoice_id=ID),
        "get_credit_note": ghasi.get_credit_note(ID),
        "get_credit_note_pdf": ghasi.get_credit_note_pdf(ID),
        "get_billing_profile": ghasi.get_billing_profile(),
        "update_billing_profile": ghasi.update_billing_profile(shapes.BillingProfileInput(legal_name="Acme Ltd")),
        "get_invoice": ghasi.get_invoice(ID),
        "get_usage": ghasi.get_usage(since=SINCE, granularity="hour", group_by="country"),
    }
    apart = {"sign_out", "export_messages"} | {"take_carrier_report", "take_carrier_query"}  # below; for carriers
    assert set(calls) == {row.operation for row in table.ROWS} - apart
    for operation, call in calls.items():
        assert await call == SAMPLES.get(operation), operation
    for seen in api.seen:
        bearer = seen.row.auth is table.Auth.BEARER
        # signing in has replaced the token
        assert seen.header("authorization") == ("Bearer an.access.token" if bearer else None)
        assert seen.header("x-extra") == "1"
        assert set(seen.path.values()) <= {ID}
    assert api.calls("list_messages")[0].query == shapes.MessageQuery(status="sent", sender="+1", created_after=SINCE)
    assert api.calls("list_rates")[0].query == shapes.RateQuery(number="+93701234567", at=SINCE)
    assert api.calls("get_usage")[0].query == shapes.UsageQuery(since=SINCE, granularity="hour", group_by="country")
    assert api.calls("list_invoices")[0].query == shapes.InvoiceQuery(status="open", overdue=True, period="2026-10")
    assert api.calls("send_message")[0].body == shapes.NewMessage(
        to="+93701234567", body="Hello", sender="Ghasi", validity_s=60
    )
    replay = api.calls("replay_events")[0].body
    assert replay == shapes.Replay(since=SINCE, event_types=["message.sent"], cursor="abc")
    update = api.calls("update_webhook")[0].body
    assert (update.description, update.enabled) == (None, UNSET)


async def test_an_export_comes_in_pieces(ghasi: Ghasi, api: FakeApi) -> None:
    async with ghasi.export_messages(status="sent", created_after=SINCE) as pieces:
        assert b"".join([piece async for piece in pieces]) == SAMPLES["export_messages"]
    assert api.seen[-1].query == shapes.MessageExportQuery(status="sent", created_after=SINCE)
    api.answers["export_messages"] = Given(429, {"message": "API rate limit exceeded"})
    with pytest.raises(ApiError) as raised:
        async with ghasi.export_messages():
            pytest.fail("there is no answer to read")
    assert raised.value.code == "rate_limited"


async def test_the_refresh_cookie_goes_where_it_belongs_alone(ghasi: Ghasi, api: FakeApi) -> None:
    api.answers["sign_in_with_firebase"] = Given(
        200, SAMPLES["sign_in_with_firebase"], {"Set-Cookie": SET_COOKIE.replace("grt_new", "grt_first")}
    )
    api.answers["refresh_session"] = Given(200, SAMPLES["refresh_session"], {"Set-Cookie": SET_COOKIE})
    await ghasi.sign_in_with_firebase("id token")
    assert ghasi.refresh_cookie is not None
    assert (ghasi.refresh_cookie.name, ghasi.refresh_cookie.value) == ("ghasi_refresh", "grt_first")
    await ghasi.get_me()
    await ghasi.refresh_session()
    assert ghasi.refresh_cookie == RefreshCookie("ghasi_refresh", "grt_new", SET_COOKIE)
    await ghasi.sign_out()
    assert (ghasi.token, ghasi.refresh_cookie) == (None, None)
    assert [(seen.row.operation, seen.header("cookie")) for seen in api.seen] == [
        ("sign_in_with_firebase", None),
        ("get_me", None),
        ("refresh_session", "ghasi_refresh=grt_first"),
        ("sign_out", "ghasi_refresh=grt_new"),
    ]


async def test_idempotency_keys_are_sent(ghasi: Ghasi, api: FakeApi) -> None:
    await ghasi.send_message("+93701234567", "Hello", idempotency_key="order 17")
    await ghasi.send_message("+93701234567", "Hello")
    assert [seen.header("idempotency-key") for seen in api.seen] == ["order 17", None]


async def test_iteration_follows_the_cursor(ghasi: Ghasi, api: FakeApi) -> None:
    def page(seen: Seen) -> Given:
        start = int(seen.query.cursor or 0)
        messages = [message(number) for number in range(start, start + 2)]
        return Given(200, shapes.Page(messages, str(start + 2) if start < 4 else None))

    api.answers["list_messages"] = page
    found = [one.id[-2:] async for one in ghasi.iterate_messages(page_size=2, status="delivered")]
    assert found == ["00", "01", "02", "03", "04", "05"]
    assert {(seen.query.limit, seen.query.status) for seen in api.seen} == {(2, "delivered")}


async def test_problems_are_typed(ghasi: Ghasi, api: FakeApi) -> None:
    problem = shapes.ProblemBody(
        "https://docs.ghasi.io/errors#invalid_number", "Title", 422, "no such number", "invalid_number", "r1",
        [shapes.FieldError("to", "no such number")],
    )  # fmt: skip
    api.answers["send_message"] = Given(422, problem)
    with pytest.raises(ApiError) as caught:
        await ghasi.send_message("+1", "Hello")
    assert caught.value == ApiError(
        422, "invalid_number", "no such number", "r1", None, (shapes.FieldError("to", "no such number"),)
    )
    assert str(caught.value) == "422 invalid_number: no such number"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            Given(429, {"message": "API rate limit exceeded", "request_id": "r2"}, {"Retry-After": "17"}),
            ApiError(429, "rate_limited", "API rate limit exceeded", "r2", 17.0),
        ),
        (Given(401, {"exp": "token expired"}), ApiError(401, "unauthorized", "token expired")),
        (
            Given(502, b"An invalid response was received from the upstream server", {"X-Kong-Request-Id": "r3"}),
            ApiError(502, "bad_gateway", "An invalid response was received from the upstream server", "r3"),
        ),
        (Given(500, b"\xff", {"Retry-After": "soon"}), ApiError(500, "http_500", "\ufffd")),
        (Given(418), ApiError(418, "http_418", "HTTP status 418")),
        (Given(302, None, {"Location": "/elsewhere"}), ApiError(302, "http_302", "HTTP status 302")),
        (
            Given(200, b'{"user":1}'),
            ApiError(200, "invalid_answer", "Expected `object`, got `int` - at `$.user`"),
        ),
    ],
    ids=lambda value: str(value.status),
)
async def test_answers_of_the_gateway_and_of_strangers(
    ghasi: Ghasi, api: FakeApi, given: Given, expected: ApiError
) -> None:
    api.answers["get_me"] = given
    with pytest.raises(ApiError) as caught:
        await ghasi.get_me()
    assert caught.value == expected


@pytest.mark.parametrize(("status", "code"), [(200, "invalid_answer"), (502, "bad_gateway")])
async def test_answers_nested_deep_are_no_worse_than_others(ghasi: Ghasi, api: FakeApi, status: int, code: str) -> None:
    api.answers["get_me"] = Given(status, b'{"x":%s1%s}' % (b"[" * 5000, b"]" * 5000))
    with pytest.raises(ApiError) as caught:
        await ghasi.get_me()
    assert (caught.value.status, caught.value.code) == (status, code)


async def test_time_outs_are_the_tables_own(ghasi: Ghasi, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.BY_OPERATION["get_invoice"]
    monkeypatch.setitem(table.BY_OPERATION, "get_invoice", dataclasses.replace(row, timeout_s=0.2))
    api.answers["get_invoice"] = api.hang
    started = asyncio.get_running_loop().time()
    with pytest.raises(ApiUnreachableError, match=r"get_invoice: no answer within 0.2 s"):
        await ghasi.get_invoice(ID)
    assert 0.15 < asyncio.get_running_loop().time() - started < 2


async def test_no_server(unused_port: int) -> None:
    async with Ghasi(f"http://127.0.0.1:{unused_port}", token="x") as nobody:
        with pytest.raises(ApiUnreachableError, match="get_me"):
            await nobody.get_me()
    with pytest.raises(RuntimeError, match="context manager"):
        await nobody.get_me()


async def test_ids_cannot_leave_their_place_in_the_path(ghasi: Ghasi, api: FakeApi) -> None:
    with pytest.raises(ApiError, match="404 no_route"):
        await ghasi.get_message("a/b?c=%20#d")
    assert api.unrouted == ["/v1/messages/a%2Fb%3Fc%3D%2520%23d"]


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
