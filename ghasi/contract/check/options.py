"""What a run is told: where the deployment is, who calls, what may be done, and how it differs from the contract.

Owns how flags are read. Asks nobody.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ghasi.contract.check.promises import CannotCheck
from ghasi.contract.row import LIMIT_GROUPS, LimitGroup, Upstream

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:,\[\]]+)):(?P<port>[0-9]{1,5})(?:,(?P<behind>.+))?")
_MOST_PORT = 65535
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Played:
    """Where the checker plays an upstream; what is not its own request goes on to the real one `behind`, if any."""

    host: str
    port: int
    behind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to check a deployment; `url` is the API's address.

    `extensions`: True, they have to be there; False, they are not looked at; None, those that are there are checked.
    `limits` are requests a minute by group where they differ from the contract's. `upstreams` are played by the
    checker itself, at addresses where the gateway looks for them.
    """

    url: str
    token: str | None = None
    other_token: str | None = None
    api_key: str | None = None
    refresh_cookie: str | None = None
    expired_token: str | None = None
    other_issuer_token: str | None = None
    identity: str | None = None
    identity_key: str = "local"
    origin: str | None = None
    issuer: str = "https://api.ghasi.io"
    to: str = "+46700000010"
    safe: bool = False
    extensions: bool | None = None
    only: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    upstreams: Mapping[Upstream, Played] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no URL and no JWT: a secret that is not there would pass for one; raises CannotCheck."""
        for name, url in (("URL", self.url), ("--identity", self.identity), ("--origin", self.origin)):
            if url is not None and not _is_http(url):
                raise CannotCheck(f"{name}: {url!r} is no URL such as https://host:port")
        for name in ("token", "other_token", "expired_token", "other_issuer_token"):
            token = getattr(self, name)
            if token is not None and not _JWT.fullmatch(token):
                raise CannotCheck(f"--{name.replace('_', '-')}: it is {'no JWT' if token else 'empty'}")

    @property
    def base(self) -> str:
        """The API's address without a trailing slash."""
        return self.url.rstrip("/")

    def limit(self, group: LimitGroup) -> int:
        """Return how many requests a minute a group is promised."""
        return self.limits.get(group.name, group.default)


class Clock:
    """The time of day, durations and waiting."""

    def time(self) -> float:
        """Return the time since 1970 in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some point, for durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for a limit's window to end."""
        await asyncio.sleep(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for the deployment to do something."""
        await asyncio.sleep(seconds)

    def deadline(self, seconds: float) -> asyncio.Timeout:
        """Return what raises TimeoutError around work that takes longer."""
        return asyncio.timeout(seconds)


def read_limits(texts: tuple[str, ...]) -> dict[str, int]:
    """Read `sends=1000` and the like; raises CannotCheck."""
    known = {group.name for group in LIMIT_GROUPS}
    limits = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in known or not number.isdecimal() or int(number) < 1:
            raise CannotCheck(f"--limit: {text!r} is not GROUP=NUMBER with one of {', '.join(sorted(known))}")
        limits[name] = int(number)
    return limits


def read_upstreams(texts: tuple[str, ...]) -> dict[Upstream, Played]:
    """Read `webhook-dispatcher=127.0.0.1:9001`, with `,http://...` of the real one or without; raises CannotCheck."""
    upstreams: dict[Upstream, Played] = {}
    for text in texts:
        name, _, address = text.partition("=")
        found = _ADDRESS.fullmatch(address)
        if name not in set(Upstream) or found is None or int(found["port"]) > _MOST_PORT:
            raise CannotCheck(f"--upstream: {text!r} is not NAME=HOST:PORT[,URL] with one of {', '.join(Upstream)}")
        if found["behind"] is not None and not _is_http(found["behind"]):
            raise CannotCheck(f"--upstream: {found['behind']!r} is no URL such as http://host:port")
        upstreams[Upstream(name)] = Played(found["v6"] or found["host"], int(found["port"]), found["behind"])
    return upstreams


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
