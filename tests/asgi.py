"""Drives an ASGI app directly: one request in, one whole answer out."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from ghasi.contract.serving import Asgi


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


async def request(
    app: Asgi,
    method: str,
    target: str,
    *,
    headers: dict[str, str] | Iterable[tuple[str, str]] = (),
    json: Any = None,
    body: bytes | None = None,
    client: str = "127.0.0.1",
) -> Answer:
    """Send one request; `json` is encoded, `body` goes as it is."""
    path, _, query = target.partition("?")
    raw = [
        (key.lower().encode(), value.encode())
        for key, value in (headers.items() if isinstance(headers, dict) else headers)
    ]
    content = body if body is not None else b"" if json is None else msgspec.json.encode(json)
    if content:
        raw.append((b"content-length", str(len(content)).encode()))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": raw, "client": (client, 50000), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    start: dict[str, Any] = {}
    chunks: list[bytes] = []

    unread = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in unread:
            return message
        return await asyncio.get_running_loop().create_future()  # the client stays

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    decoded = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in start["headers"]]
    return Answer(start["status"], decoded, b"".join(chunks))
