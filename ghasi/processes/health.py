"""Whether a process and its neighbours answer: the checks behind GET /healthz, on a Unix socket and on the API port.

Every check gets one second and all run at once. A state is `ok` or says in a few words what is wrong; it never holds
an error's text, for /healthz is public.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from ghasi.contract.serving import JSON, Receive, Scope, Send, answer

CHECK_TIMEOUT_S = 1.0
OK, NO_ANSWER = "ok", "no answer"
Check = Callable[[], Awaitable[Mapping[str, str] | None]]
"""Raises when its part does not work; may give the states of several parts."""


Health = dict[str, str]
"""What /healthz says: the state of every part by name, and `status`, which is `ok` when all of them are."""


class HealthChecks:
    """Runs the checks that `checks` returns; requests that come while they run share one run."""

    def __init__(self, checks: Callable[[], Mapping[str, Check]]) -> None:
        self._checks = checks
        self._running: asyncio.Task[Health] | None = None

    async def run(self) -> Health:
        """Run all checks at once; takes at most a second."""
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
        return await asyncio.shield(self._running)

    async def _run(self) -> Health:
        states = await asyncio.gather(*(_state(name, check) for name, check in self._checks().items()))
        parts = {name: state for part in states for name, state in part.items()}
        return {"status": OK if all(state == OK for state in parts.values()) else "unavailable", **parts}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve /healthz as an ASGI app of its own."""
        if scope["type"] != "http":
            return
        if scope["path"] != "/healthz":
            await answer(send, 404, None, b"")
            return
        await answer_health(send, await self.run())


async def answer_health(send: Send, health: Health) -> None:
    """Send 200 when everything answers, else 503, with the parts' states."""
    status = 200 if health["status"] == OK else 503
    await answer(send, status, JSON, msgspec.json.encode(health), [(b"cache-control", b"no-store")])


async def _state(name: str, check: Check) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            states = await check()
    except TimeoutError:
        return {name: NO_ANSWER}
    except OSError:
        return {name: "unreachable"}
    except Exception as error:  # noqa: BLE001 - whatever it is, the part does not work
        return {name: type(error).__name__}
    return {name: OK} if states is None else states


def neighbour(part: str, run_folder: Path) -> Check:
    """Make the check of another process of the same run: by its Unix socket, with all that it checks itself."""

    async def check() -> Mapping[str, str]:
        reader, writer = await asyncio.open_unix_connection(str(socket_path(run_folder, part)))
        health = await _ask(reader, writer)
        return {part: OK if health["status"] == OK else _first_fault(health)}

    return check


async def ask(host: str, port: int) -> Health:
    """Get /healthz of a port of this machine; raises OSError, TimeoutError, ValueError or msgspec.MsgspecError."""
    async with asyncio.timeout(2 * CHECK_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port)
        return await _ask(reader, writer)


def socket_path(run_folder: Path, part: str) -> Path:
    """Where a process of a run serves its health."""
    return run_folder / f"{part}.sock"


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Health:
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: ghasi\r\nConnection: close\r\n\r\n")
        raw = await reader.read()
    finally:
        writer.close()
    body = raw.partition(b"\r\n\r\n")[2]
    health = msgspec.json.decode(body, type=Health)
    if "status" not in health:
        raise ValueError("no health report")
    return health


def _first_fault(health: Health) -> str:
    return next(
        (f"{name}: {state}" for name, state in health.items() if name != "status" and state != OK), "unavailable"
    )
