"""What goes wrong, as a browser sees it and as the page's script does."""

import asyncio
import dataclasses
import json
import socket

import pytest

from ghasi.client.errors import ApiError
from ghasi.contract import table
from ghasi.contract.shapes import FieldError
from ghasi.portal.failures import RATE_LIMITED
from ghasi.portal.forms import input_errors
from ghasi.settings import Settings
from tests.client.fake_api import FakeApi, Given
from tests.live import live
from tests.portal.conftest import Browser, portal_with_probes, token
from tests.portal.test_sessions import LIMITED

FAILURES = [
    (LIMITED, 429, RATE_LIMITED),
    (Given(502, b"An invalid response"), 503, "Ghasi cannot be reached right now."),
    (Given(504, b"The upstream server is timing out"), 503, "Ghasi cannot be reached right now."),
    (Given(500, {"code": "internal_error", "detail": "x", "request_id": "r7"}), 503, "Ghasi cannot be reached"),
    (Given(200, b"not JSON"), 502, "an answer that was not expected"),
]


@pytest.mark.parametrize("operation", ["list_messages", "refresh_session"])
@pytest.mark.parametrize(("given", "status", "text"), FAILURES, ids=lambda given: str(given)[:30])
async def test_failures_of_the_api_have_a_page(
    browser: Browser, api: FakeApi, operation: str, *, given: Given, status: int, text: str
) -> None:
    browser.set(**({"ghasi_refresh": "grt_0"} if operation == "refresh_session" else {"ghasi_access": token()}))
    before = browser.cookies
    api.answers[operation] = given
    shown = await browser.get("/probe")
    assert shown.status == status
    assert text in shown.text
    assert "Try again" in shown.text
    assert "/probe" in [attributes.get("href") for _, attributes in shown.tags]
    assert shown.headers.get("retry-after") == ("17" if status == 429 else None)
    assert ("Reference: r7" in shown.text) is ("r7" in str(given.body))
    assert browser.cookies == before


@pytest.mark.parametrize(("given", "status", "text"), FAILURES, ids=lambda given: str(given)[:30])
async def test_a_part_that_fails_says_so_in_its_place_and_by_a_toast(
    browser: Browser, api: FakeApi, *, given: Given, status: int, text: str
) -> None:
    browser.set(ghasi_access=token())
    api.answers["list_messages"] = given
    shown = await browser.get("/probe", HX_Request="true")
    assert shown.status == status
    assert "<html" not in shown.raw
    assert text in shown.text
    assert any("data-retry" in attributes for _, attributes in shown.tags)
    raw = shown.headers["hx-trigger"]
    assert raw.isascii()
    toast = json.loads(raw)["toast"]
    assert text in toast["text"]
    assert (toast["tone"], toast["retry"]) == ("bad", status != 429)
    assert shown.headers.get("retry-after") == ("17" if status == 429 else None)


@pytest.mark.parametrize(("given", "status", "text"), FAILURES, ids=lambda given: str(given)[:30])
async def test_a_form_that_fails_stays_as_it_is(
    browser: Browser, api: FakeApi, *, given: Given, status: int, text: str
) -> None:
    browser.set(ghasi_access=token())
    api.answers["list_messages"] = given
    shown = await browser.post("/probe", {"to": "x"}, HX_Request="true")
    assert (shown.status, shown.raw, shown.headers["hx-reswap"]) == (status, "", "none")
    assert text in json.loads(shown.headers["hx-trigger"])["toast"]["text"]


async def test_the_rate_limit_is_said_in_the_contracts_words(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    api.answers["list_messages"] = LIMITED
    shown = await browser.post("/probe", HX_Request="true")
    toast = json.loads(shown.headers["hx-trigger"])["toast"]
    assert toast == {"text": "Rate limit exceeded — please try again shortly.", "tone": "bad", "retry": False}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Given(403, {"code": "account_suspended", "detail": "Ask the operator."}), "Ask the operator."),
        (Given(404, {"code": "not_found", "detail": "no"}), "There is nothing at this address"),
        (Given(400, {"code": "invalid_request", "detail": "The cursor is not one of ours."}), "The cursor is not"),
    ],
    ids=lambda given: str(given)[:30],
)
async def test_what_the_api_refuses_is_said_in_its_words(
    browser: Browser, api: FakeApi, *, given: Given, text: str
) -> None:
    browser.set(ghasi_access=token())
    api.answers["list_messages"] = given
    shown = await browser.get("/probe")
    assert (shown.status, text in shown.text) == (given.status, True)


async def test_an_api_that_hangs(browser: Browser, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    row = table.BY_OPERATION["list_messages"]
    monkeypatch.setitem(table.BY_OPERATION, "list_messages", dataclasses.replace(row, timeout_s=0.1))
    api.answers["list_messages"] = api.hang
    browser.set(ghasi_access=token())
    shown = await browser.get("/probe")
    assert (shown.status, "Ghasi cannot be reached right now." in shown.text) == (503, True)


async def test_nobody_behind_the_portal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with live(portal_with_probes(Settings(api_internal_url=nobody))) as url, Browser(url) as browser:
        browser.set(ghasi_access=token())
        assert (await browser.get("/")).status == 200
        assert (await browser.get("/probe")).status == 503
        browser.set(ghasi_access="", ghasi_refresh="grt_0")
        assert (await browser.get("/")).status == 503
        assert (await browser.post("/sign-out")).headers["location"] == "/sign-in"
        assert set(browser.cookies) <= {"ghasi_access"}


async def test_other_paths_methods_and_sizes(browser: Browser, api: FakeApi) -> None:
    assert "Page not found" in (await browser.get("/nowhere")).text
    refused = await browser.post("/")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    browser.set(ghasi_access=token())
    by_script = await browser.get("/nowhere", HX_Request="true")
    assert (by_script.status, "<html" in by_script.raw) == (404, False)
    assert (await browser.post("/form", {"email": "x" * 20_000})).status == 413
    assert (await browser.post("/form", {f"f{at}": "x" for at in range(201)})).status == 400
    form = await browser.post("/form", {"name": " Ann & سلام ", "empty": ""})
    assert form.raw == "[('name', ' Ann & سلام '), ('empty', '')]"
    health = await browser.get("/healthz")
    assert (health.status, health.raw) == (200, '{"status":"ok"}')


async def test_a_405_names_the_methods_of_all_routes_of_its_address(browser: Browser) -> None:
    async with browser.http.put(browser.url + "/sign-in", headers={"Sec-Fetch-Site": "same-origin"}) as response:
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_a_form_that_stops_is_answered_408(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghasi.portal.forms.FORM_S", 0.1)
    host, port = browser.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /form HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nCookie: ghasi_access={token()}\r\n"
    writer.write(f"{head}Content-Length: 9\r\n\r\ne".encode())
    async with asyncio.timeout(5):
        came = await reader.read()  # to the end: the connection is closed
    writer.close()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive whole" in came


async def test_a_fault_of_our_own_has_a_page_too(browser: Browser) -> None:
    browser.set(ghasi_access=token())
    shown = await browser.get("/broken")
    assert (shown.status, "Something broke" in shown.text) == (500, True)
    part = await browser.get("/broken", HX_Request="true")
    assert (part.status, "<html" in part.raw, json.loads(part.headers["hx-trigger"])["toast"]["retry"]) == (
        500, False, True,
    )  # fmt: skip


def test_errors_stand_beside_the_field_they_are_about() -> None:
    fields = (FieldError("from", "No."), FieldError("events[1]", "Odd."), FieldError("$", "All."), FieldError("x", "X"))
    error = ApiError(422, "invalid_request", "Several.", errors=fields)
    names = {"from": "sender", "events": "events", "x": ""}
    assert input_errors(error, names) == {"sender": "No.", "events": "Odd.", "": "All."}
    taken = ApiError(409, "duplicate_name", "There is one already.")
    assert input_errors(taken) == {"": "There is one already."}
    assert input_errors(taken, {"duplicate_name": "name"}) == {"name": "There is one already."}


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_other_errors_are_not_about_input(status: int) -> None:
    error = ApiError(status, "x", "x", errors=(FieldError("to", "No."),))
    with pytest.raises(ApiError) as raised:
        input_errors(error)
    assert raised.value is error
