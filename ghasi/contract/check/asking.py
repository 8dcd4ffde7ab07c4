"""Sends one request to the deployment and takes its whole answer, as it is: nothing is followed, kept or sent again.

Owns the connections. Knows nothing of the contract.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ghasi.contract.check.options import Clock
from ghasi.contract.check.promises import Broken, CannotCheck, NoAnswer

ANSWER_S = 15.0
"""What an answer may take where no time-out is promised."""
KEEP_ALIVE_S = 3.0
"""Less than servers keep idle connections for, so that a request seldom meets a closed one."""
_ERROR = 400
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `took_s` is from sending to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    took_s: float

    @property
    def media(self) -> str:
        """The body's media type without parameters, in lower case; empty where none is given."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the body decoded; raises Broken where it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Broken("a JSON body", describe(self)) from None

    def find(self, name: str) -> Any:
        """Return a member of a JSON object, or None where the body is none or lacks it."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value.get(name) if isinstance(value, dict) else None


def describe(answer: Answer) -> str:
    """Say what an answer was without showing what is in it: of an error its message or code, else which members."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        if not answer.body:
            return f"{answer.status} without a body"
        return f"{answer.status} with {answer.media or 'a body of no type'}"
    if not isinstance(value, dict):
        return f"{answer.status} with a JSON {type(value).__name__}"
    if answer.status >= _ERROR:
        for name in ("code", "message", "exp"):
            if isinstance(value.get(name), str):
                return f"{answer.status} {json.dumps({name: value[name][:_LONGEST_SHOWN]}, ensure_ascii=False)}"
    return f"{answer.status} with JSON of {', '.join(map(str, list(value)[:6])) or 'no members'}"


class Http:
    """Requests to one address, over kept-alive connections. An async context manager."""

    def __init__(self, base: str, clock: Clock) -> None:
        self._base = base
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self.asked = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "ghasi-contract-check"},
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        within_s: float = ANSWER_S,
    ) -> Answer:
        """Send a request to a path and query of the address; raises NoAnswer.

        A name may come several times in `headers`. `within_s` is by the run's clock.
        """
        if self._session is None:
            raise RuntimeError("not entered")
        self.asked += 1
        given: CIMultiDict[str] = CIMultiDict(headers)
        began = self._clock.monotonic()
        url = target if target.startswith(("http://", "https://")) else self._base + target
        try:
            async with (
                self._clock.deadline(within_s),
                self._session.request(
                    method, URL(url, encoded=True), headers=given, data=body, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
                took_s = self._clock.monotonic() - began
                return Answer(response.status, response.headers, content, took_s)
        except TimeoutError:
            raise NoAnswer("an answer", f"none within {within_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer("an answer", f"the connection failed: {type(error).__name__}") from error

    async def must_reach(self) -> None:
        """Raise CannotCheck where nothing answers HTTP at the address."""
        try:
            await self.ask("GET", "/")
        except NoAnswer as error:
            cause = error.__cause__
            said = " ".join(str(cause or error.seen).split())
            raise CannotCheck(f"{self._base} cannot be reached: {said}") from error
