"""Runs the Lua of pre-function and post-function for a request, each in a coroutine that waits where Kong's would."""

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lupa import luajit21 as lupa

Entity = dict[str, Any]
SANDBOX = Path(__file__).with_name("sandbox.lua")
FIRST_HEADERS = 100


@dataclass
class Exit(Exception):  # noqa: N818 - an answer
    """The Lua ended the request. `body` is a table's content, or ready text; an `error` has its request's id in it."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    is_error: bool = False


@dataclass
class Seen:
    """What the Lua sees of a request, and may change."""

    headers: list[tuple[str, str]]
    route: Any
    remote_addr: str
    vars: dict[str, str]
    shared: Any = None

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def clear_header(self, name: str) -> None:
        self.headers[:] = [header for header in self.headers if header[0].lower() != name.lower()]

    def set_header(self, name: str, value: str) -> None:
        self.clear_header(name)
        self.headers.append((name, value))


class Lua:
    """One worker's LuaJIT. `services` are Kong's, by name; `environment` is Kong's own."""

    def __init__(
        self, services: dict[str, Entity], environment: dict[str, str], is_trusted: Callable[[str], bool]
    ) -> None:
        self._runtime = lupa.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
        self.logged: list[str] = []
        table = self._runtime.table_from

        def vault(reference: str) -> str | None:
            found = re.fullmatch(r"{vault://env/([a-z-]+)}", reference)
            assert found is not None
            return environment.get(found[1].upper().replace("-", "_"))

        def service(name: str) -> Any:
            return table(services[name]) if name in services else None

        def re_match(text: str, pattern: str, flags: str) -> Any:
            assert set(flags) <= {"j", "o"}
            found = re.search(pattern, text)
            return table({0: found[0], 1: found[1]}) if found else None

        python = {
            "vault": vault, "service": service, "re_match": re_match, "is_trusted": is_trusted, "now": time.time,
            "log": self.logged.append, "decode_base64": _decode,
            "encode_base64": lambda text: base64.b64encode(text.encode("latin-1")).decode(),
            "sha1_bin": _sha1,
        }  # fmt: skip
        self._standin = self._runtime.execute(SANDBOX.read_text())(table(python))
        self._compiled: dict[str, Any] = {}

    async def run(self, source: str, seen: Seen) -> None:
        """Run a function for a request; raises Exit where it ends the request."""
        if source not in self._compiled:
            self._compiled[source] = self._standin.compile(source)
        request = self._view(seen)
        coroutine = self._compiled[source].coroutine()
        streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        answer: Any = None
        try:
            while True:
                self._standin.request = request
                try:
                    asked = coroutine.send(answer)
                except StopIteration:
                    return
                answer = await self._wait(asked, streams)
        finally:
            for _, writer in streams.values():
                writer.close()

    def _view(self, seen: Seen) -> Any:
        table = self._runtime.table_from
        if seen.shared is None:
            seen.shared = self._runtime.table()

        def get_headers(most: int | None) -> Any:
            kept = seen.headers if most == 0 else seen.headers[: most or FIRST_HEADERS]
            found: dict[str, list[str]] = {}
            for name, value in kept:
                found.setdefault(name.lower(), []).append(value)
            return table({name: values[0] if len(values) == 1 else table(values) for name, values in found.items()})

        variables = table(seen.vars)
        view = table(
            {
                "route": table({"tags": table(seen.route["tags"] or [])}), "remote_addr": seen.remote_addr,
                "vars": variables, "shared": seen.shared, "get_headers": get_headers,
                "clear_header": seen.clear_header, "set_header": seen.set_header,
            }
        )  # fmt: skip
        seen.vars = variables
        return view

    async def _wait(self, asked: Any, streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> Any:
        what, *given = asked
        try:
            match what, given:
                case "exit", [status, body, headers]:
                    raise Exit(status, body if isinstance(body, str) or body is None else dict(body), dict(headers))
                case "error", [status, message]:
                    raise Exit(status, {"message": message}, is_error=True)
                case "connect", [host, port, time_out_ms]:
                    async with asyncio.timeout(time_out_ms / 1000):
                        streams[len(streams)] = await asyncio.open_connection(host.strip("[]"), port)
                    return len(streams) - 1
                case "send", [handle, text]:
                    streams[handle][1].write(text.encode("latin-1"))
                    return True
                case "receive", [handle, pattern, time_out_ms]:
                    reader = streams[handle][0]
                    async with asyncio.timeout(time_out_ms / 1000):
                        got = await (
                            reader.readexactly(pattern) if isinstance(pattern, int) else reader.readuntil(b"\n")
                        )
                    text = got.decode("latin-1")
                    return text if isinstance(pattern, int) else text.removesuffix("\n").removesuffix("\r")
                case "close", [handle]:
                    streams.pop(handle)[1].close()
                    return True
        except (OSError, EOFError, asyncio.IncompleteReadError):
            return None
        raise AssertionError(what)


def _decode(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return None


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode("latin-1"), usedforsecurity=False).digest().decode("latin-1")
