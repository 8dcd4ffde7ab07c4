"""What a run works with: requests by row, who makes them, what was made for it, and what has to be undone.

Owns that everything is asked once that several promises need. Judges nothing: that is the promises' business.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from ghasi.contract.check import expecting
from ghasi.contract.check.asking import ANSWER_S, Answer, Http, describe
from ghasi.contract.check.options import Clock, Options
from ghasi.contract.check.pacing import Pace
from ghasi.contract.check.people import Person, cookie_header, cookie_of, get_id_token, read_person
from ghasi.contract.check.playing import Stage
from ghasi.contract.check.promises import Broken, NoAnswer, NotChecked
from ghasi.contract.row import Auth, Row, Upstream
from ghasi.contract.table import BY_OPERATION
from ghasi.contract.values import new_id

T = TypeVar("T")
_TRIES = 4
_SILENCES = 2
"""After how many requests without an answer a route is asked no more: each takes its time."""
_TOO_MANY, _GONE = 429, 404
_SUCCESS = range(200, 300)
_SECRET = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*|gh[ki]_\w+|whsec_[\w+/=]+")
SHORT_S = 1.5
"""Longer than a revoked key may still be believed."""
NO_BODY: Any = object()


class Bench:
    """One run against one deployment, of the promises `chosen`; `tell` hears what is waited for.

    `played` are the upstreams that the checker plays.
    """

    def __init__(
        self,
        options: Options,
        http: Http,
        clock: Clock,
        *,
        chosen: Iterable[str] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.options = options
        self.chosen = frozenset(chosen)
        self.http = http
        self.clock = clock
        self.pace = Pace(clock, tell)
        self.tell = tell
        self.played: frozenset[Upstream] = frozenset(options.upstreams)
        self._without: frozenset[Upstream] = frozenset(
            name for name, played in options.upstreams.items() if played.behind is None
        )
        self.left_behind: list[str] = []
        self.late: dict[str, str] = {}
        """What became of a row's request that had no answer within the contract's time, by operation."""
        self._silences: Counter[str] = Counter()
        self._stage = Stage(options.upstreams, clock)
        self._once: dict[str, asyncio.Task[Any]] = {}
        self._undo: list[tuple[Row, str, Person]] = []
        given = (
            options.token, options.other_token, options.api_key, options.refresh_cookie, options.expired_token,
            options.other_issuer_token,
        )  # fmt: skip
        self._secrets = {secret for secret in given if secret}

    def real(self, row: Row) -> bool:
        """Say whether a row is served by the deployment, and not by the checker in its name."""
        return self._without.isdisjoint(row.upstreams)

    @property
    def stage(self) -> Stage:
        """The upstreams that are played; raises NotChecked where there are none."""
        if not self.played:
            raise NotChecked("no --upstream NAME=HOST:PORT")
        return self._stage

    async def open(self) -> None:
        """Begin to play; raises CannotCheck."""
        await self._stage.open()

    # asking

    async def ask(
        self,
        row: Row,
        who: Person | None = None,
        *,
        id: str | Mapping[str, str] | None = None,  # noqa: A002 - a path's parameter is one
        query: str = "",
        json: Any = NO_BODY,
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        played: bool = False,
        paced: bool = True,
        within_s: float = ANSWER_S,
    ) -> Answer:
        """Ask for a row, as someone or as nobody; ids that are not given are such as nobody has.

        Waits for the limit's window where it is used up. Raises NotChecked where the checker itself would answer,
        unless it is said to be meant.
        """
        anybody = who is not None or row.auth is not Auth.BEARER
        if anybody and not played and not self.real(row):
            raise NotChecked(f"the checker itself plays {row.upstream}")
        given = [*headers]
        if who is not None:
            given.append(("Authorization", who.authorization))
        if json is not NO_BODY:
            body = _encode(json)
        if body is not None:
            given.append(("Content-Type", "application/json"))
        target = path_of(row, id) + query
        asking = partial(self.http.ask, row.method, target, headers=given, body=body, within_s=within_s)
        send = asking if played else partial(self._timed, row, asking)
        if row.limit is None or not anybody:
            return await send()
        window = (row.limit.name, who.account if who is not None and row.limit.per == "account" else "")
        for _ in range(_TRIES):
            if paced:
                await self.pace.room(window)
            answer = await send()
            self.pace.saw(window, answer)
            if answer.status != _TOO_MANY or not paced:
                break
            if not answer.headers.get("RateLimit-Reset", "").isdecimal():
                raise NotChecked("the limit is used up, and the answer does not say for how long")
        return answer

    async def _timed(self, row: Row, asking: Callable[[], Awaitable[Answer]]) -> Answer:
        """Note whether a row's answer came in time; raises NotChecked where it gave none several times."""
        if self._silences[row.operation] >= _SILENCES:
            raise NotChecked(f"{row.method} {row.path} gave no answer {_SILENCES} times")
        try:
            answer = await asking()
        except NoAnswer as none:
            self._silences[row.operation] += 1
            self.late.setdefault(row.operation, none.seen)
            raise NoAnswer(f"an answer to {row.method} {row.path}", none.seen) from none
        if answer.took_s > row.timeout_s:
            self.late.setdefault(row.operation, f"{describe(answer)} after {answer.took_s:.2f} s")
        return answer

    async def anonymous(self, row: Row) -> Answer:
        """Return the answer to a row asked without a token or cookie; asked once."""

        async def ask() -> Answer:
            return await self.ask(row, json=HARMLESS.get(row.operation, {}) if row.body is not None else NO_BODY)

        return await self.once(f"anonymous {row.operation}", ask)

    async def there(self, row: Row) -> None:
        """Return where a route is there to be checked; an extension need not be: then raises NotChecked."""
        if row.extension and self.options.extensions is None and expecting.is_no_route(await self.anonymous(row)):
            raise NotChecked("this extension is not there")

    async def once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return what `make` returns, or raise what it raises; it is called the first time only."""
        task = self._once.get(name)
        if task is None:
            task = self._once[name] = asyncio.ensure_future(_await(make()))
        made: T = await asyncio.shield(task)
        return made

    # who calls

    async def person(self) -> Person:
        """Return the person of account A; raises NotChecked where there is none that the deployment lets in."""
        return await self.once("person A", lambda: self._admit("A", self.options.token))

    async def other_person(self) -> Person:
        """Return the person of account B, likewise."""
        return await self.once("person B", self._other)

    async def signed_in(self, account: str) -> Answer:
        """Return the answer to the sign-in of a fresh person; raises NotChecked without an identity server."""
        return await self.once(f"sign-in {account}", self._sign_in)

    async def _sign_in(self) -> Answer:
        if self.options.identity is None:
            raise NotChecked("no --identity")
        id_token = await get_id_token(self.http, self.options.identity, self.options.identity_key)
        self._secrets.add(id_token)
        answer = await self.ask(BY_OPERATION["sign_in_with_firebase"], json={"id_token": id_token})
        self._secrets |= {value for value in (answer.find("access_token"), cookie_of(answer)) if value}
        return answer

    async def _admit(self, account: str, token: str | None) -> Person:
        person = await self.candidate(account, token)
        for operation in ("list_webhooks", "get_usage", "list_messages"):
            row = BY_OPERATION[operation]
            if self.real(row):
                answer = await self.ask(row, person)
                if answer.status not in _SUCCESS:
                    raise NotChecked(f"the token of account {account} is refused: {describe(answer)}")
                break
        return person

    async def candidate(self, account: str, token: str | None) -> Person:
        """Return a person who was not let in yet; raises NotChecked where there is none."""
        if token is not None:
            return read_person(account, token)
        if self.options.identity is None:
            raise NotChecked("no --token" if account == "A" else "no --other-token")
        answer = await self.signed_in(account)
        access_token = answer.find("access_token")
        if not isinstance(access_token, str):
            raise NotChecked(f"signing in failed: {describe(answer)}")
        return read_person(account, access_token)

    async def _other(self) -> Person:
        one, two = await self.person(), await self._admit("B", self.options.other_token)
        if one.claims.get("account_id") == two.claims.get("account_id"):
            raise NotChecked("both tokens are of one account")
        return two

    async def refresh_cookie(self) -> str:
        """Return the Cookie header of a refresh token that was not used; raises NotChecked."""
        if self.options.refresh_cookie is not None:
            return cookie_header(self.options.refresh_cookie)
        if self.options.identity is None:
            raise NotChecked("no --refresh-cookie")
        token = cookie_of(await self.signed_in("A" if self.options.token is None else "C"))
        if token is None:
            raise NotChecked("signing in set no refresh cookie")
        return cookie_header(token)

    # what is made

    async def make(self, row: Row, body: Any, undo: str, *, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Ask account A for something new, which is undone by the row `undo` at the end."""
        person = await self.person()
        answer = await self.ask(row, person, json=body, headers=headers)
        for name in ("key", "secret"):
            if isinstance(secret := answer.find(name), str):
                self._secrets.add(secret)
        if answer.status in _SUCCESS and isinstance(made := answer.find("id"), str):
            self._undo.append((BY_OPERATION[undo], made, person))
        return answer

    def undone(self, identifier: str) -> None:
        """Forget what a check has undone itself."""
        self._undo = [entry for entry in self._undo if entry[1] != identifier]

    async def clean_up(self) -> None:
        """Undo all that was made; what could not be is in `left_behind`."""
        making = [task for task in self._once.values() if task is not asyncio.current_task()]
        await asyncio.gather(*making, return_exceptions=True)  # where a run is broken off, something may be on its way
        while self._undo:
            row, identifier, person = self._undo.pop()
            try:
                answer = await self.ask(row, person, id=identifier)
                if answer.status in {row.success, _GONE}:
                    continue
                seen = describe(answer)
            except (Broken, NotChecked) as error:
                seen = str(error)
            self.left_behind.append(f"{row.method} {path_of(row, identifier)}: {seen}")

    async def close(self) -> None:
        """End what is still being asked, and play no more."""
        for task in self._once.values():
            task.cancel()
        await asyncio.gather(*self._once.values(), return_exceptions=True)
        await self._stage.close()

    def redact(self, text: str) -> str:
        """Return a text without the run's secrets, and without what looks like one."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "[hidden]")
        return _SECRET.sub("[hidden]", text)


HARMLESS: Mapping[str, Any] = {"sign_in_with_firebase": {"id_token": "not-a-token"}}
"""Bodies that are refused and change nothing, where `{}` is not the one to send."""


def path_of(row: Row, given: str | Mapping[str, str] | None = None) -> str:
    """Return a row's path with an id for all its parameters, one for each by name, or such as nobody has."""
    path = row.path
    for name in row.parameters:
        value = given if isinstance(given, str) else (given or {}).get(name)
        path = path.replace(f"{{{name}}}", value or str(new_id()))
    return path


def unique() -> str:
    """Return a text that nobody else has."""
    return uuid4().hex


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


async def _await(work: Awaitable[T]) -> T:
    return await work
