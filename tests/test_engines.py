"""The engines of the tests are real: they answer, hang, die and come back."""

import nats
import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.engines import nats_server, redis_server


async def test_nats_keeps_its_streams_over_a_kill() -> None:
    with nats_server() as engine:
        for killed in (False, True):
            client = await nats.connect(engine.url, connect_timeout=5)
            stream = client.jetstream()
            if not killed:
                await stream.add_stream(name="kept", subjects=["kept.>"])
            await stream.publish("kept.one", b"1")
            assert (await stream.stream_info("kept")).state.messages == 1 + killed
            await client.close()
            if not killed:
                engine.kill()
                engine.start()


async def test_redis_answers_and_hangs() -> None:
    with redis_server() as engine:
        client = Redis.from_url(engine.url, socket_timeout=0.2)
        assert await client.incr("count") == 1
        engine.pause()
        with pytest.raises(RedisTimeoutError):
            await client.incr("count")
        engine.resume()
        await client.aclose()
