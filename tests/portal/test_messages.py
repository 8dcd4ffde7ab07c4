"""The pages of messages as a browser gets them, before an API that answers as a test says."""

import asyncio
import dataclasses
import json
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from yarl import URL

from ghasi.client.api import Ghasi
from ghasi.contract import shapes, table
from ghasi.contract.message_errors import MESSAGE_ERRORS
from ghasi.portal.app import portal_app
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.pages import opening
from ghasi.portal.pages.message_filters import tidy_number
from ghasi.portal.pages.send import SENT_BEFORE
from ghasi.settings import Settings
from tests.asgi import request
from tests.client.fake_api import AT, DELIVERY, HOOK, ID, SENDER, FakeApi, Given, Seen, message
from tests.live import live
from tests.portal.conftest import Browser, Place, Shown, token
from tests.portal.test_sessions import LIMITED

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
OVERRIDE = "\u202egnp.exe\u2066"
FORM = {"to": "+93 70 123-4567", "from": "", "body": "Hello", "reference": "r1", "idempotency_key": "0123456789abcdef"}
INBOUND: dict[str, Any] = {
    "direction": "inbound", "status": "received", "sender": "+93701234567", "to": "+93799000001", "body": "Yes please",
    "price": None, "sent_at": None,
}  # fmt: skip
NOT_FOUND = Given(404, {"code": "not_found", "title": "There is no such resource", "detail": "no"})


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


def detail(*events: tuple[Any, ...], **changes: Any) -> Given:
    made = message(**changes)
    fields = {name: getattr(made, name) for name in shapes.Message.__struct_fields__}
    return Given(200, shapes.MessageDetail(**fields, events=[shapes.MessageEvent(*event) for event in events]))


def links(shown: Shown) -> list[str]:
    return [str(attributes["href"]) for tag, attributes in shown.tags if tag == "a"]


def toast(shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown.headers["hx-trigger"])["toast"]
    return found


def value_of(shown: Shown, name: str) -> str:
    """What a form's field holds, as it stands in the page."""
    return str(next(attributes for _, attributes in shown.tags if attributes.get("name") == name).get("value", ""))


# ---- the list


async def test_the_page_needs_no_api_and_loads_its_list_with_the_filters(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/messages?status=failed&to=%2B93701234567&reference=a+b")
    assert (shown.status, api.seen) == (200, [])
    assert shown.input("messages")["hx-get"] == "/messages/list?status=failed&to=%2B93701234567&reference=a+b"
    assert shown.input("messages")["data-live"] == "6"
    assert value_of(shown, "to") == "+93701234567"
    assert ("option", {"value": "failed", "selected": None}) in shown.tags
    assert "3 filters" in shown.text
    assert "/messages/export.csv?status=failed&to=%2B93701234567&reference=a+b" in links(shown)
    later = await visitor.get("/messages?cursor=abc")
    assert "data-live" not in later.input("messages")


async def test_what_a_form_leaves_empty_is_no_part_of_the_address(visitor: Browser, api: FakeApi) -> None:
    moved = await visitor.get("/messages?status=&to=&from=&reference=x&since=&until=")
    assert (moved.status, moved.headers["location"]) == (303, "/messages?reference=x")
    assert (await visitor.get("/messages?to=+")).headers["location"] == "/messages"


async def test_the_list_asks_once_in_the_visitors_days(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get(
        "/messages/list?direction=outbound&status=delivered&to=0093+70+123&from=Acme&reference=r&since=2026-11-01&until=2026-11-30",
        HX_Request="true",
    )
    (call,) = api.calls("list_messages")
    assert call.query == shapes.MessageQuery(
        limit=50, direction="outbound", status="delivered", to="+9370123", sender="Acme", reference="r",
        created_after=datetime(2026, 10, 31, 19, 29, 59, 999000, tzinfo=UTC),
        created_before=datetime(2026, 11, 30, 19, 30, tzinfo=UTC),
    )  # fmt: skip
    for text in ("+93701234567", "Your verification code is 482913", "delivered", "0.0265"):
        assert text in shown.text
    assert f"/messages/{ID}" in links(shown)
    assert "22 Nov 2026, 22:30" in shown.raw or "Nov 22, 2026, 10:30" in shown.raw


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("direction=up", "direction"),
        ("to=" + "9" * 33, "to"),
        ("to=%00", "to"),
        ("from=a%00b", "from"),
        ("reference=" + "r" * 256, "reference"),
        ("since=yesterday", "since"),
        ("since=20261122", "since"),
        ("since=2026-02-30", "since"),
        ("until=0001-01-01", "until"),
        ("until=9999-12-31", "until"),
        ("since=2026-11-22&until=2026-11-21", "until"),
        ("status=%3Cscript%3E", "status"),
    ],
)
async def test_a_filter_that_is_none_is_said_beside_its_field(
    visitor: Browser, api: FakeApi, *, query: str, field: str
) -> None:
    shown = await visitor.get(f"/messages?{query}")
    assert shown.status == 200
    assert shown.input(field)["aria-invalid"] == "true"
    assert shown.input(f"{field}-error")["class"] == "error"
    assert not any(str(link).startswith("/messages/export") for link in links(shown))
    part = await visitor.get(f"/messages/list?{query}", HX_Request="true")
    assert part.status == 422
    assert (await visitor.get(f"/messages/export.csv?{query}")).status == 303
    assert api.seen == []


async def test_filters_are_repeated_as_text(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/messages")
    hostile = await visitor.get(f"/messages?reference={HOSTILE.replace('&', '%26').replace('#', '%23')}")
    assert value_of(hostile, "reference") == HOSTILE
    assert len(hostile.tags) >= len(shown.tags)
    assert not any(attributes.get("src") == "x" for _, attributes in hostile.tags)


async def test_paging_leads_older_and_back_step_by_step(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(200, shapes.Page([message()], "c1"))
    first = await visitor.get("/messages/list?status=sent", HX_Request="true")
    assert "/messages?status=sent&cursor=c1" in links(first)
    assert "Newer" not in first.text
    api.answers["list_messages"] = Given(200, shapes.Page([message()], "c2"))
    second = await visitor.get("/messages/list?status=sent&cursor=c1", HX_Request="true")
    assert {"/messages?status=sent", "/messages?status=sent&cursor=c2&trail=c1"} <= set(links(second))
    api.answers["list_messages"] = Given(200, shapes.Page([message()], None))
    third = await visitor.get("/messages/list?status=sent&cursor=c2&trail=c1", HX_Request="true")
    assert "/messages?status=sent&cursor=c1" in links(third)
    assert "Older" not in third.text
    assert [call.query.cursor for call in api.calls("list_messages")] == [None, "c1", "c2"]


async def test_a_page_that_does_not_exist(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(422, {"code": "invalid_cursor", "detail": "not ours"})
    shown = await visitor.get("/messages/list?cursor=forged", HX_Request="true")
    assert (shown.status, "This page of the list does not exist." in shown.text) == (422, True)
    assert links(shown) == ["/messages"]


async def test_empty_lists_say_why(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(200, shapes.Page([], None))
    none_yet = await visitor.get("/messages/list", HX_Request="true")
    assert "No messages yet" in none_yet.text
    assert "/messages/new" in links(none_yet)
    none_match = await visitor.get("/messages/list?status=failed", HX_Request="true")
    assert "No messages match" in none_match.text
    assert links(none_match) == ["/messages"]


async def test_messages_from_phones_are_told_apart(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(200, shapes.Page([message(1, **INBOUND), message(2)], None))
    shown = await visitor.get("/messages/list?direction=inbound", HX_Request="true")
    assert api.calls("list_messages")[0].query.direction == "inbound"
    assert shown.text.count("Inbound") == 1
    assert "+93701234567 Inbound" in shown.text
    assert INBOUND["to"] not in shown.text
    latest = await visitor.get("/dashboard/latest", HX_Request="true")
    assert "+93701234567 Inbound" in latest.text
    api.answers["list_messages"] = Given(200, shapes.Page([], None))
    none = await visitor.get("/messages/list?direction=inbound", HX_Request="true")
    assert "No messages from phones yet" in none.text


async def test_hostile_texts_are_text(visitor: Browser, api: FakeApi) -> None:
    texts = [HOSTILE, OVERRIDE, "x" * 20_000, "a\nb\tc", ""]
    api.answers["list_messages"] = Given(
        200, shapes.Page([message(at, body=text, reference=HOSTILE) for at, text in enumerate(texts)], None)
    )
    shown = await visitor.get("/messages/list", HX_Request="true")
    assert not {"script", "img"} & {tag for tag, _ in shown.tags}
    assert HOSTILE in shown.text
    assert f"<bdi>{OVERRIDE}</bdi>" in shown.raw
    assert "x" * 161 not in shown.raw
    assert "a b c" in shown.text


async def test_the_servers_part_of_a_page_of_50_rows_takes_under_30_ms(
    api: FakeApi, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [message(at, body="Your verification code is 482913. " * 4, reference="order") for at in range(50)]
    api.answers["list_messages"] = Given(200, shapes.Page(rows, "c1"))
    waited: list[float] = []
    ask = Ghasi.list_messages

    async def timed(client: Ghasi, **query: Any) -> Any:
        began = time.thread_time()
        try:
            return await ask(client, **query)
        finally:
            waited.append(time.thread_time() - began)

    monkeypatch.setattr(Ghasi, "list_messages", timed)
    headers = {
        "Cookie": f"ghasi_access={token()}; ghasi_zone=Asia%2FKabul",
        "Accept-Language": "de",
        "HX-Request": "true",
    }
    took = []
    for _ in range(22):
        began = time.thread_time()
        answer = await request(place.counted, "GET", "/messages/list", headers=headers)
        took.append(time.thread_time() - began - waited.pop())
        assert answer.status == 200
    assert answer.body.count(b"data-row") == 50
    assert statistics.median(took[2:]) < 0.030, took


# ---- the download


async def test_the_export_is_the_apis_file(visitor: Browser, api: FakeApi) -> None:
    content = b"id,to\r\n1,+93701234567\r\n" * 10_000
    api.answers["export_messages"] = Given(200, content)
    async with visitor.http.get(f"{visitor.url}/messages/export.csv?status=failed&since=2026-11-22") as response:
        assert (response.status, await response.read()) == (200, content)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(
        r'attachment; filename="messages-\d{4}-\d\d-\d\d\.csv"', response.headers["content-disposition"]
    )
    (call,) = api.calls("export_messages")
    assert (call.query.status, call.query.created_after.isoformat()) == ("failed", "2026-11-21T19:29:59.999000+00:00")


async def test_an_export_that_cannot_begin_has_a_page(visitor: Browser, api: FakeApi) -> None:
    api.answers["export_messages"] = LIMITED
    limited = await visitor.get("/messages/export.csv")
    assert (limited.status, RATE_LIMITED in limited.text) == (429, True)
    assert "content-disposition" not in limited.headers
    api.answers["export_messages"] = Given(502, b"no")
    assert (await visitor.get("/messages/export.csv")).status == 503


@asynccontextmanager
async def portal_before(write: Any) -> AsyncIterator[Browser]:
    """A visitor of a portal before an API that answers whatever comes with a chunked CSV, written by `write`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if b"/.well-known/" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
            await write(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    settings = Settings(api_internal_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, live(portal_app(settings)) as url, Browser(url) as browser:
        browser.set(ghasi_access=token())
        yield browser


async def test_an_export_that_breaks_off_breaks_off_here_too() -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"7\r\nid,to\r\n\r\n")
        await writer.drain()

    async with portal_before(half) as browser, browser.http.get(f"{browser.url}/messages/export.csv") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_an_export_comes_as_fast_as_it_is_taken_and_ends_when_nobody_takes_it() -> None:
    piece = b"x" * 65536
    most = 4000  # 256 MB
    sent: list[int] = []
    ended = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        try:
            for at in range(most):
                writer.write(b"10000\r\n%s\r\n" % piece)
                await writer.drain()
                sent.append(at)
        finally:
            ended.set()

    async with portal_before(endless) as browser:
        async with browser.http.get(f"{browser.url}/messages/export.csv") as response:
            await response.content.readexactly(1)
            before = -1
            while before != len(sent):  # until it stands still
                before = len(sent)
                await asyncio.sleep(0.3)
            assert len(sent) < most
            response.close()
        async with asyncio.timeout(10):
            await ended.wait()
    assert len(sent) < most


# ---- one message


async def test_a_message_that_has_ended(visitor: Browser, api: FakeApi) -> None:
    body = f"{HOSTILE}\n\n{OVERRIDE}"
    api.answers["get_message"] = detail(
        ("accepted", AT, None),
        ("sent", AT, "taken by simulated"),
        ("delivered", AT.replace("00.000Z", "07.000Z"), None),
        body=body,
        reference=HOSTILE,
    )
    shown = await visitor.get(f"/messages/{ID}", Accept_Language="de")
    assert shown.status == 200
    assert len(api.seen) == 1
    for text in (HOSTILE, "GSM-7", "Afghanistan", "taken by simulated", "+93701234567", ID, ":30:07"):
        assert text in shown.text
    assert any("data-live-stop" in attributes for _, attributes in shown.tags)
    assert shown.input("message")["hx-trigger"] == "never"
    assert f"/messages/new?again={ID}" in links(shown)
    assert not [tag for tag, attributes in shown.tags if tag == "img" and attributes.get("src") == "x"]


def dialogs(shown: Shown) -> set[str]:
    return {str(attributes["id"]) for tag, attributes in shown.tags if tag == "dialog"}


@pytest.mark.parametrize(
    ("status", "offered"),
    [("scheduled", {"cancel-message"}), ("accepted", {"cancel-message"}), ("sent", set()),
     ("delivered", {"redact-message"}), ("received", {"redact-message"}), ("canceled", {"redact-message"})],
)  # fmt: skip
async def test_a_message_offers_what_can_be_done_with_it(
    visitor: Browser, api: FakeApi, status: str, offered: set[str]
) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    changes = INBOUND if status == "received" else {"status": status}
    api.answers["get_message"] = detail((status, AT, None), send_at=later, **changes)
    shown = await visitor.get(f"/messages/{ID}")
    assert dialogs(shown) == offered
    assert ('data-live-every="60"' in shown.raw) is (status == "scheduled")
    assert ("It is sent " in shown.text) is (status == "scheduled")
    api.answers["get_message"] = detail((status, AT, None), **changes | {"body": None})
    assert "redact-message" not in dialogs(await visitor.get(f"/messages/{ID}"))


async def test_a_message_from_a_phone_reads_as_one(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_message"] = detail(("received", AT, None), **INBOUND)
    shown = await visitor.get(f"/messages/{ID}")
    for text in ("Inbound", "received", "Yes please", "To+93799000001", "Reply"):
        assert text in shown.text.replace("To +", "To+")
    for text in ("Price", "Send again", "Reference"):
        assert text not in shown.text
    api.answers["get_message"] = detail(("received", AT, None), **INBOUND | {"sender": "Bank"})
    assert "Reply" not in (await visitor.get(f"/messages/{ID}")).text


@pytest.mark.parametrize(
    ("action", "operation", "said"),
    [("cancel", "cancel_message", "Message canceled"), ("redact", "redact_message", "Text deleted")],
)
async def test_a_message_is_canceled_and_its_text_deleted(
    visitor: Browser, api: FakeApi, action: str, operation: str, said: str
) -> None:
    path = f"/messages/{ID}/{action}"
    done = await visitor.post(path, {}, HX_Request="true")
    assert [seen.row.operation for seen in api.seen] == [operation]
    events = json.loads(done.headers["hx-trigger"])
    assert (done.status, events["toast"]["text"], events["refresh"]) == (204, said, "#message, #deliveries")
    assert "closeDialog" in events
    api.answers[operation] = Given(
        409, {"code": f"not_{action[:-1]}able", "title": "T", "detail": "its status is sent"}
    )
    late = await visitor.post(path, {}, HX_Request="true")
    assert "its status is sent" in toast(late)["text"].lower()
    assert (toast(late)["tone"], late.status) == ("bad", 204)
    for given, status in ((LIMITED, 429), (Given(503, b"no"), 503), (Given(504, b"no"), 503), (NOT_FOUND, 404)):
        api.answers[operation] = given
        failed = await visitor.post(path, {}, HX_Request="true")
        assert (failed.status, failed.headers["hx-reswap"]) == (status, "none")
    refused = await visitor.post(path, {}, Sec_Fetch_Site="cross-site")
    assert refused.status == 403


async def test_a_country_is_named_in_the_visitors_language(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_message"] = detail(country="DE")
    assert "Deutschland" in (await visitor.get(f"/messages/{ID}", Accept_Language="de")).text
    api.answers["get_message"] = detail(country="ZZ9")
    assert "ZZ9" in (await visitor.get(f"/messages/{ID}")).text


@pytest.mark.parametrize("code", sorted(MESSAGE_ERRORS))
async def test_an_error_comes_with_its_cause_and_remedy(visitor: Browser, api: FakeApi, code: str) -> None:
    fault = MESSAGE_ERRORS[code]
    error = shapes.MessageError(code, fault.message)
    api.answers["get_message"] = detail(status="failed", error=error)
    shown = await visitor.get(f"/messages/{ID}")
    for text in (code, fault.message, fault.cause, fault.remedy.replace("`", "")):
        assert text in shown.text
    assert ("May well help." in shown.text) is fault.retry_helps


async def test_an_error_of_an_unknown_code_says_what_the_api_says(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_message"] = detail(status="failed", error=shapes.MessageError("novel", f"It {HOSTILE}"))
    shown = await visitor.get(f"/messages/{ID}")
    assert f"It {HOSTILE}" in shown.text
    assert "Likely cause" not in shown.text


async def test_a_message_on_its_way_is_followed(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_message"] = detail(status="sent", completed_at=None, created_at=datetime.now(UTC).isoformat())
    shown = await visitor.get(f"/messages/{ID}")
    assert ("span", {"hidden": None, "data-live-every": "3"}) in shown.tags
    assert not any("data-live-stop" in attributes for _, attributes in shown.tags)
    same = await visitor.get(f"/messages/{ID}/detail?seen=sent", HX_Request="true")
    assert (same.status, "hx-trigger" in same.headers) == (200, False)
    other = await visitor.get(f"/messages/{ID}/detail?seen=accepted", HX_Request="true")
    assert json.loads(other.headers["hx-trigger"]) == {"refresh": "#deliveries"}
    api.answers["get_message"] = detail(status="sent")
    assert "data-live-every" in (await visitor.get(f"/messages/{ID}")).raw


@pytest.mark.parametrize("path", ["", "/detail"])
async def test_a_message_of_nobody_or_of_another_account(visitor: Browser, api: FakeApi, path: str) -> None:
    api.answers["get_message"] = NOT_FOUND
    shown = await visitor.get(f"/messages/{ID}{path}")
    assert (shown.status, "Page not found" in shown.text) == (404, True)
    assert 'aria-label="Pages"' in shown.raw


@pytest.mark.parametrize("identifier", ["1", "..", "%00", "%3Cscript%3E", ID.upper(), ID + "0", "preview", "%2e%2e%2f"])
@pytest.mark.parametrize("path", ["", "/detail", "/deliveries"])
async def test_what_is_no_id_is_never_asked_for(visitor: Browser, api: FakeApi, identifier: str, path: str) -> None:
    url = URL(f"{visitor.url}/messages/{identifier}{path}", encoded=True)
    async with visitor.http.get(url, allow_redirects=False) as response:
        # a path that says .. is another page's
        assert response.status == 404 or identifier == ".."
    assert api.seen == []


@pytest.mark.parametrize("given", [LIMITED, Given(502, b"no")], ids=["429", "502"])
async def test_a_page_stands_though_its_message_cannot_be_had(visitor: Browser, api: FakeApi, given: Given) -> None:
    api.answers["get_message"] = given
    shown = await visitor.get(f"/messages/{ID}")
    assert shown.status == 200
    assert shown.input("message")["hx-trigger"] == "load"
    assert shown.input("deliveries")["hx-get"] == f"/messages/{ID}/deliveries"
    part = await visitor.get(f"/messages/{ID}/detail", HX_Request="true")
    assert part.status == (429 if given is LIMITED else 503)
    assert toast(part)["tone"] == "bad"


async def test_a_slow_api_does_not_hold_the_page(
    visitor: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "AT_ONCE_S", 0.05)
    api.answers["get_message"] = api.hang
    shown = await visitor.get(f"/messages/{ID}")
    assert (shown.status, shown.input("message")["hx-trigger"]) == (200, "load")


async def test_deliveries_name_their_endpoint(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get(f"/messages/{ID}/deliveries?seen=delivered&ended={AT}", HX_Request="true")
    assert {seen.row.operation for seen in api.seen} == {"list_message_deliveries", "list_webhooks"}
    assert api.calls("list_message_deliveries")[0].path == {"messageId": ID}
    for text in ("message.delivered", HOOK.url, "succeeded", "204"):
        assert text in shown.text
    assert links(shown) == [f"/webhooks/{ID}/deliveries/{ID}"]
    assert "data-live-stop" in shown.raw
    api.answers["list_webhooks"] = Given(502, b"no")
    without = await visitor.get(f"/messages/{ID}/deliveries?seen=sent&ended=", HX_Request="true")
    assert (without.status, HOOK.url in without.text, ID in without.text) == (200, False, True)
    assert "data-live-stop" not in without.raw


async def test_deliveries_that_are_under_way_or_none(visitor: Browser, api: FakeApi) -> None:
    waiting = shapes.Delivery(ID, ID, "message.sent", ID, "pending", 1, None, AT, None, AT)
    api.answers["list_message_deliveries"] = Given(200, shapes.Page([waiting, DELIVERY], None))
    shown = await visitor.get(f"/messages/{ID}/deliveries?seen=delivered&ended={AT}", HX_Request="true")
    assert "data-live-stop" not in shown.raw
    api.answers["list_message_deliveries"] = Given(200, shapes.Page([], None))
    none = await visitor.get(f"/messages/{ID}/deliveries?seen=<script>&ended=never", HX_Request="true")
    assert ("None so far." in none.text, links(none)) == (True, ["/webhooks"])
    api.answers["list_message_deliveries"] = Given(502, b"no")
    failed = await visitor.get(f"/messages/{ID}/deliveries", HX_Request="true")
    assert (failed.status, any("data-retry" in attributes for _, attributes in failed.tags)) == (503, True)


# ---- sending


async def test_a_form_has_a_key_of_its_own_and_needs_no_api(visitor: Browser, api: FakeApi) -> None:
    first, second = await visitor.get("/messages/new"), await visitor.get("/messages/new")
    keys = {value_of(first, "idempotency_key"), value_of(second, "idempotency_key")}
    assert len(keys) == 2
    assert min(map(len, keys)) == 36
    assert api.seen == []
    assert "0001" not in first.text  # no test mode here


async def test_a_message_is_sent_with_the_forms_key(visitor: Browser, api: FakeApi) -> None:
    done = await visitor.post("/messages/new", FORM | {"body": "a\r\nb", "from": " Acme "}, HX_Request="true")
    assert done.headers["hx-redirect"] == f"/messages/{ID}"
    assert "Message%20accepted" in done.headers["set-cookie"]
    (call,) = api.calls("send_message")
    assert call.body == shapes.NewMessage(to="+93701234567", body="a\nb", sender="Acme", reference="r1")
    assert call.header("idempotency-key") == FORM["idempotency_key"]
    plain = await visitor.post("/messages/new", FORM | {"reference": ""})
    assert (plain.status, plain.headers["location"]) == (303, f"/messages/{ID}")
    assert api.calls("send_message")[1].body.reference is None


async def test_a_message_is_sent_later_by_the_visitors_clock(visitor: Browser, api: FakeApi) -> None:
    api.answers["send_message"] = Given(202, message(status="scheduled", price=None))
    form = FORM | {"later": "on", "send_at": "2026-12-01T09:30", "smart_encoding": "on"}
    done = await visitor.post("/messages/new", form, HX_Request="true")
    assert "Message%20scheduled" in done.headers["set-cookie"]
    (call,) = api.calls("send_message")
    assert call.body.send_at == datetime(2026, 12, 1, 5, 0, tzinfo=UTC)
    assert call.body.smart_encoding
    # the zone that the form has named counts, though the visitor's has become known since
    await visitor.post("/messages/new", form | {"zone": "UTC"}, HX_Request="true")
    assert api.calls("send_message")[1].body.send_at == datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    api.answers["send_message"] = problem(422, "invalid_send_at", ("send_at", "must be 5 minutes to 30 days from now"))
    refused = await visitor.post("/messages/new", form, HX_Request="true")
    assert (refused.status, "Must be 5 minutes to 30 days from now." in refused.text) == (422, True)
    assert refused.input("send_at")["aria-invalid"] == "true"
    assert refused.input("send_at")["value"] == "2026-12-01T09:30"
    assert "checked" in refused.input("later")
    assert "checked" in refused.input("smart_encoding")


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-12-01", "9999-12-31T00:00"])
async def test_a_time_that_is_none_is_said_beside_its_field(visitor: Browser, api: FakeApi, text: str) -> None:
    shown = await visitor.post("/messages/new", FORM | {"later": "on", "send_at": text}, HX_Request="true")
    assert (shown.status, api.seen) == (422, [])
    assert shown.input("send_at")["aria-invalid"] == "true"
    assert (await visitor.post("/messages/new", FORM | {"send_at": text}, HX_Request="true")).status == 200


async def test_from_offers_the_accounts_senders(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/messages/new/senders", HX_Request="true")
    assert [attributes for tag, attributes in shown.tags if tag == "option"] == [{"value": SENDER.address}]
    assert f"Empty: your default, {SENDER.address}." in shown.text
    api.answers["list_senders"] = Given(200, shapes.Page([], None))
    assert "Empty: the carrier's own." in (await visitor.get("/messages/new/senders", HX_Request="true")).text
    for given in (LIMITED, Given(503, b"no"), Given(504, b"no")):
        api.answers["list_senders"] = given
        without = await visitor.get("/messages/new/senders", HX_Request="true")
        assert (without.status, "hx-trigger" in without.headers, "option" in without.raw) == (200, False, False)


async def test_an_answer_goes_to_the_phone_from_the_number_it_wrote_to(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_message"] = detail(**INBOUND)
    shown = await visitor.get(f"/messages/new/form?again={ID}", HX_Request="true")
    assert [value_of(shown, name) for name in ("to", "from", "reference")] == ["+93701234567", "+93799000001", ""]
    assert "Yes please" not in shown.text


async def test_a_form_from_another_site_is_refused(visitor: Browser, api: FakeApi) -> None:
    refused = await visitor.post("/messages/new", FORM, Sec_Fetch_Site="cross-site")
    assert (refused.status, api.seen) == (403, [])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": " "}, "to"),
        ({"body": ""}, "body"),
        ({"body": "a\0b"}, "body"),
        ({"to": "+93\0"}, "to"),
        ({"body": "ж" * 20_001}, "body"),
        ({"to": "9" * 33}, "to"),
        ({"from": "A" * 33}, "from"),
        ({"reference": "r" * 256}, "reference"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_what_needs_no_asking_is_said_beside_its_field(
    visitor: Browser, api: FakeApi, *, changes: dict[str, str], field: str
) -> None:
    for headers in ({"HX_Request": "true"}, {"Sec_Fetch_Site": "same-origin"}):
        shown = await visitor.post("/messages/new", FORM | changes, **headers)
        assert shown.status == 422
        assert shown.input(field)["aria-invalid"] == "true"
        assert value_of(shown, "idempotency_key") == FORM["idempotency_key"]
        assert value_of(shown, "reference") == (FORM | changes)["reference"]
    assert api.seen == []


def problem(status: int, code: str, *errors: tuple[str, str]) -> Given:
    fields = [{"field": field, "message": text} for field, text in errors]
    return Given(status, {"code": code, "title": "T", "detail": "D", "request_id": "r", "errors": fields})


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        (problem(422, "invalid_number", ("to", "must be a valid phone number")), "to", "Must be a valid phone number."),
        (problem(422, "invalid_sender", ("from", "must be E.164")), "from", "Must be E.164."),
        (problem(422, "body_too_long", ("body", "needs 11 segments")), "body", "Needs 11 segments."),
        (problem(422, "invalid_request", ("reference", "no")), "reference", "No."),
        (problem(403, "country_not_allowed"), "to", "The account may not send to this country."),
        (problem(403, "account_suspended"), "", "The account is suspended. Ask the operator."),
        (problem(403, "daily_cap_reached"), "", "daily cap of messages is reached. Go on after 00:00 UTC."),
        (problem(422, "invalid_request", ("validity_s", "x")), "", "X."),
        (problem(403, "sender_not_allowed"), "from", "D. Senders lists those that may be used."),
        (problem(402, "insufficient_balance"), "", "prepaid balance is used up. Top it up; what is held for messages"),
        (problem(402, "spending_limit_reached"), "", "next UTC month. Billing shows what is left."),
        (problem(403, "recipient_opted_out"), "to", "The recipient asked for no more messages."),
        (problem(400, "invalid_json"), "", "D."),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_the_api_refuses_is_said_and_the_form_keeps_what_was_typed(
    visitor: Browser, api: FakeApi, *, given: Given, field: str, text: str
) -> None:
    api.answers["send_message"] = given
    form = FORM | {"body": HOSTILE, "reference": OVERRIDE}
    shown = await visitor.post("/messages/new", form, HX_Request="true")
    assert shown.status == 422
    assert text in shown.text
    if field:
        assert shown.input(field)["aria-invalid"] == "true"
    else:
        assert any(attributes.get("role") == "alert" for _, attributes in shown.tags)
    assert (value_of(shown, "to"), value_of(shown, "reference")) == (form["to"], OVERRIDE)
    assert HOSTILE in shown.text
    assert value_of(shown, "idempotency_key") == FORM["idempotency_key"]


async def test_a_key_that_was_used_for_something_else_is_replaced(visitor: Browser, api: FakeApi) -> None:
    api.answers["send_message"] = problem(409, "idempotency_key_reused")
    shown = await visitor.post("/messages/new", FORM, HX_Request="true")
    assert (shown.status, SENT_BEFORE in shown.text) == (422, True)
    assert value_of(shown, "idempotency_key") not in {"", FORM["idempotency_key"]}


@pytest.mark.parametrize("key", ["", "short", "x" * 65, "a b c d e f g h i j", "\0" * 20, "<script>alert(1)</script>"])
async def test_a_forged_key_is_replaced(visitor: Browser, api: FakeApi, key: str) -> None:
    assert (await visitor.post("/messages/new", FORM | {"idempotency_key": key}, HX_Request="true")).status == 200
    assert re.fullmatch(r"[0-9a-f-]{36}", api.calls("send_message")[0].header("idempotency-key") or "")


@pytest.mark.parametrize(
    "given", [LIMITED, Given(502, b"no"), Given(403, {"code": "forbidden", "detail": "no"})], ids=str
)
async def test_the_form_stays_untouched_when_the_api_cannot(visitor: Browser, api: FakeApi, given: Given) -> None:
    api.answers["send_message"] = given
    shown = await visitor.post("/messages/new", FORM, HX_Request="true")
    assert (shown.raw, shown.headers["hx-reswap"]) == ("", "none")
    assert toast(shown)["retry"] is (given.status == 502)
    assert (toast(shown)["text"] == RATE_LIMITED) is (given is LIMITED)


async def test_trying_again_after_a_time_out_sends_once(
    visitor: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = table.BY_OPERATION["send_message"]
    monkeypatch.setitem(table.BY_OPERATION, "send_message", dataclasses.replace(row, timeout_s=0.2))
    accepted: dict[str | None, shapes.Message] = {}

    async def accept_and_hang(seen: Seen) -> Given:
        key = seen.header("idempotency-key")
        if key in accepted:
            return Given(202, accepted[key])
        accepted[key] = message(status="accepted", body=seen.body.body)
        return await api.hang(seen)

    api.answers["send_message"] = accept_and_hang
    page = await visitor.get("/messages/new")
    form = FORM | {"idempotency_key": value_of(page, "idempotency_key")}
    lost = await visitor.post("/messages/new", form, HX_Request="true")
    assert (lost.status, toast(lost)["retry"]) == (503, True)
    again = await visitor.post("/messages/new", form, HX_Request="true")
    assert again.headers["hx-redirect"] == f"/messages/{ID}"
    assert len(accepted) == 1
    assert len(api.calls("send_message")) == 2


async def test_sending_again_begins_with_what_was_sent_and_a_new_key(visitor: Browser, api: FakeApi) -> None:
    page = await visitor.get(f"/messages/new?again={ID}")
    assert (page.status, api.seen) == (200, [])
    assert f'hx-get="/messages/new/form?again={ID}"' in page.raw
    api.answers["get_message"] = detail(body=HOSTILE, reference="r9", sender="Acme")
    first, second = [await visitor.get(f"/messages/new/form?again={ID}", HX_Request="true") for _ in range(2)]
    assert [value_of(first, name) for name in ("to", "from", "reference")] == ["+93701234567", "Acme", "r9"]
    assert HOSTILE in first.text
    assert value_of(first, "idempotency_key") != value_of(second, "idempotency_key")
    assert first.input("preview")["hx-trigger"] == "load"
    api.answers["get_message"] = NOT_FOUND
    gone = await visitor.get("/messages/new/form?again=%2e%2e%2f<script>", HX_Request="true")
    assert (gone.status, "does not exist" in gone.text) == (200, True)
    api.answers["get_message"] = Given(502, b"no")
    assert (await visitor.get(f"/messages/new/form?again={ID}", HX_Request="true")).status == 503


# ---- the preview


def previewed(**changes: Any) -> Given:
    values: dict[str, Any] = {
        "body": "Hello", "encoding": "gsm7", "segments": 1, "characters": 5, "units": 5, "units_per_segment": 160,
        "left": 155, "forcing": [], "country": "AF", "price": shapes.Money("0.0265", "USD"), "errors": [],
    }  # fmt: skip
    return Given(200, shapes.Preview(**{**values, **changes}))


async def preview(visitor: Browser, **changes: str) -> Shown:
    return await visitor.post("/messages/preview", FORM | changes, HX_Request="true")


async def test_a_preview(visitor: Browser, api: FakeApi) -> None:
    shown = await preview(visitor, body="Hello\r\n")
    (call,) = api.calls("preview_message")
    assert call.body == shapes.PreviewInput(body="Hello\n", to="+93701234567", sender=None)
    for text in ("1 of 10 segments", "GSM-7", "155", "Afghanistan", "0.0265"):
        assert text in shown.text


async def test_a_preview_names_what_forces_ucs_2(visitor: Browser, api: FakeApi) -> None:
    forcing = [
        shapes.ForcingCharacter("\u2019", "U+2019", "RIGHT SINGLE QUOTATION MARK", 2, "'"),
        shapes.ForcingCharacter("\u202e", "U+202E", "RIGHT-TO-LEFT OVERRIDE", 1, None),
        shapes.ForcingCharacter("\u200b", "U+200B", "ZERO WIDTH SPACE", 1, ""),
        *(shapes.ForcingCharacter(chr(0x430 + at), f"U+{0x430 + at:04X}", f"LETTER {at}", 1, None) for at in range(9)),
    ]
    api.answers["preview_message"] = previewed(encoding="ucs2", segments=11, forcing=forcing, price=None)
    shown = await preview(visitor)
    for text in ("11 of 10 segments", "UCS-2", "U+2019", "right single quotation mark", "leave out", "6 more"):
        assert text in shown.text
    assert "data-smart-helps" not in shown.raw
    still = await preview(visitor, smart_encoding="on")
    assert "so nothing is replaced" in still.text
    api.answers["preview_message"] = previewed(encoding="ucs2", forcing=[forcing[0], forcing[2]])
    assert "data-smart-helps" in (await preview(visitor)).raw


async def test_a_preview_shows_the_text_that_would_be_sent(visitor: Browser, api: FakeApi) -> None:
    api.answers["preview_message"] = previewed(body="It's")
    shown = await preview(visitor, body="It\u2019s", smart_encoding="on")
    (call,) = api.calls("preview_message")
    assert call.body.smart_encoding
    assert "Text that is sent It's" in shown.text
    assert "Text that is sent" not in (await preview(visitor, body="It's", smart_encoding="on")).text


async def test_a_preview_says_what_is_wrong_so_far(visitor: Browser, api: FakeApi) -> None:
    errors = [shapes.FieldError("to", "must be valid"), shapes.FieldError("account", "the account is suspended")]
    api.answers["preview_message"] = previewed(errors=[*errors, shapes.FieldError("body", "must not be empty")])
    shown = await preview(visitor, body="")
    faults = {attributes["data-fault"] for _, attributes in shown.tags if "data-fault" in attributes}
    assert faults == {"to"}
    assert "The account is suspended." in shown.text
    assert "1 of 10" not in shown.text
    assert (await preview(visitor, body="", to="")).status == 200
    assert len(api.calls("preview_message")) == 1


@pytest.mark.parametrize("changes", [{"body": "\0"}, {"body": "x" * 20_001}, {"to": "9" * 33}, {"from": "\0"}], ids=str)
async def test_a_preview_of_what_no_message_can_be(visitor: Browser, api: FakeApi, changes: dict[str, str]) -> None:
    shown = await preview(visitor, **changes)
    assert (shown.status, api.seen) == (200, [])
    assert f'data-fault="{next(iter(changes))}"' in shown.raw


@pytest.mark.parametrize("given", [LIMITED, Given(504, b"no")], ids=["429", "504"])
async def test_a_preview_that_fails_says_so_in_its_place(visitor: Browser, api: FakeApi, given: Given) -> None:
    api.answers["preview_message"] = given
    shown = await preview(visitor)
    assert shown.status == (429 if given is LIMITED else 503)
    assert any("data-retry" in attributes for _, attributes in shown.tags)
    assert (toast(shown)["text"] == RATE_LIMITED) is (given is LIMITED)


async def test_a_preview_that_the_api_refuses_is_no_failure(visitor: Browser, api: FakeApi) -> None:
    api.answers["preview_message"] = problem(422, "invalid_request", ("to", "no"))
    shown = await preview(visitor)
    assert (shown.status, 'data-fault="to"' in shown.raw) == (200, True)


# ---- who asks


@pytest.mark.parametrize(
    "path", ["/messages", "/messages/list", "/messages/new", "/messages/export.csv", f"/messages/{ID}"]
)
async def test_only_customers_get_in(browser: Browser, api: FakeApi, path: str) -> None:
    assert (await browser.get(path)).headers["location"].startswith("/sign-in?next=%2Fmessages")
    browser.set(ghasi_access="forged.cookie.here")
    assert (await browser.get(path)).status == 303
    browser.set(ghasi_access=token(roles=("admin",)))
    assert (await browser.get(path)).status == 403
    assert api.seen == []


async def test_a_forged_token_shows_nothing(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_messages"] = Given(401, {"message": "Invalid signature"})
    refused = await visitor.get("/messages/list", HX_Request="true")
    assert (refused.status, refused.raw, refused.headers["x-ghasi-sign-in"]) == (401, "", "/sign-in")


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("+93 (70) 123-45.67", "+93701234567"),
        ("0093 70 1234567", "+93701234567"),
        (" 12345 ", "12345"),
        ("Acme Ltd", "Acme Ltd"),
        ("+93x70", "+93x70"),
        ("", ""),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, tidy: str) -> None:
    assert tidy_number(text) == tidy
