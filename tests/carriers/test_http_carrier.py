"""A carrier over HTTP, before a real server: what goes out, what each answer means, and what a failure leaves."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.carrier import Carrier, Outcome, Split
from ghasi.carriers.http.answers import AnswerReader
from ghasi.carriers.http.client import MOST_SILENT, HttpCarrier
from ghasi.carriers.http.configuration import AnswerRules
from ghasi.carriers.http.session import LONGEST_HOLD_S, retry_after_s
from ghasi.contract.message_errors import MESSAGE_ERRORS
from tests.carriers.aggregator import (
    QUICK,
    Aggregator,
    a_segment,
    answers,
    configured,
    serve_aggregator,
    started,
    until,
)
from tests.webhooks.certificates import self_signed


@pytest.fixture
async def aggregator() -> AsyncIterator[Aggregator]:
    async with serve_aggregator() as aggregator:
        yield aggregator


async def test_a_message_goes_out_as_the_template_says(aggregator: Aggregator) -> None:
    body = {
        "messages": [{"from": "{from}", "destinations": [{"to": "{to}"}], "text": "{text}",
                      "ttl": "{validity_s:number}", "kind": "{encoding}", "parts": "{segments:number}"}],
    }  # fmt: skip
    text = 'He said "hi"},{"to":"+1", \\ \n سلام 😀'
    async with started(
        aggregator.url, body=body, headers={"X-Ref": "r-{id}"}, bearer="tok", idempotency_header="Idempotency-Key",
        strip_plus=True, encoding_names={"ucs2": "unicode"},
    ) as carrier:  # fmt: skip
        protocol: Carrier = carrier
        split = protocol.split(text)
        assert split == Split("text", [text.encode()])
        result = await carrier.submit(a_segment(text, sender="+46700000099", validity_s=60))
    assert (result.outcome, result.carrier_message_id) == (Outcome.ACCEPTED, "abc-1")
    [asked] = aggregator.asked
    assert asked.json == {
        "messages": [{"from": "46700000099", "destinations": [{"to": "46700000010"}], "text": text, "ttl": 60,
                      "kind": "unicode", "parts": 1}],
    }  # fmt: skip
    assert (asked.method, asked.path) == ("POST", "/sms")
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Authorization"] == "Bearer tok"
    assert (asked.headers["X-Ref"], asked.headers["Idempotency-Key"]) == ("r-019-a", "019-a-1")


async def test_a_form_and_a_default_sender(aggregator: Aggregator) -> None:
    body = {"to": "{to}", "from": "{from}", "text": "{text}", "ttl": "{validity_s}", "tag": ["a", "b"], "flash": False}
    async with started(
        aggregator.url, content_type="form", body=body, default_sender="Shop", basic={"user": "u", "password": "p:w"}
    ) as carrier:
        assert (await carrier.submit(a_segment("a&b=c é", sender=None))).outcome is Outcome.ACCEPTED
    [asked] = aggregator.asked
    assert parse_qsl(asked.body.decode(), strict_parsing=True) == [
        ("to", "+46700000010"), ("from", "Shop"), ("text", "a&b=c é"), ("tag", "a"), ("tag", "b"), ("flash", "false"),
    ]  # fmt: skip
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")) == b"u:p:w"


async def test_a_get_has_all_in_its_query(aggregator: Aggregator) -> None:
    async with started(aggregator.url + "?user=x", method="GET", content_type="form") as carrier:
        assert (await carrier.submit(a_segment("a&b #+é"))).outcome is Outcome.ACCEPTED
    [asked] = aggregator.asked
    assert (asked.method, asked.body) == ("GET", b"")
    assert parse_qsl(urlsplit(asked.path).query) == [
        ("user", "x"), ("to", "+46700000010"), ("from", "Ghasi"), ("text", "a&b #+é"), ("ref", "019-a"),
    ]  # fmt: skip


RULES: dict[str, Any] = {
    "id": "/id",
    "status": ["/error/name", "/status"],
    "detail": "/text",
    "values": {
        "queued": "accepted", "busy": "throttled", "later": "retry", "BAD_NUMBER": "invalid_destination",
        "NO_MONEY": "no_credit", "perhaps": "doubt",
    },
    "statuses": {"418": "barred", "409": "accepted"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "document", "outcome", "code"),
    [
        (200, {"id": 17, "status": "queued"}, Outcome.ACCEPTED, "17"),
        (201, {"id": "x", "status": "queued"}, Outcome.ACCEPTED, "x"),
        (200, {"status": "queued"}, Outcome.ACCEPTED, None),
        (200, {"id": "x" * 256, "status": "queued"}, Outcome.ACCEPTED, None),
        (200, {"id": "x", "status": "busy"}, Outcome.THROTTLED, "throttled"),
        (200, {"id": "x", "status": "later"}, Outcome.THROTTLED, "carrier_error"),
        (200, {"id": "x", "status": "surprise"}, Outcome.REFUSED, "submit_failed"),
        (200, {"id": "x", "status": "queued", "error": {"name": "NO_MONEY"}}, Outcome.REFUSED, "no_credit"),
        (200, {"id": "x"}, Outcome.UNANSWERED, None),
        (200, [], Outcome.UNANSWERED, None),
        (400, {"error": {"name": "BAD_NUMBER"}}, Outcome.REFUSED, "invalid_destination"),
        (400, {"status": "queued"}, Outcome.REFUSED, "submit_failed"),
        (402, None, Outcome.REFUSED, "no_credit"),
        (403, None, Outcome.REFUSED, "not_permitted"),
        (418, None, Outcome.REFUSED, "barred"),
        (409, {"id": "again", "status": "elsewhere"}, Outcome.REFUSED, "submit_failed"),
        (429, None, Outcome.THROTTLED, "throttled"),
        (408, None, Outcome.THROTTLED, "carrier_error"),
        (503, None, Outcome.THROTTLED, "throttled"),
        (401, None, Outcome.UNSENT, None),
        (404, None, Outcome.UNSENT, None),
        (302, None, Outcome.UNSENT, None),
        (303, None, Outcome.UNANSWERED, None),
        (500, None, Outcome.UNANSWERED, None),
        (500, {"status": "queued"}, Outcome.UNANSWERED, None),
        (500, {"status": "busy"}, Outcome.THROTTLED, "throttled"),
        (502, None, Outcome.UNANSWERED, None),
    ],
)
async def test_what_answers_mean(
    aggregator: Aggregator, status: int, document: Any, outcome: Outcome, code: str | None
) -> None:
    aggregator.answer = answers(status, document, Location="/elsewhere")
    async with started(aggregator.url, answer=RULES) as carrier:
        result = await carrier.submit(a_segment())
    assert result.outcome is outcome, result
    assert (result.carrier_message_id if outcome is Outcome.ACCEPTED else result.error_code) == code
    assert len(aggregator.asked) == 1, "no redirect is followed and nothing is repeated"


@given(
    st.integers(200, 599),
    st.binary(max_size=50)
    | st.builds(msgspec.json.encode, st.dictionaries(st.sampled_from(["id", "status"]), st.text())),
)
def test_no_answer_breaks_the_reading_and_only_a_success_is_one(status: int, body: bytes) -> None:
    reader = AnswerReader(msgspec.convert(RULES | {"statuses": {}}, AnswerRules))
    result = reader.read(status, body, "ours").result()
    assert result.outcome is not Outcome.ACCEPTED or status < 300
    assert (result.detail or "").isprintable()
    if result.outcome is Outcome.REFUSED:
        assert result.error_code in MESSAGE_ERRORS


async def test_without_an_id_of_its_own_ours_is_the_carriers(aggregator: Aggregator) -> None:
    async with started(aggregator.url, answer={}) as carrier:
        assert (await carrier.submit(a_segment())).carrier_message_id == "019-a"


async def test_an_unreadable_success_is_in_doubt(aggregator: Aggregator) -> None:
    async def not_json(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>it works</html>")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"[" * 65536)
        except (ConnectionError, RuntimeError):
            return response

    async with started(aggregator.url) as carrier:
        for answerer in (not_json, endless):
            aggregator.answer = answerer
            assert (await carrier.submit(a_segment())).outcome is Outcome.UNANSWERED


async def test_the_window_bounds_what_is_under_way(aggregator: Aggregator) -> None:
    gate = asyncio.Event()
    under_way, most = 0, 0

    async def wait(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        return web.json_response({"id": "x", "status": "queued"})

    aggregator.answer = wait
    async with started(aggregator.url, window=3) as carrier:
        results = [carrier.submit(a_segment()) for _ in range(5)]
        assert carrier.capacity() == 0
        await until(lambda: under_way == 3)
        assert carrier.state().outstanding == 3
        gate.set()
        outcomes = [(await result).outcome for result in results]
        assert outcomes == [Outcome.ACCEPTED] * 3 + [Outcome.UNSENT] * 2
        assert most == 3
        await until(lambda: carrier.capacity() == 3)


async def test_throughput_is_not_exceeded_in_any_second(aggregator: Aggregator) -> None:
    async with started(aggregator.url, throughput_per_s=4, window=100) as carrier:
        loop = asyncio.get_running_loop()
        times = []
        while len(times) < 9:
            await until(lambda: carrier.capacity() > 0)
            times.append(loop.time())
            assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED
        assert all(later - earlier >= 0.99 for earlier, later in zip(times, times[4:], strict=False))
        assert carrier.state().throughput_per_s == 4


async def test_retry_after_holds_the_carrier_back(aggregator: Aggregator) -> None:
    aggregator.answer = answers(429, None, Retry_After="30")
    async with started(aggregator.url) as carrier:
        assert (await carrier.submit(a_segment())).outcome is Outcome.THROTTLED
        assert carrier.capacity() == 0
        state = carrier.state()
        assert (state.bound, "wait" in state.detail) == (True, True)
        now = asyncio.get_running_loop().time()
        assert 0 < carrier._held_until - now <= 30
        carrier._held_until = now
        assert carrier.capacity() > 0


def test_retry_after_in_its_forms() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    assert retry_after_s("7", now) == 7
    assert retry_after_s("9" * 40, now) == LONGEST_HOLD_S
    assert retry_after_s(format_datetime(now + timedelta(seconds=5), usegmt=True), now) == 5
    assert retry_after_s(format_datetime(now - timedelta(seconds=5), usegmt=True), now) == 0
    for nonsense in (None, "", "-1", "soon", "1.5", "²"):
        assert retry_after_s(nonsense, now) == 0


async def test_it_waits_for_a_carrier_that_is_away_and_finds_it_again(reserved_port: int) -> None:
    port = reserved_port
    async with started(f"http://127.0.0.1:{port}/sms", reachable=False) as carrier:
        await until(lambda: "connection failed" in carrier.state().detail)
        assert (carrier.state().bound, carrier.capacity()) == (False, 0)
        assert (await carrier.submit(a_segment())).outcome is Outcome.UNSENT
        async with serve_aggregator(port):
            await until(lambda: carrier.capacity() == 1)  # one at a time, until one is answered
            assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED
            await until(lambda: carrier.capacity() > 1)
            assert carrier.state().bound
        result = await carrier.submit(a_segment())  # the server is gone; an idle connection may tell it only now
        assert result.outcome in (Outcome.UNSENT, Outcome.UNANSWERED)
        while result.outcome is not Outcome.UNSENT or carrier.state().bound:
            result = await carrier.submit(a_segment())
        async with serve_aggregator(port):
            await until(lambda: carrier.capacity() > 0)
            assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED


async def test_wrong_credentials_hold_messages_instead_of_losing_them(aggregator: Aggregator) -> None:
    aggregator.answer = answers(401, {"title": "Unauthorized"})
    async with started(aggregator.url) as carrier:
        assert (await carrier.submit(a_segment())).outcome is Outcome.UNSENT
        assert not carrier.state().bound
        assert "HTTP 401" in carrier.state().detail
        await until(lambda: carrier.capacity() == 1)
        aggregator.answer = answers(200, {"id": "1", "status": "queued"})
        assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED
        await until(lambda: carrier.capacity() > 1)


async def test_what_breaks_after_the_request_is_in_doubt_and_sent_once(aggregator: Aggregator) -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    for method, content_type in (("POST", "json"), ("PUT", "json"), ("GET", "form")):
        async with started(aggregator.url, method=method, content_type=content_type) as carrier:
            assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED  # the connection is used before
            aggregator.answer, before = close, len(aggregator.asked)
            assert (await carrier.submit(a_segment())).outcome is Outcome.UNANSWERED
            assert len(aggregator.asked) == before + 1, method
            aggregator.answer = answers(200, {"id": "1", "status": "queued"})


async def test_a_silent_carrier_counts_as_away_in_the_end(aggregator: Aggregator) -> None:
    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    aggregator.answer = silence
    async with started(aggregator.url, timeout_s=1.5, window=MOST_SILENT) as carrier:
        results = [await result for result in [carrier.submit(a_segment()) for _ in range(MOST_SILENT)]]
        assert {result.outcome for result in results} == {Outcome.UNANSWERED}
        assert not carrier.state().bound
        assert "no answer" in carrier.state().detail


async def test_a_status_counts_even_where_its_body_breaks_off(aggregator: Aggregator) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    aggregator.answer = half
    async with started(aggregator.url) as carrier:
        assert (await carrier.submit(a_segment())).outcome is Outcome.THROTTLED


async def test_stopping_gives_every_submit_its_end(aggregator: Aggregator) -> None:
    async def silence(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    aggregator.answer = silence
    async with started(aggregator.url) as carrier:
        waiting = carrier.submit(a_segment())
        await until(lambda: len(aggregator.asked) == 1)
        unbegun = carrier.submit(a_segment())
        await carrier.stop()
        assert (await waiting).outcome is Outcome.UNANSWERED
        assert (await unbegun).outcome in (Outcome.UNSENT, Outcome.UNANSWERED)
        assert (await carrier.submit(a_segment())).outcome is Outcome.UNSENT
        assert carrier.state().detail == "stopped"


async def test_certificates_are_checked(tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    async with serve_aggregator(context=context) as aggregator:
        async with started(aggregator.url, reachable=False) as carrier:
            await until(lambda: "connection failed" in carrier.state().detail)
            assert carrier.capacity() == 0
        assert not aggregator.asked
        async with started(aggregator.url, tls_ca_file=str(tmp_path / "self-signed.pem")) as carrier:
            assert (await carrier.submit(a_segment())).outcome is Outcome.ACCEPTED


async def test_a_secret_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch, aggregator: Aggregator) -> None:
    monkeypatch.delenv("GHASI_TEST_KEY", raising=False)
    carrier = HttpCarrier(configured(aggregator.url, headers={"Authorization": "App {env:GHASI_TEST_KEY}"}), QUICK)
    await carrier.start(lambda _: None, lambda _: None)
    assert "GHASI_TEST_KEY" in carrier.state().detail
    assert (await carrier.submit(a_segment())).outcome is Outcome.UNSENT
    await carrier.stop()


async def test_neither_texts_nor_secrets_reach_logs(aggregator: Aggregator) -> None:
    async def not_http(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"hunter2 says hello\r\n\r\n")  # type: ignore[attr-defined]
        return web.Response()

    with structlog.testing.capture_logs() as logs:
        async with started(
            aggregator.url + "?key=hunter2", method="GET", content_type="form", bearer="hunter2"
        ) as carrier:
            for answerer in (answers(401, "hunter2"), not_http, answers(200, {"id": "", "status": "queued"})):
                aggregator.answer = answerer
                await until(lambda: carrier.capacity() > 0)
                await carrier.submit(a_segment("hunter2"))
            assert "hunter2" not in carrier.state().detail
    assert len(logs) > 1
    assert "hunter2" not in str(logs)


def test_what_was_split_for_another_carrier_is_refused() -> None:
    carrier = HttpCarrier(configured("https://api.example.com/"))
    with pytest.raises(ValueError, match="surrogates"):
        carrier.split("\ud800")
    assert carrier.capacity() == 0
