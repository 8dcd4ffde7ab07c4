"""A way to a server that can be cut: then nothing passes and nobody is told, as when a network falls apart."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator


class Partition:
    """Passes octets on to a port of this machine, in a thread of its own; `port` is where it listens."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._ended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Let nothing pass, either way; connections stay, new ones are taken and get no answer."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        """Let everything pass again, what was kept back too."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def _serve(self) -> None:
        self._open.set()
        server = await asyncio.start_server(self._take, sock=self._listener)
        async with server:
            await self._ended.wait()
        for writer in self._writers:
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._open.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(back)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            self._writers.discard(back)
        writer.close()
        self._writers.discard(writer)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while piece := await source.read(65536):
                await self._open.wait()
                sink.write(piece)
                await sink.drain()
        sink.close()


@contextlib.contextmanager
def partition(target: int) -> Iterator[Partition]:
    """Run a way to a port until the block ends."""
    way = Partition(target)
    way._thread.start()
    try:
        yield way
    finally:
        way._loop.call_soon_threadsafe(way._ended.set)
        way._thread.join(10)
        way._loop.close()
