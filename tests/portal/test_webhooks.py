"""Endpoints and their deliveries: what is asked of the API, what is never shown, and hostile text of receivers."""

import asyncio
import json
import os
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from ghasi.contract import shapes
from ghasi.contract.table import BY_OPERATION
from ghasi.contract.values import rfc3339
from ghasi.portal.pages import verification, webhook_forms
from ghasi.portal.pages.deliveries import visible
from ghasi.portal.pages.webhooks import ROTATION_UNKNOWN
from tests.client.fake_api import AT, DELIVERY, HOOK, ID, SAMPLES, FakeApi, Given
from tests.client.test_webhooks import PAYLOAD, SECRET, signed
from tests.node import NODE, PEERS, need
from tests.portal.conftest import Browser, Shown, token
from tests.portal.test_sessions import LIMITED
from tests.ports import reserved_ports

KABUL = ZoneInfo("Asia/Kabul")
HOSTILE = "<script>alert(1)</script>"
OTHER = "0199f3a0-0000-7000-8000-000000000002"
FORM_KEY = "5f0c3c6e-8c1b-4a53-9d0a-5a9f3e6a1a11"
SCRIPT = {"HX_Request": "true", "Sec_Fetch_Site": "same-origin"}
NOT_FOUND = Given(404, {"code": "not_found", "detail": "x", "request_id": "r1"})
HOOK_PATH, DELIVERY_PATH = f"/webhooks/{ID}", f"/webhooks/{ID}/deliveries/{OTHER}"
CHANGES = [
    (f"{HOOK_PATH}/switch", "update_webhook"), (f"{HOOK_PATH}/rotate", "rotate_webhook_secret"),
    (f"{HOOK_PATH}/delete", "delete_webhook"), (f"{HOOK_PATH}/test", "send_test_event"),
    (f"{HOOK_PATH}/recover", "recover_deliveries"), (f"{HOOK_PATH}/replay", "replay_events"),
    (f"{DELIVERY_PATH}/resend", "resend_delivery"),
]  # fmt: skip


@pytest.fixture
def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia%2FKabul")
    return browser


def hook(**changes: Any) -> shapes.Webhook:
    return msgspec.structs.replace(HOOK, **changes)


def delivery(**changes: Any) -> shapes.DeliveryDetail:
    return msgspec.structs.replace(SAMPLES["get_delivery"], **changes)


def attempt(number: int = 1, **changes: Any) -> shapes.DeliveryAttempt:
    made = shapes.DeliveryAttempt(number, AT, 1234, 500, "oh", "status: the endpoint answered 500")
    return msgspec.structs.replace(made, **changes)


def form(*events: str, headers: tuple[tuple[str, str], ...] = (), **fields: str) -> Any:
    given = {"idempotency_key": FORM_KEY, "url": "https://example.com/x", "choice": "message.*", "description": ""}
    pairs = [pair for name, value in headers for pair in (("header_name", name), ("header_value", value))]
    return [*(given | fields).items(), *(("events", event) for event in events), *pairs]


def trigger(shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown.headers["hx-trigger"])
    return found


def named(shown: Shown, name: str) -> list[dict[str, str | None]]:
    return [one for _, one in shown.tags if one.get("name") == name]


def links(shown: Shown) -> list[str | None]:
    return [one.get("href") for tag, one in shown.tags if tag == "a"]


# ---- the list and the forms


async def test_the_pages_without_a_call(visitor: Browser, api: FakeApi) -> None:
    for path in ("/webhooks", "/webhooks/new"):
        assert (await visitor.get(path)).status == 200
    assert api.seen == []


async def test_the_list(visitor: Browser, api: FakeApi) -> None:
    hooks = [
        hook(url="https://example.com/" + HOSTILE, description=HOSTILE, events=list(shapes.MESSAGE_EVENTS[:4])),
        hook(url="javascript:alert(1)", enabled=False, disabled_reason="gone"),
        hook(enabled=False, disabled_reason="a reason of later versions", events=["*"]),
    ]
    api.answers["list_webhooks"] = Given(200, shapes.Page(hooks, "more"))
    shown = await visitor.get("/webhooks/list", **SCRIPT)
    assert shown.text.count(HOSTILE) == 2
    assert "+2" in shown.text
    assert "all events" in shown.text
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    assert set(links(shown)) == {f"/webhooks/{ID}", "/webhooks?cursor=more"}
    assert "It answered 410 Gone" in shown.raw
    api.answers["list_webhooks"] = Given(200, shapes.Page([], None))
    assert "No endpoints yet" in (await visitor.get("/webhooks/list", **SCRIPT)).text


async def test_what_creating_asks_for(visitor: Browser, api: FakeApi) -> None:
    headers = (("X-Token", "a secret of theirs"), ("", ""), ("X-Empty", ""))
    with capture_logs() as logs:
        shown = await visitor.post(
            "/webhooks/new", form(headers=headers, url=" https://example.com/x ", description="a\r\nb"), **SCRIPT
        )
    (call,) = api.calls("create_webhook")
    assert call.body == shapes.WebhookInput(
        url="https://example.com/x",
        events=["message.*"],
        description="a\nb",
        headers={"X-Token": "a secret of theirs", "X-Empty": ""},
        filter=None,
        rate_per_s=None,
        fifo=None,
        metadata={},
    )
    assert call.header("idempotency-key") == FORM_KEY
    assert "whsec_c2VjcmV0" in shown.text
    assert any("data-once" in one for _, one in shown.tags)
    assert "whsec_c2VjcmV0" not in str(shown.headers) + str(logs)
    assert "a secret of theirs" not in shown.raw + str(logs)
    assert f"/webhooks/{ID}" in links(shown)


async def test_chosen_events(visitor: Browser, api: FakeApi) -> None:
    await visitor.post("/webhooks/new", form("message.sent", "message.failed", choice="chosen"), **SCRIPT)
    assert api.calls("create_webhook")[0].body.events == ["message.sent", "message.failed"]
    await visitor.post("/webhooks/new", form("message.sent"), **SCRIPT)
    assert api.calls("create_webhook")[1].body.events == ["message.*"]


@pytest.mark.parametrize(
    ("given", "text", "field"),
    [
        (form(url="  "), "Enter the address that events are sent to.", "url"),
        (form(choice="chosen"), "Choose at least one event.", None),
        (form(headers=(("", "lonely value"),)), "A value lacks its header's name.", None),
        (form(headers=(("A", "1"), ("a", "2"))), "A header is there twice", None),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_what_the_api_need_not_be_asked(
    visitor: Browser, api: FakeApi, *, given: Any, text: str, field: str | None
) -> None:
    shown = await visitor.post("/webhooks/new", given, **SCRIPT)
    assert (shown.status, text in shown.text, api.seen) == (422, True, [])
    assert "lonely value" not in shown.raw
    if field:
        assert shown.input(field)["aria-invalid"] == "true"


def refused(code: str, *errors: tuple[str, str]) -> Given:
    body = {"code": code, "detail": "x", "errors": [{"field": name, "message": text} for name, text in errors]}
    return Given(422, body)


@pytest.mark.parametrize("path", ["/webhooks/new", f"{HOOK_PATH}/edit"])
@pytest.mark.parametrize(
    ("given", "text", "field"),
    [
        (refused("invalid_url", ("url", "must begin with https://")), "Must begin with https://.", "url"),
        (refused("invalid_request", ("description", "is odd")), "Is odd.", "description"),
        (refused("invalid_request", ("events[0]", "is not an event type")), "Is not an event type.", None),
        (refused("invalid_request", ("headers.Host", "is set by Ghasi")), "Host: is set by Ghasi.", None),
        (refused("invalid_request", ("surprise", "is new")), "Is new.", None),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_objections_stand_beside_their_field_and_nothing_typed_is_lost(
    visitor: Browser, api: FakeApi, *, path: str, given: Given, text: str, field: str | None
) -> None:
    api.answers |= {"create_webhook": given, "update_webhook": given}
    typed = form("message.sent", choice="chosen", url=f"javascript:{HOSTILE}", description=HOSTILE, enabled="on")
    shown = await visitor.post(path, [*typed, ("header_name", "X-T"), ("header_value", "hush")], **SCRIPT)
    assert (shown.status, text in shown.text) == (422, True)
    assert shown.input("url")["value"] == f"javascript:{HOSTILE}"
    assert HOSTILE in shown.text
    assert [one["value"] for one in named(shown, "events") if "checked" in one] == ["message.sent"]
    assert named(shown, "idempotency_key")[0]["value"] == FORM_KEY
    # kept by the browser, which leaves #header-rows as it is, and never sent back
    assert "hush" not in shown.raw
    assert any("hx-preserve" in one and "data-secret" in one for _, one in shown.tags)
    assert not [one for one in links(shown) if "javascript" in str(one)]
    if field:
        assert shown.input(field)["aria-invalid"] == "true"


@pytest.mark.parametrize(
    ("code", "text", "is_over"),
    [
        ("already_created", webhook_forms.ALREADY_CREATED, True),
        ("idempotency_key_reused", webhook_forms.SENT_BEFORE, True),
        ("too_many_webhooks", "Delete those not in use.", False),
    ],
)
async def test_conflicts_are_explained(visitor: Browser, api: FakeApi, *, code: str, text: str, is_over: bool) -> None:
    api.answers["create_webhook"] = Given(409, {"code": code, "detail": "x"})
    shown = await visitor.post("/webhooks/new", form(), **SCRIPT)
    assert (shown.status, text in shown.text) == (422, True)
    assert (named(shown, "idempotency_key")[0]["value"] != FORM_KEY) is is_over


async def test_without_the_pages_script(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post("/webhooks/new", form())
    assert (shown.status, "<html" in shown.raw, "whsec_" in shown.text) == (200, True, True)
    shown = await visitor.post("/webhooks/new", form(url=""))
    assert (shown.status, "<html" in shown.raw) == (422, True)
    shown = await visitor.post(f"{HOOK_PATH}/edit", form(url=""))
    assert (shown.status, "<html" in shown.raw) == (422, True)
    saved = await visitor.post(f"{HOOK_PATH}/edit", form())
    assert (saved.status, saved.headers["location"]) == (303, HOOK_PATH)


async def test_the_edit_form_holds_the_endpoint(visitor: Browser, api: FakeApi) -> None:
    events = ["message.sent", "message.received"]
    odd = hook(events=events, description=HOSTILE, enabled=False, header_names=["X-Token", HOSTILE])
    api.answers["get_webhook"] = Given(200, odd)
    for path in (f"{HOOK_PATH}/edit", f"{HOOK_PATH}/edit/form"):
        shown = await visitor.get(path)
        assert shown.input("url")["value"] == HOOK.url
        assert [one["value"] for one in named(shown, "choice") if "checked" in one] == ["chosen"]
        assert [one["value"] for one in named(shown, "events") if "checked" in one] == events
        assert "checked" not in named(shown, "enabled")[0]
        assert HOSTILE in shown.text
        assert "Leave this empty to keep the present ones" in shown.text
        assert f"X-Token: •••• {HOSTILE}: ••••" in " ".join(shown.text.split())
        assert not [one for one in named(shown, "header_value") if one.get("value")]


async def test_an_endpoint_of_everything_stays_one(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_webhook"] = Given(200, hook(events=["*", "message.sent"]))
    shown = await visitor.get(f"{HOOK_PATH}/edit")
    assert [one["value"] for one in named(shown, "choice") if "checked" in one] == ["*"]
    await visitor.post(f"{HOOK_PATH}/edit", form(choice="*", has_everything="on"), **SCRIPT)
    assert api.calls("update_webhook")[0].body.events == ["*"]


@pytest.mark.parametrize(
    ("before", "money", "after"),
    [
        (["message.*", "invoice.paid"], ["invoice.paid"], ["message.*", "invoice.paid"]),
        (["message.*", "invoice.*"], ["invoice.opened", "invoice.paid", "invoice.overdue"], ["message.*", "invoice.*"]),
        (["billing.*", "webhook.*"], ["billing.alert"], ["webhook.*", "billing.*"]),
    ],
    ids=str,
)
async def test_events_about_money_are_asked_for_besides(
    visitor: Browser, api: FakeApi, *, before: list[str], money: list[str], after: list[str]
) -> None:
    api.answers["get_webhook"] = Given(200, hook(events=before))
    shown = await visitor.get(f"{HOOK_PATH}/edit")
    assert [one["value"] for one in named(shown, "money") if "checked" in one] == money
    sent = [
        (one["name"], one.get("value", "on"))
        for name in ("choice", "events", "about", "money", "url", "idempotency_key", "enabled")
        for one in named(shown, name) if "checked" in one or one.get("type") not in ("checkbox", "radio")
    ]  # fmt: skip
    await visitor.post(f"{HOOK_PATH}/edit", sent)
    [call] = api.calls("update_webhook")
    assert call.body.events == after


@pytest.mark.parametrize(
    ("before", "about", "after"),
    [
        (["message.*", "webhook.disabled"], ["webhook.disabled"], ["message.*", "webhook.disabled"]),
        (["message.sent", "webhook.*"], list(shapes.WEBHOOK_EVENT_DATA), ["message.sent", "webhook.*"]),
        (["webhook.failing"], ["webhook.failing"], ["webhook.failing"]),
        (["message.sent", "later.kind"], [], ["message.sent", "later.kind"]),
    ],
    ids=str,
)
async def test_events_about_endpoints_are_asked_for_besides(
    visitor: Browser, api: FakeApi, *, before: list[str], about: list[str], after: list[str]
) -> None:
    api.answers["get_webhook"] = Given(200, hook(events=before))
    shown = await visitor.get(f"{HOOK_PATH}/edit")
    assert [one["value"] for one in named(shown, "about") if "checked" in one] == about
    sent = [
        (name, str(one["value"]))
        for name in ("choice", "events", "about", "extra_events")
        for one in named(shown, name)
        if "checked" in one or one.get("type") == "hidden"
    ]
    fields = {"idempotency_key": FORM_KEY, "url": "https://example.com/x", "description": ""}
    await visitor.post(f"{HOOK_PATH}/edit", [*fields.items(), *sent], **SCRIPT)
    assert api.calls("update_webhook")[0].body.events == after


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, msgspec.UNSET),
        ({"headers": (("A", "b"),)}, {"A": "b"}),
        ({"headers_removed": "on"}, None),
        ({"headers_removed": "on", "headers": (("A", "b"),)}, {"A": "b"}),
    ],
    ids=str,
)
async def test_saving(visitor: Browser, api: FakeApi, *, fields: Any, headers: Any) -> None:
    shown = await visitor.post(f"{HOOK_PATH}/edit", form(enabled="on", **fields), **SCRIPT)
    assert shown.headers["hx-redirect"] == HOOK_PATH
    (call,) = api.calls("update_webhook")
    assert call.path == {"webhookId": ID}
    assert (call.body.enabled, call.body.description, call.body.headers) == (True, None, headers)


# ---- what is to be known of one


def days_ago(days: float) -> str:
    return rfc3339(datetime.now(UTC) - timedelta(days=days))


@pytest.mark.parametrize("path", ["/webhooks/list", HOOK_PATH, f"{HOOK_PATH}/endpoint"])
@pytest.mark.parametrize(
    ("changes", "words", "can_enable"),
    [
        ({"failing_since": days_ago(2)}, ["Every attempt has failed since", "is disabled on"], False),
        ({"failing_since": days_ago(6)}, ["Every attempt has failed since", "The next one that fails"], False),
        (
            {"enabled": False, "disabled_reason": "failing", "failing_since": days_ago(7)},
            ["Ghasi has disabled", "had failed for 5 days", "The first failed on"],
            True,
        ),
        (
            {"enabled": False, "disabled_reason": "gone", "failing_since": days_ago(0)},
            ["Ghasi has disabled", "It answered 410 Gone"],
            True,
        ),
        ({"enabled": False, "disabled_reason": "later"}, ["Ghasi has disabled", "later"], True),
    ],
    ids=["failing", "overdue", "failed", "gone", "later"],
)
async def test_an_endpoint_that_fails_or_was_disabled_says_so(
    visitor: Browser, api: FakeApi, *, path: str, changes: dict[str, Any], words: list[str], can_enable: bool
) -> None:
    failing = hook(**changes)
    api.answers |= {"get_webhook": Given(200, failing), "list_webhooks": Given(200, shapes.Page([failing], None))}
    shown = await visitor.get(path)
    (note,) = [one for _, one in shown.tags if "notice" in str(one.get("class")).split()]
    assert note["data-tone"] == ("bad" if can_enable else "warn")
    for text in words:
        assert text in shown.text
    assert ("Enable again" in shown.text) == can_enable
    if can_enable:
        button = shown.input(f"enable-{ID}")
        assert (button["hx-post"], button["hx-vals"]) == (f"{HOOK_PATH}/switch", '{"enabled": "true"}')


async def test_an_endpoint_that_is_well_or_that_its_owner_disabled_has_no_such_note(
    visitor: Browser, api: FakeApi
) -> None:
    hooks = [hook(), hook(enabled=False, failing_since=days_ago(3))]
    api.answers["list_webhooks"] = Given(200, shapes.Page(hooks, None))
    shown = await visitor.get("/webhooks/list", **SCRIPT)
    assert not [one for _, one in shown.tags if "notice" in str(one.get("class")).split()]
    api.answers["get_webhook"] = Given(200, hooks[1])
    shown = await visitor.get(HOOK_PATH)
    assert "It is disabled and gets no events." in shown.text
    assert "Enable again" not in shown.text


# ---- one endpoint


async def test_an_endpoint_with_hostile_text(visitor: Browser, api: FakeApi) -> None:
    odd = hook(url=f"javascript:{HOSTILE}", description=HOSTILE, enabled=False, disabled_reason=HOSTILE)
    api.answers["get_webhook"] = Given(200, odd)
    for path in (HOOK_PATH, f"{HOOK_PATH}/endpoint"):
        shown = await visitor.get(path)
        assert HOSTILE in shown.text
        assert not [one for tag, one in shown.tags if tag == "script" and not str(one.get("src")).startswith("/assets")]
        assert not [one for one in links(shown) if "javascript" in str(one)]
        assert "Ghasi has disabled this endpoint, and it gets no events." in shown.text
        assert len([one for _, one in shown.tags if "disabled" in one]) == 3


@pytest.mark.parametrize("path", [HOOK_PATH, f"{HOOK_PATH}/edit", DELIVERY_PATH])
async def test_what_is_not_there_is_a_page_inside_the_shell(visitor: Browser, api: FakeApi, path: str) -> None:
    api.answers |= {"get_webhook": NOT_FOUND, "get_delivery": NOT_FOUND}
    shown = await visitor.get(path)
    assert (shown.status, "Page not found" in shown.text, "Sign out" in shown.text) == (404, True, True)


@pytest.mark.parametrize("odd", ["x", ID.upper(), "%00", "..%2Fnew", f"urn:uuid:{ID}", HOSTILE.replace("/", "")])
async def test_ids_that_are_none_never_reach_the_api(visitor: Browser, api: FakeApi, odd: str) -> None:
    for path in ("", "/edit", "/edit/form", "/endpoint", "/log", f"/deliveries/{ID}", f"/deliveries/{ID}/detail"):
        shown = await visitor.get(f"/webhooks/{odd}{path}")
        assert (shown.status, "Page not found" in shown.text) == (404, True)
    for path in (f"{HOOK_PATH}/deliveries/{odd}", f"{HOOK_PATH}/deliveries/{odd}/detail"):
        assert (await visitor.get(path)).status == 404
    for path, _ in CHANGES:
        assert (await visitor.post(path.replace(ID, odd), **SCRIPT)).status == 404
    assert api.seen == []
    assert api.unrouted == []


async def test_a_slow_api_leaves_the_page(visitor: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.portal.pages.opening.AT_ONCE_S", 0.05)
    api.answers |= {"get_webhook": api.hang, "get_delivery": api.hang}
    for path, part in (
        (HOOK_PATH, f"{HOOK_PATH}/endpoint"),
        (f"{HOOK_PATH}/edit", f"{HOOK_PATH}/edit/form"),
        (DELIVERY_PATH, f"{DELIVERY_PATH}/detail"),
    ):
        shown = await visitor.get(path)
        loading = [one.get("hx-get") for _, one in shown.tags if one.get("hx-trigger") == "load"]
        assert (shown.status, part in loading) == (200, True)


async def test_parts_that_fail_say_so(visitor: Browser, api: FakeApi) -> None:
    api.answers |= dict.fromkeys(("get_webhook", "get_delivery", "list_deliveries", "list_webhooks"), LIMITED)
    for path in (f"{HOOK_PATH}/endpoint", f"{HOOK_PATH}/edit/form", f"{DELIVERY_PATH}/detail", f"{HOOK_PATH}/log"):
        shown = await visitor.get(path, **SCRIPT)
        assert (shown.status, "Rate limit exceeded — please try again shortly." in shown.text) == (429, True)
    for path in (HOOK_PATH, f"{HOOK_PATH}/edit", DELIVERY_PATH):
        assert (await visitor.get(path)).status == 200


@pytest.mark.parametrize(("path", "operation"), CHANGES, ids=lambda given: given.rpartition("/")[2])
async def test_changes_that_fail_leave_the_page(visitor: Browser, api: FakeApi, *, path: str, operation: str) -> None:
    api.answers[operation] = Given(409, {"code": "webhook_disabled", "detail": "Enable it first."})
    shown = await visitor.post(path, **SCRIPT)
    if operation in {"recover_deliveries", "replay_events"}:
        assert (shown.status, "Enable it first." in shown.text) == (422, True)
    else:
        assert (shown.status, shown.raw, shown.headers["hx-reswap"]) == (409, "", "none")
        assert trigger(shown)["toast"]["text"] == "Enable it first."
    assert (await visitor.post(path, Sec_Fetch_Site="cross-site")).status == 403


async def test_the_switch_leaves_the_rest_as_it_is(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_webhook"] = Given(200, hook(url="https://a.example/now", events=["message.sent"]))
    shown = await visitor.post(f"{HOOK_PATH}/switch", {"enabled": "false"}, **SCRIPT)
    assert (shown.status, trigger(shown)["toast"]["text"]) == (204, "Endpoint disabled")
    assert trigger(shown)["refresh"] == "#endpoint, #deliveries, #webhooks"
    (call,) = api.calls("update_webhook")
    assert call.body == shapes.WebhookInput(url="https://a.example/now", events=["message.sent"], enabled=False)
    shown = await visitor.post(f"{HOOK_PATH}/switch", {"enabled": "true"}, **SCRIPT)
    assert (api.calls("update_webhook")[1].body.enabled, trigger(shown)["toast"]["text"]) == (True, "Endpoint enabled")


async def test_rotating_shows_the_secret_once(visitor: Browser, api: FakeApi) -> None:
    with capture_logs() as logs:
        shown = await visitor.post(f"{HOOK_PATH}/rotate", **SCRIPT)
    assert (shown.status, "whsec_c2VjcmV0" in shown.text) == (200, True)
    assert any("data-once" in one for _, one in shown.tags)
    assert "whsec_" not in str(shown.headers) + str(logs)
    assert "whsec_" not in (await visitor.get(f"{HOOK_PATH}/endpoint")).text


@pytest.mark.parametrize("given", [Given(504, b"slow"), Given(500, {"code": "internal_error"})], ids=str)
async def test_a_rotation_of_which_nobody_knows_is_not_offered_again(
    visitor: Browser, api: FakeApi, given: Given
) -> None:
    api.answers["rotate_webhook_secret"] = given
    shown = await visitor.post(f"{HOOK_PATH}/rotate", **SCRIPT)
    assert (shown.status, shown.headers["hx-reswap"]) == (503, "none")
    assert trigger(shown)["toast"] == {"text": ROTATION_UNKNOWN, "tone": "bad", "retry": False}


async def test_deleting(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post(f"{HOOK_PATH}/delete", **SCRIPT)
    assert (shown.headers["hx-redirect"], "Endpoint%20deleted" in visitor.cookies["ghasi_flash"]) == ("/webhooks", True)
    api.answers["delete_webhook"] = NOT_FOUND
    shown = await visitor.post(f"{HOOK_PATH}/delete", **SCRIPT)
    assert (shown.headers["hx-redirect"], "any%20more" in visitor.cookies["ghasi_flash"]) == ("/webhooks", True)


# ---- deliveries


async def test_the_log_keeps_its_filters(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_deliveries"] = Given(200, shapes.Page([DELIVERY], "third"))
    query = "status=failed&event=message.sent&response=5xx"
    page = await visitor.get(f"{HOOK_PATH}?{query}&nonsense=1")
    assert f"{HOOK_PATH}/log?{query}" in [one.get("hx-get") for _, one in page.tags]
    assert [one["value"] for tag, one in page.tags if tag == "option" and "selected" in one][-3:] == [
        "failed", "message.sent", "5xx",
    ]  # fmt: skip
    assert [one["data-live"] for _, one in page.tags if one.get("id") == "deliveries"] == ["6"]
    shown = await visitor.get(f"{HOOK_PATH}/log?{query}&cursor=second", **SCRIPT)
    asked = api.calls("list_deliveries")[0].query
    assert (asked.status, asked.event_type, asked.cursor) == ("failed", "message.sent", "second")
    assert asked.response_status == "5xx"
    assert links(shown) == [
        f"{HOOK_PATH}/deliveries/{ID}",
        f"{HOOK_PATH}?{query}#deliveries-title",
        f"{HOOK_PATH}?{query}&cursor=third&trail=second#deliveries-title",
    ]
    second = await visitor.get(f"{HOOK_PATH}?cursor=second")
    assert not [one for _, one in second.tags if one.get("id") == "deliveries" and "data-live" in one]


async def test_filters_that_are_none_are_left_out(visitor: Browser, api: FakeApi) -> None:
    await visitor.get(f"{HOOK_PATH}/log?status={HOSTILE}&event=message.nothing&response=99", **SCRIPT)
    asked = api.calls("list_deliveries")[0].query
    assert (asked.status, asked.event_type, asked.response_status) == (None, None, None)
    api.answers["list_deliveries"] = Given(200, shapes.Page([], None))
    assert "Nothing delivered yet" in (await visitor.get(f"{HOOK_PATH}/log", **SCRIPT)).text
    assert "No deliveries match" in (await visitor.get(f"{HOOK_PATH}/log?status=failed", **SCRIPT)).text
    assert "No older deliveries" in (await visitor.get(f"{HOOK_PATH}/log?cursor=x", **SCRIPT)).text
    api.answers["list_deliveries"] = Given(422, {"code": "invalid_cursor", "detail": "x"})
    shown = await visitor.get(f"{HOOK_PATH}/log?cursor=x", **SCRIPT)
    assert (shown.status, "This page of the list does not exist." in shown.text) == (422, True)


async def test_one_response_status_is_asked_for_by_its_address(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get(f"{HOOK_PATH}?response=503")
    assert [one["value"] for tag, one in shown.tags if tag == "option" and "selected" in one][-1] == "503"
    await visitor.get(f"{HOOK_PATH}/log?response=503", **SCRIPT)
    assert api.calls("list_deliveries")[0].query.response_status == "503"


async def test_a_page_that_found_nothing_leads_further_back(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_deliveries"] = Given(200, shapes.Page([], "further"))
    shown = await visitor.get(f"{HOOK_PATH}/log?response=none", **SCRIPT)
    assert "Nothing among these deliveries" in shown.text
    assert set(links(shown)) == {f"{HOOK_PATH}?response=none&cursor=further#deliveries-title"}


async def test_what_has_just_begun_is_looked_at_more_often(visitor: Browser, api: FakeApi) -> None:
    now = datetime.now(UTC)
    for age_s, every in ((1, "2"), (60, None)):
        at = (now - timedelta(seconds=age_s)).isoformat()
        pending = msgspec.structs.replace(DELIVERY, status="pending", created_at=at, next_attempt_at=at)
        api.answers["list_deliveries"] = Given(200, shapes.Page([pending], None))
        shown = await visitor.get(f"{HOOK_PATH}/log", **SCRIPT)
        assert next((one["data-live-every"] for _, one in shown.tags if "data-live-every" in one), None) == every
        assert "now" in shown.text


async def test_a_test_event(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post(f"{HOOK_PATH}/test", {"event": "message.failed"}, **SCRIPT)
    assert (shown.status, trigger(shown)["refresh"]) == (204, "#deliveries")
    assert api.calls("send_test_event")[0].body.event_type == "message.failed"


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"since": "1"}, timedelta(hours=1)),
        ({"since": "168"}, timedelta(days=7)),
        ({"since": "custom", "at": "2026-03-01T08:15"}, datetime(2026, 3, 1, 8, 15, tzinfo=KABUL)),
    ],
    ids=str,
)
async def test_recovering(visitor: Browser, api: FakeApi, *, fields: dict[str, str], since: Any) -> None:
    shown = await visitor.post(f"{HOOK_PATH}/recover", fields, **SCRIPT)
    assert trigger(shown)["toast"]["text"] == "3 deliveries are sent again"
    assert trigger(shown) | {"refresh": "#deliveries", "closeDialog": {}} == trigger(shown)
    asked = api.calls("recover_deliveries")[0].body.since
    expected = datetime.now(UTC) - since if isinstance(since, timedelta) else since
    assert abs(asked - expected) < timedelta(seconds=30 if isinstance(since, timedelta) else 0.001)
    for count, words in ((0, "No delivery has failed since then"), (1, "1 delivery is sent again")):
        api.answers["recover_deliveries"] = Given(BY_OPERATION["recover_deliveries"].success, shapes.Recovered(count))
        shown = await visitor.post(f"{HOOK_PATH}/recover", fields, **SCRIPT)
        assert trigger(shown)["toast"]["text"] == words


@pytest.mark.parametrize(
    ("at", "text"),
    [("", "Choose a day and a time."), (HOSTILE, "Choose a day and a time."), ("2999-01-01T00:00", "still to come")],
)
async def test_a_time_that_is_none(visitor: Browser, api: FakeApi, at: str, text: str) -> None:
    shown = await visitor.post(f"{HOOK_PATH}/recover", {"since": "custom", "at": at}, **SCRIPT)
    assert (shown.status, text in shown.text, api.seen) == (422, True, [])
    assert shown.input("since-at")["aria-invalid"] == "true"
    assert (shown.input("since-at").get("value") or "") == at


async def test_what_a_receiver_answers_is_text(visitor: Browser, api: FakeApi) -> None:
    wicked = f"</pre>{HOSTILE}\0\x1b[31m\u202eabc\r\n\tx" + "سلام دنیا " * 300
    body = json.dumps({"type": "message.sent", "data": {"body": f"</code></pre>{HOSTILE}\u202e", "id": 10**20}})
    made = delivery(
        url=f"javascript:{HOSTILE}", body=body, status="failed", message_id=None,
        attempts=[attempt(), attempt(2, response_body=wicked, error=f"status: {HOSTILE}\x07")],
    )  # fmt: skip
    api.answers["get_delivery"] = Given(200, made)
    for path in (DELIVERY_PATH, f"{DELIVERY_PATH}/detail"):
        shown = await visitor.get(path)
        assert shown.status == 200
        assert shown.text.count(HOSTILE) == 4
        assert not [one for tag, one in shown.tags if tag == "script" and not str(one.get("src")).startswith("/assets")]
        assert not [one for one in links(shown) if "javascript" in str(one)]
        # as text, not as what turns or hides text; the copy button alone has the body as it was sent
        seen = "".join(re.sub(r' data-copy="[^"]*"', "", shown.raw))
        assert not set(seen) & {"\0", "\x1b", "\x07", "\u202e", "\r"}
        assert "⟨U+0000⟩⟨U+001B⟩[31m⟨U+202E⟩abc" in shown.text
        assert "سلام دنیا" in shown.text
        assert [one["aria-label"] for _, one in shown.tags if "Response to" in str(one.get("aria-label"))] == [
            "Response to attempt 2", "Response to attempt 1",
        ]  # fmt: skip
        assert "None: this is a test" in shown.text
        assert any("data-live-stop" in one for _, one in shown.tags)


@pytest.mark.parametrize("body", ["", "not JSON", "[" * 100_000, "1" * 5000])
async def test_a_body_that_cannot_be_indented_is_shown_as_it_is(visitor: Browser, api: FakeApi, body: str) -> None:
    api.answers["get_delivery"] = Given(200, delivery(body=body))
    shown = await visitor.get(f"{DELIVERY_PATH}/detail", **SCRIPT)
    assert (shown.status, body[:20] in shown.text) == (200, True)


async def test_a_delivery_under_way(visitor: Browser, api: FakeApi) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    later = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    for due, every in ((soon, "4"), (later, "12")):
        made = delivery(status="pending", attempts=[], completed_at=None, next_attempt_at=due)
        api.answers["get_delivery"] = Given(200, made)
        shown = await visitor.get(f"{DELIVERY_PATH}/detail", **SCRIPT)
        assert [one["data-live-every"] for _, one in shown.tags if "data-live-every" in one] == [every]
        assert not any("data-live-stop" in one for _, one in shown.tags)
        assert "None so far." in shown.text
    assert f"/messages/{ID}" in links(shown)


async def test_resending(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post(f"{DELIVERY_PATH}/resend", **SCRIPT)
    assert (shown.status, trigger(shown)["refresh"]) == (204, "#delivery")
    assert api.calls("resend_delivery")[0].path == {"webhookId": ID, "deliveryId": OTHER}


def test_control_characters_are_seen() -> None:
    assert visible(None) == ""
    assert visible("a\tb\r\nc\rd\x85\u2067e") == "a\tb\nc⟨U+000D⟩d⟨U+0085⟩⟨U+2067⟩e"


# ---- what customers paste


@pytest.mark.parametrize("words", [words for words, _ in verification.SNIPPETS])
async def test_the_snippets_work_as_pasted(tmp_path: Path, words: str) -> None:
    with reserved_ports(1) as (port,):
        await pasted(words, port, tmp_path)


async def pasted(words: str, port: int, tmp_path: Path) -> None:
    text = dict(verification.SNIPPETS)[words]
    program = tmp_path / ("receiver.py" if words.startswith("Python") else "receiver.mjs")
    program.write_text(text.replace('("", 8080)', f'("127.0.0.1", {port})').replace("(8080)", f'({port}, "127.0.0.1")'))
    if program.suffix == ".mjs":
        need("standardwebhooks")
        (tmp_path / "node_modules").symlink_to(PEERS / "node_modules")
    process = await asyncio.create_subprocess_exec(
        sys.executable if program.suffix == ".py" else str(NODE), str(program),
        env={**os.environ, "GHASI_WEBHOOK_SECRET": SECRET}, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http:
            deadline = time.monotonic() + 20
            while True:
                try:
                    async with http.post(f"http://127.0.0.1:{port}/", data=PAYLOAD, headers=signed()) as response:
                        assert response.status == 204
                        break
                except aiohttp.ClientConnectorError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
            forged = signed() | {"webhook-signature": "v1,AAAA"}
            for headers in (forged, {}, forged | {"webhook-signature": "odd"}):
                async with http.post(f"http://127.0.0.1:{port}/", data=PAYLOAD, headers=headers) as response:
                    assert response.status == 400
    finally:
        process.kill()
        await process.wait()
