"""Sends webhooks by a bare aiohttp loop: webhook_loop PORT ENDPOINTS DELIVERIES CONCURRENCY.

What our worker does at the least: the same bodies, signed alike, to the same receiver over as many hosts and with as
many at once, by uvloop. No database, no retry, no turns among endpoints, and nothing is written down. Prints JSON.
"""

import asyncio
import base64
import hmac
import json
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import aiohttp
import uvloop

from benchmarks.instruments.receiver import address_of
from benchmarks.webhook_worker import BODY

KEY = b"0123456789abcdef01234567"
ENCODED = BODY.encode()


async def send(session: aiohttp.ClientSession, urls: list[str], numbers: Iterator[int]) -> None:
    """Take one number after the other, and send to its endpoint."""
    for number in numbers:
        webhook_id, timestamp = str(uuid4()), int(time.time())
        signature = hmac.digest(KEY, b"%b.%d.%b" % (webhook_id.encode(), timestamp, ENCODED), "sha256")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "bare",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": "v1," + base64.b64encode(signature).decode(),
        }
        async with session.post(urls[number % len(urls)], data=ENCODED, headers=headers) as answer:
            await answer.read()
            assert answer.status == 204, answer.status


async def main() -> None:
    port, endpoints, deliveries, concurrency = map(int, sys.argv[1:])
    urls = [f"http://{address_of(number)}:{port}/hook" for number in range(endpoints)]
    numbers = iter(range(deliveries))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(send(session, urls, numbers) for _ in range(concurrency)))
        spent = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    print(json.dumps(spent))


if __name__ == "__main__":
    uvloop.run(main())
