"""What provokes each status that a row declares: one function for each operation, status and code.

Most hold for many rows alike and are made for each of them; those about one service's rules are written one by one.
A scenario returns the answer; who calls it holds the answer against the contract.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from ghasi.auth import admin as auth_admin
from ghasi.auth import api_keys, invitations
from ghasi.auth.model import MOST_API_KEYS, MOST_INVITATIONS
from ghasi.billing.invoices import admin as billing_admin
from ghasi.billing.invoices import credit_notes
from ghasi.billing.invoices.credit_notes import Wanted
from ghasi.billing.ledger import admin as ledger_admin
from ghasi.contract.row import Auth, Row, Upstream
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import SCOPES, NewApiKey, NewInvitation, WebhookInput
from ghasi.contract.table import BY_OPERATION, ROWS
from ghasi.contract.values import new_id
from ghasi.gateway.upstreams import HttpUpstream, UpstreamRequest
from ghasi.webhooks.endpoints import service as webhooks
from ghasi.webhooks.model import MAX_ENDPOINTS
from tests.asgi import Answer
from tests.auth.identity_provider import id_token
from tests.billing.conftest import LAST_MONTH, Messages, Sms
from tests.billing.ledger.prepaying import make_prepaid
from tests.carrying import events_of
from tests.live import live
from tests.routes.conftest import Worlds
from tests.routes.world import (
    BODIES,
    CARRIER,
    CARRIER_SECRET,
    MESSAGE,
    OPT_OUT,
    QUERY_CARRIER,
    WEBHOOK,
    Customer,
    World,
    ask,
    body_of,
    misbehaving,
    target_of,
    unused_url,
)

Key = tuple[str, int, str | None]
"""Operation, status and code; no code for success and for what the gateway alone answers."""
Scenario = Callable[[Worlds], Awaitable[Answer]]
OPERATOR = "ann"
SCENARIOS: dict[Key, Scenario] = {}


def provokes(operation: str, status: int, code: str | None = None) -> Callable[[Scenario], Scenario]:
    """Enter a scenario in the table."""

    def enter(scenario: Scenario) -> Scenario:
        key = (operation, status, code)
        assert key not in SCENARIOS, key
        SCENARIOS[key] = scenario
        return scenario

    return enter


# what the gateway answers by itself


async def no_token(row: Row, worlds: Worlds) -> Answer:
    return await (await worlds.plain()).call(row.method, target_of(row), json=body_of(row))


async def slow_body(row: Row, worlds: Worlds) -> Answer:
    """The client sends half of a body and no more; it has 0.1 s in place of a minute."""
    world = await worlds.plain()
    customer = await world.sign_in()
    target = target_of(row)
    headers = [(name.encode(), value.encode()) for name, value in customer.bearer.items()]
    halves = iter([{"type": "http.request", "body": b"{", "more_body": True}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        for half in halves:
            return half
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": row.method, "path": target, "raw_path": target.encode(), "query_string": b"",
        "headers": [*headers, (b"content-length", b"10")], "client": (customer.address, 1), "scheme": "http",
        "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    await world.gateway(scope, receive, send)
    head, body = sent
    decoded = [(name.decode(), value.decode()) for name, value in head["headers"]]
    return Answer(head["status"], decoded, body["body"])


async def large_body(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, row, body=b" " * (row.max_body_bytes + 1))


async def over_the_limit(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.tight()).sign_in()
    for _ in range(3):  # a minute may end in between
        answer = await ask(customer, row)
        if answer.status == 429:
            break
    return answer


async def gateway_breaks(row: Row, worlds: Worlds) -> Answer:
    """The connections to the service were closed under the gateway, as when it ends amidst a request."""
    customer = await worlds.bent()

    async def anything(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with live(anything) as url:
        closed = HttpUpstream(url)
        assert (await closed.send(UpstreamRequest("GET", "/", b"", []))).status == 204
        await closed.close()
    return await ask_elsewhere(customer, row, closed)


async def bad_gateway(row: Row, worlds: Worlds) -> Answer:
    """The service refuses, closes and resets; each is answered the same."""
    customer = await worlds.bent()
    answer = await ask_elsewhere(customer, row, HttpUpstream(unused_url()))
    for how in ("closes", "resets"):
        async with misbehaving(how) as url:
            another = await ask_elsewhere(customer, row, HttpUpstream(url))
        assert (another.status, another.json["message"]) == (answer.status, answer.json["message"])
    return answer


async def no_address(row: Row, worlds: Worlds) -> Answer:
    """The machine's own resolver says so; while it takes longer than the row's time, that is a 504 as it should be."""
    customer = await worlds.bent()
    for _ in range(3):
        answer = await ask_elsewhere(customer, row, HttpUpstream("http://nowhere.invalid:8080"))
        if answer.status != 504:
            break
    return answer


async def too_slow(row: Row, worlds: Worlds) -> Answer:
    started = await worlds.hanging()
    return await started[row.operation]


async def ask_elsewhere(customer: Customer, row: Row, upstream: HttpUpstream) -> Answer:
    switch = customer.world.upstreams
    home, switch.client = switch.client, upstream
    try:
        return await ask(customer, row)
    finally:
        switch.client = home
        with contextlib.suppress(Exception):
            await upstream.close()


# what every service of its kind answers


async def broken(row: Row, worlds: Worlds) -> Answer:
    return await _until(500, await worlds.broken(), row)


async def away(row: Row, worlds: Worlds) -> Answer:
    return await _until(503, await worlds.away(), row)


async def _until(status: int, customer: Customer, row: Row) -> Answer:
    """Ask until the published keys, which a process knows for a second, are old too."""
    deadline = time.monotonic() + 20
    while True:
        answer = await ask(customer, row)
        if answer.status == status or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(0.05)


async def not_json(row: Row, worlds: Worlds) -> Answer:
    return await ask(await (await worlds.plain()).sign_in(), row, body=b"{")


async def unknown_field(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, row, json=(body_of(row) or {}) | {"surprise": 1})
    assert [error["field"] for error in answer.json["errors"]] == ["surprise"]
    return answer


async def unknown_parameter(row: Row, worlds: Worlds) -> Answer:
    answer = await ask(await (await worlds.plain()).sign_in(), row, query="?surprise=1")
    assert [error["field"] for error in answer.json["errors"]] == ["surprise"]
    return answer


async def bad_cursor(row: Row, worlds: Worlds) -> Answer:
    return await ask(await (await worlds.plain()).sign_in(), row, query="?cursor=nonsense")


async def bad_idempotency_key(row: Row, worlds: Worlds) -> Answer:
    return await ask(await (await worlds.plain()).sign_in(), row, idempotency_key="x" * 256)


async def key_without_scope(row: Row, worlds: Worlds) -> Answer:
    """A key of every scope but the row's; where the row has none, a key of every scope."""
    customer = await (await worlds.plain()).sign_in()
    key = await customer.create_key(*(scope for scope in SCOPES if scope != row.scope))
    return await ask(customer, row, authorization=f"Bearer {key['key']}")


async def nobodys_id(row: Row, worlds: Worlds) -> Answer:
    """An id that nobody has; of a message that webhook-dispatcher does not know, one that nobody can have."""
    resource_id = "1" if row.operation == "list_message_deliveries" else None
    return await ask(await (await worlds.plain()).sign_in(), row, resource_id=resource_id)


def _enter_common() -> None:
    for row in ROWS:
        common: list[tuple[int, str | None, Callable[[Row, Worlds], Awaitable[Answer]]]] = [
            (408, None, slow_body), (413, None, large_body), (500, None, gateway_breaks), (502, None, bad_gateway),
            (503, None, no_address), (504, None, too_slow), (500, "internal_error", broken),
            (503, "service_unavailable", away),
        ]  # fmt: skip
        if row.limit is not None:
            common.append((429, None, over_the_limit))
        if row.auth is Auth.BEARER:
            common.append((401, None, no_token))
            common.append((403, "insufficient_scope" if row.scope else "user_required", key_without_scope))
        if row.body is not None:
            common += [(400, "invalid_json", not_json), (422, "invalid_request", unknown_field)]
        if row.query is not None:
            common.append((422, "invalid_request", unknown_parameter))
            if "cursor" in row.query.__struct_fields__:
                common.append((422, "invalid_cursor", bad_cursor))
        if row.idempotent_by_key:
            common.append((422, "invalid_idempotency_key", bad_idempotency_key))
        if row.parameters:
            common.append((404, "not_found", nobodys_id))
        if row.takes_any_body:  # who asks must prove it before anything of ours is asked
            common = [one for one in common if one[1] not in ("internal_error", "service_unavailable")]
        for status, code, scenario in common:
            provokes(row.operation, status, code)(partial(scenario, row))


_enter_common()


# successes


async def succeed(row: Row, worlds: Worlds) -> Answer:
    return await ask(await (await worlds.plain()).sign_in(), row)


for _operation, _status in (
    ("sign_in_with_firebase", 200), ("refresh_session", 200), ("get_me", 200), ("create_api_key", 201),
    ("send_message", 202), ("send_batch", 202), ("preview_message", 200), ("create_webhook", 201), ("get_usage", 200),
    ("get_summary", 200), ("get_balance", 200),
    ("sign_out", 204), ("get_json_web_keys", 200), ("get_account", 200), ("update_account", 200),
    ("get_preferences", 200), ("update_preferences", 200), ("create_invitation", 201), ("create_opt_out", 201),
):  # fmt: skip
    provokes(_operation, _status)(partial(succeed, BY_OPERATION[_operation]))


@provokes("list_api_keys", 200)
async def list_a_key(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    created = await customer.create_key(expires_at="2999-01-01T00:00:00Z")
    answer = await ask(customer, BY_OPERATION["list_api_keys"])
    del created["key"]
    assert answer.json == {"data": [created], "next_cursor": None}
    return answer


@provokes("revoke_api_key", 204)
async def revoke_a_key(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, BY_OPERATION["revoke_api_key"], resource_id=(await customer.create_key())["id"])


@provokes("list_users", 200)
async def list_two_people(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    person = await customer.add_person()
    answer = await ask(customer, BY_OPERATION["list_users"])
    assert [(one["id"], one["role"]) for one in answer.json["data"]] == [
        (str(person.user_id), "member"), (str(customer.user_id), "owner"),
    ]  # fmt: skip
    return answer


async def with_a_person(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, row, resource_id=(await customer.add_person("owner")).user_id)


for _operation, _status in (("update_user", 200), ("remove_user", 204)):
    provokes(_operation, _status)(partial(with_a_person, BY_OPERATION[_operation]))


@provokes("list_invitations", 200)
async def list_an_invitation(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    invitation = await customer.invite()
    answer = await ask(customer, BY_OPERATION["list_invitations"])
    del invitation["token"]
    assert answer.json == {"data": [invitation], "next_cursor": None}
    return answer


@provokes("revoke_invitation", 204)
async def revoke_an_invitation(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, BY_OPERATION["revoke_invitation"], resource_id=(await customer.invite())["id"])


@provokes("list_messages", 200)
async def list_a_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    sent = await customer.send()
    answer = await ask(customer, BY_OPERATION["list_messages"])
    assert answer.json == {"data": [sent], "next_cursor": None}
    return answer


@provokes("get_message", 200)
async def get_a_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    sent = await customer.send()
    answer = await ask(customer, BY_OPERATION["get_message"], resource_id=sent["id"])
    assert [event["status"] for event in answer.json["events"]] == ["accepted"]
    return answer


@provokes("export_messages", 200)
async def export_a_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    sent = await customer.send()
    answer = await ask(customer, BY_OPERATION["export_messages"])
    header, row = answer.body.decode().splitlines()
    assert row.split(",")[header.split(",").index("id")] == sent["id"]
    assert answer.header("content-disposition") == 'attachment; filename="messages.csv"'
    return answer


# carriers' reports


async def report(world: World, *, secret: str = CARRIER_SECRET, body: bytes | None = None) -> Answer:
    target = target_of(BY_OPERATION["take_carrier_report"], CARRIER)
    given = {"body": body} if body is not None else {"json": {"id": str(new_id()), "status": "delivered"}}
    return await world.call("POST", target, headers={"x-secret": secret}, **given)


async def report_by_get(world: World, *, secret: str = CARRIER_SECRET, body: bytes | None = None) -> Answer:
    target = target_of(BY_OPERATION["take_carrier_query"], QUERY_CARRIER)
    receipt = f"&id={new_id()}&status=delivered" if body is None else ""
    return await world.call("GET", f"{target}?secret={secret}{receipt}")


for _operation, _report in (("take_carrier_report", report), ("take_carrier_query", report_by_get)):

    @provokes(_operation, 204)
    async def report_a_receipt(worlds: Worlds, report: Any = _report) -> Answer:
        return await report(await worlds.plain())

    @provokes(_operation, 401, "invalid_callback")
    async def report_without_the_secret(worlds: Worlds, report: Any = _report) -> Answer:
        return await report(await worlds.plain(), secret="hunter2")

    @provokes(_operation, 422, "invalid_request")
    async def report_nothing(worlds: Worlds, report: Any = _report) -> Answer:
        return await report(await worlds.plain(), body=b"{}")

    @provokes(_operation, 500, "internal_error")
    async def report_to_a_fault(worlds: Worlds, report: Any = _report) -> Answer:
        """The ledger drops what the database refuses for good, so that the fault is in the reading."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ghasi.messages.dispatch.carrier_reports.read_reports", None)
            return await report(await worlds.plain())

    @provokes(_operation, 503, "service_unavailable")
    async def report_while_the_database_is_away(worlds: Worlds, report: Any = _report) -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ghasi.messages.dispatch.carrier_reports.COMMIT_WITHIN_S", 0.3)
            return await report((await worlds.away()).world)


@provokes("list_senders", 200)
async def list_a_sender(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    added = await customer.add_sender(countries=["SE", "AF"], in_pool=True)
    answer = await ask(customer, BY_OPERATION["list_senders"])
    [sender] = answer.json["data"]
    assert (sender["id"], sender["address"]) == (str(added.id), added.address)
    assert (sender["kind"], sender["countries"], sender["pool"]) == ("number", ["AF", "SE"], True)
    return answer


@provokes("update_sender", 200)
async def make_a_sender_the_default(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, BY_OPERATION["update_sender"], resource_id=(await customer.add_sender()).id)
    assert answer.json["default"]
    return answer


@provokes("update_sender", 409, "not_a_pool_sender")
async def put_a_name_in_the_pool(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    name = await customer.add_sender("Bakery")
    return await ask(customer, BY_OPERATION["update_sender"], resource_id=name.id, json={"default": True, "pool": True})


@provokes("list_opt_outs", 200)
async def list_an_opt_out(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    created = await customer.create_opt_out()
    answer = await ask(customer, BY_OPERATION["list_opt_outs"])
    assert answer.json == {"data": [created], "next_cursor": None}
    return answer


for _fields, _code in (({"to": "12345"}, "invalid_number"), ({"from": "no such name"}, "invalid_sender")):

    async def refused_opt_out(fields: dict[str, str], worlds: Worlds) -> Answer:
        customer = await (await worlds.plain()).sign_in()
        return await ask(customer, BY_OPERATION["create_opt_out"], json=OPT_OUT | fields)

    provokes("create_opt_out", 422, _code)(partial(refused_opt_out, _fields))


@provokes("delete_opt_out", 204)
async def take_an_opt_out_back(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    created = await customer.create_opt_out()
    answer = await ask(customer, BY_OPERATION["delete_opt_out"], resource_id=created["id"])
    assert (await customer.call("GET", "/v1/opt-outs")).json["data"] == []
    return answer


@provokes("list_webhooks", 200)
async def list_a_webhook(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    created = await customer.create_webhook()
    answer = await ask(customer, BY_OPERATION["list_webhooks"])
    del created["secret"]
    assert answer.json == {"data": [created], "next_cursor": None}
    return answer


async def with_a_webhook(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, row, resource_id=(await customer.create_webhook())["id"])


for _operation, _status in (
    ("get_webhook", 200), ("update_webhook", 200), ("delete_webhook", 204), ("rotate_webhook_secret", 200),
    ("send_test_event", 202), ("recover_deliveries", 202), ("replay_events", 202), ("dry_run_event", 200),
):  # fmt: skip
    provokes(_operation, _status)(partial(with_a_webhook, BY_OPERATION[_operation]))


async def with_a_delivery(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    ids = await customer.create_delivery()
    return await ask(customer, row, resource_id=ids[: len(row.parameters)])


for _operation, _status in (
    ("list_deliveries", 200), ("list_account_deliveries", 200), ("list_attempts", 200), ("get_delivery", 200),
    ("resend_delivery", 202),
):  # fmt: skip
    provokes(_operation, _status)(partial(with_a_delivery, BY_OPERATION[_operation]))


@provokes("list_message_deliveries", 200)
async def list_what_a_message_caused(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    _, event_id = await customer.create_delivery()
    message_id = new_id()
    await customer.world.resources.pool.execute(
        "UPDATE webhooks.events SET message_id = $2 WHERE id = $1::uuid", event_id, message_id
    )
    answer = await ask(customer, BY_OPERATION["list_message_deliveries"], resource_id=message_id)
    assert [row["id"] for row in answer.json["data"]] == [event_id]
    return answer


async def with_an_invoice(worlds: Worlds) -> tuple[Customer, str]:
    """A customer who sent a message last month, and the number of the invoice for it."""
    world = await worlds.plain()
    customer = await world.sign_in()
    pool = world.resources.pool
    await Messages(pool).happen(Sms(account_id=customer.account_id, at=LAST_MONTH))
    await billing_admin.close_period(pool, events_of(pool), f"{LAST_MONTH:%Y-%m}", actor=f"operator:{OPERATOR}")
    [invoice] = (await ask(customer, BY_OPERATION["list_invoices"])).json["data"]
    return customer, invoice["id"]


@provokes("list_rates", 200)
async def list_the_default_rate(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, BY_OPERATION["list_rates"], query="?number=%2B46700000010")
    [rate] = answer.json["data"]
    assert (rate["scope"], rate["country"], rate["amount"]) == ("everybody", None, "0.0450")
    return answer


@provokes("list_invoices", 200)
async def list_an_invoice(worlds: Worlds) -> Answer:
    customer, _ = await with_an_invoice(worlds)
    return await ask(customer, BY_OPERATION["list_invoices"])


@provokes("get_invoice", 200)
async def get_an_invoice(worlds: Worlds) -> Answer:
    customer, invoice_id = await with_an_invoice(worlds)
    answer = await ask(customer, BY_OPERATION["get_invoice"], resource_id=invoice_id)
    assert [line["messages"] for line in answer.json["line_items"]] == [1]
    return answer


@provokes("get_invoice_pdf", 200)
async def get_an_invoice_as_pdf(worlds: Worlds) -> Answer:
    customer, invoice_id = await with_an_invoice(worlds)
    answer = await ask(customer, BY_OPERATION["get_invoice_pdf"], resource_id=invoice_id)
    assert answer.body.startswith(b"%PDF-")
    return answer


@provokes("set_spending_limit", 200)
async def set_a_limit(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    await customer.world.hear_of_accounts()
    answer = await ask(customer, BY_OPERATION["set_spending_limit"])
    assert (answer.json["own_spending_limit"], answer.json["spending_limit"]) == ("50.0000", "50.0000")
    return answer


@provokes("list_balance_transactions", 200)
async def list_a_top_up(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    customer = await world.sign_in()
    await ledger_admin.top_up(
        world.resources.pool, customer.account_id, "20", reference="bank 1", note=None, actor=f"operator:{OPERATOR}"
    )
    answer = await ask(customer, BY_OPERATION["list_balance_transactions"])
    assert [(row["kind"], row["amount"]) for row in answer.json["data"]] == [("top_up", "20.0000")]
    return answer


async def of_an_invoice(row: Row, worlds: Worlds) -> Answer:
    customer, invoice_id = await with_an_invoice(worlds)
    return await ask(customer, row, resource_id=invoice_id if row.parameters else None)


for _operation in ("preview_invoice", "get_invoice_csv", "get_invoice_sources", "get_billing_profile"):
    provokes(_operation, 200)(partial(of_an_invoice, BY_OPERATION[_operation]))


async def with_a_credit_note(row: Row, worlds: Worlds) -> Answer:
    customer, invoice_id = await with_an_invoice(worlds)
    pool = customer.world.resources.pool
    number = (await ask(customer, BY_OPERATION["get_invoice"], resource_id=invoice_id)).json["number"]
    note = await credit_notes.credit_invoice(pool, number, Wanted("late"), f"operator:{OPERATOR}")
    return await ask(customer, row, resource_id=note.id if row.parameters else None)


for _operation in ("list_credit_notes", "get_credit_note", "get_credit_note_pdf"):
    provokes(_operation, 200)(partial(with_a_credit_note, BY_OPERATION[_operation]))


@provokes("update_billing_profile", 200)
async def set_a_billing_profile(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    await customer.world.hear_of_accounts()
    answer = await ask(customer, BY_OPERATION["update_billing_profile"])
    assert answer.json["legal_name"] == BODIES["update_billing_profile"]["legal_name"]
    assert (await ask(customer, BY_OPERATION["get_billing_profile"])).json == answer.json
    return answer


# auth-service


@provokes("sign_in_with_firebase", 401, "invalid_id_token")
async def expired_id_token(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    return await world.call("POST", "/v1/auth/firebase", json={"id_token": id_token(exp=1)})


@provokes("sign_in_with_firebase", 503, "identity_unavailable")
async def no_certificates(worlds: Worlds) -> Answer:
    world = await worlds.without_identity_provider()
    return await world.call("POST", "/v1/auth/firebase", json={"id_token": id_token()})


@provokes("refresh_session", 401, "refresh_token_missing")
async def no_cookie(worlds: Worlds) -> Answer:
    return await (await worlds.plain()).call("POST", "/v1/auth/refresh")


@provokes("refresh_session", 401, "invalid_refresh_token")
async def made_up_cookie(worlds: Worlds) -> Answer:
    return await (await worlds.plain()).call("POST", "/v1/auth/refresh", headers={"cookie": "ghasi_refresh=made-up"})


async def foreign_origin(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, row, origin="https://evil.example")
    assert answer.header("set-cookie") is None
    return answer


for _operation in ("sign_in_with_firebase", "refresh_session", "sign_out"):
    provokes(_operation, 403, "foreign_origin")(partial(foreign_origin, BY_OPERATION[_operation]))


async def user_is_gone(row: Row, worlds: Worlds) -> Answer:
    """As it is until the gateway has heard of a removal."""
    customer = await (await worlds.plain()).sign_in()
    await customer.world.resources.pool.execute("DELETE FROM auth.users WHERE id = $1", customer.user_id)
    return await ask(customer, row)


for _row in ROWS:
    if _row.upstream is Upstream.AUTH and "user_not_found" in _row.problems and _row.operation != "create_api_key":
        provokes(_row.operation, 401, "user_not_found")(partial(user_is_gone, _row))


async def member_asks(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(await customer.add_person(), row, resource_id=customer.user_id)


for _operation in (
    "update_account", "update_user", "remove_user", "create_invitation", "revoke_invitation", "update_billing_profile",
    "set_spending_limit",
):  # fmt: skip
    provokes(_operation, 403, "owner_required")(partial(member_asks, BY_OPERATION[_operation]))


async def last_owner(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    await customer.add_person()
    return await ask(customer, row, resource_id=customer.user_id)


for _operation in ("update_user", "remove_user"):
    provokes(_operation, 409, "last_owner")(partial(last_owner, BY_OPERATION[_operation]))


@provokes("create_invitation", 409, "already_member")
async def already_member(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    customer = await world.sign_in(email="Laila@example.com")
    return await ask(customer, BY_OPERATION["create_invitation"], json={"email": "laila@EXAMPLE.com"})


@provokes("create_invitation", 409, "too_many_invitations")
async def too_many_invitations(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    for number in range(MOST_INVITATIONS):
        await invitations.create_invitation(
            customer.world.resources.pool, caller(customer), NewInvitation(email=f"{number}@example.com"),
            now=datetime.now(UTC), request_id="",
        )  # fmt: skip
    return await ask(customer, BY_OPERATION["create_invitation"])


@provokes("sign_in_with_firebase", 422, "invalid_invitation")
async def used_invitation(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    invitation = await (await world.sign_in()).invite()
    await world.sign_in(email=invitation["email"], invitation=invitation["token"])
    body = {"id_token": id_token(sub=str(new_id()), email=invitation["email"]), "invitation": invitation["token"]}
    return await world.call("POST", "/v1/auth/firebase", json=body)


@provokes("sign_in_with_firebase", 409, "already_in_account")
async def invited_from_another_account(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    invitation = await (await world.sign_in()).invite()
    subject = str(new_id())
    await world.sign_in(subject, email=invitation["email"])
    body = {"id_token": id_token(sub=subject, email=invitation["email"]), "invitation": invitation["token"]}
    return await world.call("POST", "/v1/auth/firebase", json=body)


@provokes("create_api_key", 401, "user_not_found")
async def account_is_gone(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    pool = customer.world.resources.pool
    await pool.execute("DELETE FROM auth.users WHERE id = $1", customer.user_id)
    await pool.execute("DELETE FROM auth.accounts WHERE id = $1", customer.account_id)
    return await ask(customer, BY_OPERATION["create_api_key"])


@provokes("create_api_key", 403, "account_suspended")
async def suspended_before_a_key(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    await auth_admin.set_status(customer.world.resources, customer.account_id, "suspended", operator=OPERATOR)
    return await ask(customer, BY_OPERATION["create_api_key"])


@provokes("create_api_key", 409, "too_many_api_keys")
async def too_many_keys(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    for _ in range(MOST_API_KEYS):
        await api_keys.create_api_key(
            customer.world.resources.pool, caller(customer), NewApiKey(name="a key"),
            idempotency_key=None, now=datetime.now(UTC), request_id="",
        )  # fmt: skip
    return await ask(customer, BY_OPERATION["create_api_key"])


def caller(customer: Customer) -> Caller:
    return Caller(customer.account_id, customer.user_id, is_api_key=False, credential="a kid")


# Idempotency-Key


async def created_already(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    first = await ask(customer, row, idempotency_key="once")
    assert first.status == 201
    answer = await ask(customer, row, idempotency_key="once")
    assert first.json["id"] in answer.json["detail"]
    return answer


async def key_reused(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    assert (await ask(customer, row, idempotency_key="once")).status == row.success
    field = {
        "create_api_key": "name", "send_message": "reference", "send_batch": "reference",
        "create_webhook": "description",
    }[row.operation]  # fmt: skip
    return await ask(customer, row, json=(body_of(row) or {}) | {field: "another"}, idempotency_key="once")


for _operation in ("create_api_key", "create_webhook"):
    provokes(_operation, 409, "already_created")(partial(created_already, BY_OPERATION[_operation]))
for _operation in ("create_api_key", "create_webhook", "send_message", "send_batch"):
    provokes(_operation, 409, "idempotency_key_reused")(partial(key_reused, BY_OPERATION[_operation]))


# sms-orchestrator

TOO_LONG = "x" * (10 * 153 + 1)


async def refused_message(fields: dict[str, str], worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, BY_OPERATION["send_message"], json=MESSAGE | fields)
    assert [error["field"] for error in answer.json["errors"]] == list(fields)
    return answer


for _code, _fields in {
    "invalid_number": {"to": "+999"}, "invalid_sender": {"from": "much too long a name"},
    "body_too_long": {"body": TOO_LONG}, "invalid_send_at": {"send_at": "2999-01-01T00:00:00Z"},
}.items():  # fmt: skip
    provokes("send_message", 422, _code)(partial(refused_message, _fields))


async def _told(worlds: Worlds, change: Callable[[World, Customer], Awaitable[Any]]) -> Customer:
    """A customer of whose account something was said that messages has heard."""
    world = await worlds.plain()
    customer = await world.sign_in()
    await change(world, customer)
    await world.hear_of_accounts()
    return customer


async def suspended_before_a_message(row: Row, worlds: Worlds) -> Answer:
    async def change(world: World, customer: Customer) -> None:
        await auth_admin.set_status(world.resources, customer.account_id, "suspended", operator=OPERATOR)

    return await ask(await _told(worlds, change), row)


for _operation in ("send_message", "send_batch"):
    provokes(_operation, 403, "account_suspended")(partial(suspended_before_a_message, BY_OPERATION[_operation]))


@provokes("send_message", 402, "spending_limit_reached")
async def limit_of_nothing(worlds: Worlds) -> Answer:
    async def change(world: World, customer: Customer) -> None:
        await ledger_admin.set_spending_limit(world.resources.pool, customer.account_id, "0", f"operator:{OPERATOR}")
        await world.hear_of_billing()

    return await ask(await _told(worlds, change), BY_OPERATION["send_message"])


@provokes("send_message", 402, "insufficient_balance")
async def nothing_paid_ahead(worlds: Worlds) -> Answer:
    async def change(world: World, customer: Customer) -> None:
        await make_prepaid(world.resources.pool, customer.account_id)
        await world.hear_of_billing()

    return await ask(await _told(worlds, change), BY_OPERATION["send_message"])


@provokes("send_message", 403, "sender_not_allowed")
async def anothers_number(worlds: Worlds) -> Answer:
    world = await worlds.plain()
    owner, customer = await world.sign_in(), await world.sign_in()
    sender = await owner.add_sender()
    return await ask(customer, BY_OPERATION["send_message"], json=MESSAGE | {"from": sender.address})


@provokes("send_message", 403, "recipient_opted_out")
async def opted_out(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    assert (await ask(customer, BY_OPERATION["create_opt_out"], json={"to": MESSAGE["to"]})).status == 201
    return await ask(customer, BY_OPERATION["send_message"])


@provokes("redact_message", 200)
async def redact_a_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    message_id = (await customer.send())["id"]
    canceled = await ask(customer, BY_OPERATION["cancel_message"], resource_id=message_id)
    assert canceled.json["body"] == MESSAGE["body"]
    answer = await ask(customer, BY_OPERATION["redact_message"], resource_id=message_id)
    assert answer.json == canceled.json | {"body": None}
    return answer


@provokes("redact_message", 409, "not_redactable")
async def redact_what_is_on_its_way(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, BY_OPERATION["redact_message"], resource_id=(await customer.send())["id"])


@provokes("cancel_message", 200)
async def cancel_a_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    answer = await ask(customer, BY_OPERATION["cancel_message"], resource_id=(await customer.send())["id"])
    assert [event["status"] for event in answer.json["events"]] == ["accepted", "canceled"]
    return answer


@provokes("cancel_message", 409, "not_cancelable")
async def cancel_a_message_that_was_sent(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    message_id = (await customer.send())["id"]
    await customer.world.resources.pool.execute(
        "UPDATE messages.messages SET status = 'sent', sent_at = now() WHERE id = $1::uuid", message_id
    )
    return await ask(customer, BY_OPERATION["cancel_message"], resource_id=message_id)


@provokes("send_message", 403, "country_not_allowed")
async def country_not_allowed(worlds: Worlds) -> Answer:
    async def change(world: World, customer: Customer) -> None:
        await auth_admin.set_countries(world.resources, customer.account_id, ["AF"], operator=OPERATOR)

    return await ask(await _told(worlds, change), BY_OPERATION["send_message"])


@provokes("send_message", 403, "daily_cap_reached")
async def daily_cap_reached(worlds: Worlds) -> Answer:
    async def change(world: World, customer: Customer) -> None:
        await auth_admin.set_daily_cap(world.resources, customer.account_id, 1, operator=OPERATOR)

    customer = await _told(worlds, change)
    for _ in range(3):  # a day may end in between
        answer = await ask(customer, BY_OPERATION["send_message"])
        if answer.status != 202:
            break
    return answer


# webhook-dispatcher


async def bad_url(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    return await ask(customer, row, json=WEBHOOK | {"url": "https://169.254.169.254/latest/meta-data"})


for _operation in ("create_webhook", "update_webhook"):
    provokes(_operation, 422, "invalid_url")(partial(bad_url, BY_OPERATION[_operation]))


async def disabled(row: Row, worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    ids = await customer.create_delivery()
    off = await ask(customer, BY_OPERATION["update_webhook"], resource_id=ids[:1], json=WEBHOOK | {"enabled": False})
    assert off.status == 200
    return await ask(customer, row, resource_id=ids[: len(row.parameters)])


for _operation in ("send_test_event", "resend_delivery", "recover_deliveries", "replay_events"):
    provokes(_operation, 409, "webhook_disabled")(partial(disabled, BY_OPERATION[_operation]))


@provokes("replay_events", 422, "invalid_cursor")
async def replay_from_nowhere(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    row = BY_OPERATION["replay_events"]
    return await ask(customer, row, json=(body_of(row) or {}) | {"cursor": "nonsense"})


@provokes("dry_run_event", 404, "not_found")
async def dry_run_of_no_message(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    row = BY_OPERATION["dry_run_event"]
    return await ask(customer, row, json=(body_of(row) or {}) | {"message_id": str(new_id())})


@provokes("create_webhook", 409, "too_many_webhooks")
async def too_many_webhooks(worlds: Worlds) -> Answer:
    customer = await (await worlds.plain()).sign_in()
    resources = customer.world.resources
    for _ in range(MAX_ENDPOINTS):
        await webhooks.create_webhook(
            resources.pool, resources.sealer, caller(customer), WebhookInput(**WEBHOOK), key=None, request_id="",
            dev=False,
        )  # fmt: skip
    return await ask(customer, BY_OPERATION["create_webhook"])
