"""Deliveries to real receivers: what arrives, what is tried again, and what is written down."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook

import ghasi
from ghasi.contract.values import rfc3339
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from ghasi.webhooks.model import SCHEDULE_S, Pace
from ghasi.webhooks.recording import delay_s
from tests.webhooks.conftest import QUICK, Customer, Receiver, publish, raw_server, receiving, until, working


async def log_of(pool: Pool, endpoint_id: str) -> list[Any]:
    return await pool.fetch("SELECT * FROM webhooks.deliveries WHERE endpoint_id = $1", endpoint_id)


async def attempts_of(pool: Pool, endpoint_id: str) -> list[Any]:
    return await pool.fetch("SELECT * FROM webhooks.attempts WHERE endpoint_id = $1 ORDER BY number", endpoint_id)


async def test_an_event_arrives_signed_and_whole(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url, ["message.*"], headers={"X-Token": "t0ken"})
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    (got,) = receiver.got
    assert Webhook(endpoint["secret"]).verify(got.body, got.headers) == {
        "type": "message.delivered",
        "timestamp": rfc3339(event.at),
        "data": msgspec.json.decode(event.data),
    }
    assert got.id == str(event.id)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == f"Ghasi-Webhooks/{ghasi.__version__}"
    assert got.headers["x-token"] == "t0ken"
    assert (row["state"], row["attempts"], row["status_code"], row["response"]) == ("succeeded", 1, 200, "thanks")
    assert row["duration_ms"] >= 0
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
    assert await attempts_of(pool, endpoint["id"]) == []


async def test_only_what_was_asked_for_arrives_and_at_every_endpoint_that_asked(
    resources: Resources, pool: Pool, customer: Customer, app: Any
) -> None:
    stranger = Customer(app)
    async with receiving() as failures, receiving() as everything, receiving() as off, receiving() as foreign:
        await customer.create(failures.url, ["message.failed", "message.undelivered"])
        await customer.create(everything.url, ["*"])
        await customer.create(off.url, ["*"], enabled=False)
        await stranger.create(foreign.url, ["*"])
        async with working(resources):
            delivered = await publish(pool, customer.account_id, 3)
            failed = await publish(pool, customer.account_id, 2, "failed")
            await until(lambda: len(everything.got) == 5 and len(failures.got) == 2)
        assert everything.ids == {str(event.id) for event in delivered + failed}
        assert failures.ids == {str(event.id) for event in failed}
        assert not off.got
        assert not foreign.got


async def test_an_account_without_endpoints_leaves_no_rows(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    await customer.create(receiver.url)
    async with working(resources):
        await publish(pool, Customer(app).account_id, 50)
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
    assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 1


async def test_an_event_that_is_read_again_is_not_delivered_again(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    async with working(resources):
        await publish(pool, customer.account_id, 3)
        await until(lambda: len(receiver.got) == 3)
    await pool.execute("UPDATE webhooks.positions SET xid = '0'")  # as a restore into another cluster does
    async with working(resources):
        last = await publish(pool, customer.account_id)
        await until(lambda: str(last[0].id) in receiver.ids)
    assert len(receiver.got) == 4


async def test_both_secrets_sign_after_a_rotation_and_then_the_new_one_alone(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    rotated = (await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/rotate")).json
    async with working(resources):
        await publish(pool, customer.account_id)
        await until(lambda: receiver.got)
        for secret in (endpoint["secret"], rotated["secret"]):
            Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
        assert len(receiver.got[0].headers["webhook-signature"].split()) == 2
        await pool.execute("UPDATE webhooks.endpoints SET previous_until = now(), version = version + 1")
        await publish(pool, customer.account_id)
        await until(lambda: len(receiver.got) == 2)
    assert len(receiver.got[1].headers["webhook-signature"].split()) == 1
    Webhook(rotated["secret"]).verify(receiver.got[1].body, receiver.got[1].headers)


async def test_a_failure_is_tried_again_under_the_same_id_until_it_succeeds(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def third_time_lucky(_: web.Request) -> web.Response:
        return web.Response(status=500, text="no\0t yet") if len(receiver.got) < 3 else web.Response(status=204)

    receiver.answer = third_time_lucky
    endpoint = await customer.create(receiver.url)
    async with working(resources):
        (event,) = await publish(pool, customer.account_id)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert receiver.ids == {str(event.id)}
    assert (row["state"], row["attempts"], row["status_code"]) == ("succeeded", 3, 204)
    failed = await attempts_of(pool, endpoint["id"])
    assert [(one["number"], one["status_code"], one["response"]) for one in failed] == [
        (1, 500, "no\ufffdt yet"),
        (2, 500, "no\ufffdt yet"),
    ]
    assert failed[0]["error"] == "status: the endpoint answered 500"
    for got in receiver.got:  # each attempt has a timestamp and a signature of its own
        Webhook(endpoint["secret"]).verify(got.body, got.headers)


async def test_the_eighth_failure_is_the_last(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def no(_: web.Request) -> web.Response:
        return web.Response(status=503)

    receiver.answer = no
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(0.01,) * 7)):
        await publish(pool, customer.account_id)
        (row,) = await until(lambda: log_of(pool, endpoint["id"]))
    assert (row["state"], row["attempts"], row["status_code"]) == ("exhausted", 8, None)
    assert len(receiver.got) == 8
    assert len(await attempts_of(pool, endpoint["id"])) == 8
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0


async def test_a_retry_is_due_when_the_schedule_says(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "8"})

    receiver.answer = busy
    await customer.create(receiver.url)
    async with working(resources, Pace(jitter=0.0)):
        await publish(pool, customer.account_id)
        row = await until(
            lambda: pool.fetchrow("SELECT *, due_at - now() AS wait FROM webhooks.pending WHERE attempts = 1")
        )
    assert timedelta(seconds=7) < row["wait"] <= timedelta(seconds=8)


def test_the_schedule_is_5_s_to_10_h_with_a_fifth_of_jitter() -> None:
    assert SCHEDULE_S == (5, 300, 1800, 7200, 18000, 36000, 36000)
    pace = Pace()
    for number, delay in enumerate(SCHEDULE_S, 1):
        drawn = [delay_s(number, None, pace) for _ in range(300)]
        assert 0.8 * delay <= min(drawn) < 0.85 * delay
        assert 1.15 * delay < max(drawn) <= 1.2 * delay
    still = Pace(jitter=0.0)
    assert delay_s(1, 7.0, still) == 7.0
    assert delay_s(1, 1000.0, still) == 10.0  # twice the delay at most
    assert delay_s(2, 1.0, still) == 300.0  # and never sooner


async def test_gone_disables_the_endpoint_and_drops_what_is_pending(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    statuses = iter([500])

    async def gone(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses, 410))

    receiver.answer = gone
    endpoint = await customer.create(receiver.url)
    async with working(resources, replace(QUICK, schedule_s=(0.3,) * 7)):
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT count(*) FROM webhooks.pending WHERE attempts = 1"))
        await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT count(*) FROM webhooks.deliveries WHERE state = 'canceled'"))
        await until(lambda: pool.fetchval("SELECT NOT EXISTS (SELECT FROM webhooks.pending)"))
    shown = (await customer.call("GET", f"/v1/webhooks/{endpoint['id']}")).json
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert len(receiver.got) == 2
    assert await pool.fetchval("SELECT actor FROM storage.audit_log WHERE action = 'webhook.disabled'")
    again = {"url": receiver.url, "events": ["*"], "enabled": True}
    shown = (await customer.call("PUT", f"/v1/webhooks/{endpoint['id']}", again)).json
    assert (shown["enabled"], shown["disabled_reason"]) == (True, None)


@pytest.mark.parametrize("ending", ["disable", "delete"])
async def test_what_is_pending_is_canceled_with_its_endpoint(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, ending: str
) -> None:
    async def no(_: web.Request) -> web.Response:
        return web.Response(status=500)

    receiver.answer = no
    endpoint = await customer.create(receiver.url)
    path = f"/v1/webhooks/{endpoint['id']}"
    async with working(resources, replace(QUICK, schedule_s=(1000.0,) * 7)):
        await publish(pool, customer.account_id, 3)
        await until(lambda: pool.fetchval("SELECT count(*) = 3 FROM webhooks.pending WHERE attempts = 1"))
        if ending == "delete":
            assert (await customer.call("DELETE", path)).status == 204
        else:
            off = {"url": receiver.url, "events": ["*"], "enabled": False}
            assert (await customer.call("PUT", path, off)).json["disabled_reason"] is None
        assert await pool.fetchval("SELECT count(*) FROM webhooks.pending") == 0
        assert [row["state"] for row in await log_of(pool, endpoint["id"])] == ["canceled"] * 3
        await publish(pool, customer.account_id)
        assert await pool.fetchval("SELECT count(*) FROM webhooks.events") == 3
    assert len(receiver.got) == 3


async def test_what_was_pending_when_the_endpoint_was_disabled_is_not_sent_when_it_is_enabled(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.create(receiver.url)
    path = f"/v1/webhooks/{endpoint['id']}"
    (old,) = await publish(pool, customer.account_id)
    # a delivery that canceling passes over, because a worker holds it just then
    await pool.execute(
        "INSERT INTO webhooks.events (id, account_id, type, at, body) VALUES ($1, $2, 'message.sent', now(), '{}')",
        old.id, customer.account_id,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO webhooks.pending (endpoint_id, event_id, due_at) VALUES ($1, $2, now())", endpoint["id"], old.id
    )
    async with pool.acquire() as busy, busy.transaction():
        await busy.execute("SELECT FROM webhooks.pending FOR UPDATE")
        for enabled in (False, True):
            body = {"url": receiver.url, "events": ["*"], "enabled": enabled}
            assert (await customer.call("PUT", path, body)).status == 200
    async with working(resources):
        (new,) = await publish(pool, customer.account_id)
        await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM webhooks.deliveries"))
    assert receiver.ids == {str(new.id)}


class TestBadReceivers:
    """Each is one failed attempt with a clear error, and holds up nothing."""

    async def failed(self, resources: Resources, pool: Pool, customer: Customer, url: str, **pace: Any) -> Any:
        endpoint = await customer.create(url)
        async with working(resources, replace(QUICK, schedule_s=(1000.0,), **pace)):
            await publish(pool, customer.account_id)
            (attempt,) = await until(lambda: attempts_of(pool, endpoint["id"]))
        return attempt

    async def test_a_redirect_is_not_followed(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async with receiving() as elsewhere:

            async def redirect(_: web.Request) -> web.Response:
                return web.Response(status=307, headers={"Location": elsewhere.url})

            receiver.answer = redirect
            attempt = await self.failed(resources, pool, customer, receiver.url)
            assert attempt["status_code"] == 307
            assert attempt["error"].startswith("redirect: ")
            assert len(receiver.got) == 1
            assert not elsewhere.got

    async def test_a_hanging_endpoint_times_out(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with raw_server(hang) as url:
            attempt = await self.failed(resources, pool, customer, url, timeout_s=0.3)
        assert attempt["error"].startswith("timeout: ")
        assert 300 <= attempt["duration_ms"] < 2000
        assert attempt["status_code"] is None

    async def test_a_dripping_endpoint_times_out(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with raw_server(drip) as url:
            attempt = await self.failed(resources, pool, customer, url, timeout_s=0.3)
        assert attempt["error"].startswith("timeout: ")

    async def test_a_reset_is_a_failure(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with raw_server(reset) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"] == "connection: closed before the answer was complete"

    async def test_a_body_that_breaks_off_is_a_failure(
        self, resources: Resources, pool: Pool, customer: Customer
    ) -> None:
        async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.close()

        async with raw_server(break_off) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"] == "connection: closed before the answer was complete"

    async def test_what_is_not_http_is_a_failure(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async def smtp(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            await writer.drain()

        async with raw_server(smtp) as url:
            attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"].startswith("answer: not valid HTTP")

    async def test_nobody_listens(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        async with receiving() as gone:
            url = gone.url
        attempt = await self.failed(resources, pool, customer, url)
        assert attempt["error"].startswith("connect: ")

    async def test_a_certificate_of_nobodys_is_refused(
        self, resources: Resources, pool: Pool, customer: Customer, tmp_path: Any
    ) -> None:
        from tests.webhooks.certificates import self_signed

        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=self_signed(tmp_path))
        try:
            port = server.sockets[0].getsockname()[1]
            attempt = await self.failed(resources, pool, customer, f"https://127.0.0.1:{port}/hook")
        finally:
            server.close()
            await server.wait_closed()
        assert attempt["error"].startswith("tls: ")
        assert "verify failed" in attempt["error"]

    async def test_100_mb_of_answer_are_not_read(self, resources: Resources, pool: Pool, customer: Customer) -> None:
        sent = 0

        async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
            while sent < 100_000_000:
                writer.write(b"x" * 50_000)
                await writer.drain()
                sent += 50_000

        async with raw_server(flood) as url:
            endpoint = await customer.create(url)
            async with working(resources):
                await publish(pool, customer.account_id)
                (row,) = await until(lambda: log_of(pool, endpoint["id"]))
        assert row["state"] == "succeeded"
        assert row["response"] == "x" * 4096
        assert sent < 20_000_000  # what sockets buffer

    async def test_a_compressed_answer_is_not_blown_up(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async def bomb(_: web.Request) -> web.Response:
            return web.Response(body=b"not really gzip", headers={"Content-Encoding": "gzip"})

        receiver.answer = bomb
        endpoint = await customer.create(receiver.url)
        async with working(resources):
            await publish(pool, customer.account_id)
            (row,) = await until(lambda: log_of(pool, endpoint["id"]))
        assert (row["state"], row["response"]) == ("succeeded", "not really gzip")
        assert "accept-encoding" not in receiver.got[0].headers

    async def test_retry_after_may_be_a_date(
        self, resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
    ) -> None:
        async def busy(_: web.Request) -> web.Response:
            later = datetime.now(UTC) + timedelta(seconds=100)
            return web.Response(status=429, headers={"Retry-After": format_datetime(later, usegmt=True)})

        receiver.answer = busy
        await customer.create(receiver.url)
        async with working(resources, Pace(jitter=0.0, schedule_s=(60.0,))):
            await publish(pool, customer.account_id)
            wait = await until(lambda: pool.fetchval("SELECT due_at - now() FROM webhooks.pending WHERE attempts = 1"))
        assert timedelta(seconds=95) < wait < timedelta(seconds=101)


async def test_a_hanging_endpoint_with_1000_deliveries_delays_no_other(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    other = Customer(app)

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as url:
        await customer.create(url)
        await customer.create(receiver.url, ["message.failed"])
        await other.create(receiver.url)
        await publish(pool, customer.account_id, 1000)
        async with working(resources, replace(QUICK, drain_s=0.1)):
            await until(lambda: pool.fetchval("SELECT count(*) = 1000 FROM webhooks.pending"))
            for account_id, status in ((other.account_id, "delivered"), (customer.account_id, "failed")) * 3:
                began = time.perf_counter()
                (event,) = await publish(pool, account_id, status=status)
                await until(lambda event=event: str(event.id) in receiver.ids)
                assert time.perf_counter() - began < 1.0
        # and what had been leased for the hanging one was given back
        assert await pool.fetchval("SELECT count(*) = 1003 FROM webhooks.pending WHERE due_at <= now()")


async def test_the_endpoints_of_one_account_cannot_take_all_places(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver, app: Any
) -> None:
    other = Customer(app)
    held = 0

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal held
        held += 1
        await reader.read()

    async with raw_server(hang) as url:
        for _ in range(10):
            await customer.create(url)
        await other.create(receiver.url)
        await publish(pool, customer.account_id, 20)
        pace = replace(QUICK, most_in_flight=10, most_in_flight_per_account=8, drain_s=0.1)
        async with working(resources, pace):
            await until(lambda: held == 8)
            await publish(pool, other.account_id)
            await until(lambda: receiver.got, 1.0)
        assert held == 8


async def test_more_than_there_is_room_for_is_claimed_and_all_arrives_once(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    pace = replace(QUICK, window=1, most_window=4, claim=50, claim_per_endpoint=20)
    async with working(resources, pace):
        events = await publish(pool, customer.account_id, 500)
        await until(lambda: pool.fetchval("SELECT count(*) = 500 FROM webhooks.deliveries"), 20)
    assert receiver.ids == {str(event.id) for event in events}
    assert len(receiver.got) == 500


async def test_a_killed_worker_loses_nothing_and_keeps_ids(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    from ghasi.webhooks.worker import work

    slow = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await slow.wait()
        return web.Response()

    receiver.answer = answer
    await customer.create(receiver.url)
    events = await publish(pool, customer.account_id, 300)
    pace = replace(QUICK, lease_s=1.5, timeout_s=1.0, spare_s=0.1)
    killed = asyncio.create_task(work(resources, pace=pace))
    await until(lambda: receiver.got)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    before = receiver.ids
    slow.set()
    async with working(resources, pace):
        await until(lambda: pool.fetchval("SELECT count(*) = 300 FROM webhooks.deliveries WHERE state = 'succeeded'"))
    assert receiver.ids == {str(event.id) for event in events}
    assert before <= receiver.ids
    assert len(receiver.got) > 300  # what was under way was sent again, under its own id


async def test_two_workers_share_the_work_and_send_nothing_twice(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    await customer.create(receiver.url)
    pace = replace(QUICK, window=2, most_window=4, claim=30)
    async with working(resources, pace), working(resources, pace):
        for _ in range(5):
            await publish(pool, customer.account_id, 100)
        await until(lambda: pool.fetchval("SELECT count(*) = 500 FROM webhooks.deliveries"), 20)
    assert len(receiver.got) == len(receiver.ids) == 500


async def test_stopping_ends_what_is_under_way_and_gives_back_the_rest(
    resources: Resources, pool: Pool, customer: Customer, receiver: Receiver
) -> None:
    begun = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.sleep(0.3)
        return web.Response()

    receiver.answer = slow
    await customer.create(receiver.url)
    async with working(resources, replace(QUICK, window=4, most_window=4)):
        await publish(pool, customer.account_id, 50)
        await begun.wait()
    done = await pool.fetchval("SELECT count(*) FROM webhooks.deliveries WHERE state = 'succeeded'")
    assert 4 <= done == len(receiver.got)
    assert await pool.fetchval("SELECT count(*) FROM webhooks.pending WHERE due_at <= now()") == 50 - done
