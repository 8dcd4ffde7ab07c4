"""Makes a running Kong's jwt credentials equal to the published keys, through its Admin API.

Owns the order: what is new is added before what is gone is taken away, so that no token that is valid is refused in
between. With a database it changes one credential at a time; without one, Kong takes its configuration as a whole, so
that is read, given the keys and sent back, and nothing else in it changes. A Kong that has the keys is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urljoin

import aiohttp
import msgspec
import yaml

from ghasi.contract.kong import KongError
from ghasi.contract.kong.entities import CONSUMER, Entity
from ghasi.contract.kong.keys import public_keys
from ghasi.contract.shapes import JsonWebKeySet

TIMEOUT_S = 30.0
ALGORITHM = "RS256"
_NOT_FOUND, _FIRST_ERROR = 404, 400
_SHOWN = 300
# a whole configuration takes PyYAML's own reader a second, and libyaml's a twentieth of that
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True, slots=True)
class Change:
    """Which kids were added (or had another key) and which were taken away."""

    added: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class Admin:
    """The Admin API at a URL; an async context manager. `header` is `Name: value`, sent with every request."""

    def __init__(self, url: str, header: str | None = None) -> None:
        name, _, value = (header or "").partition(":")
        self._url = url.rstrip("/") + "/"
        self._headers = {name.strip(): value.strip()} if header else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def sync(self, keys: JsonWebKeySet) -> Change:
        """Make the credentials equal to the keys, and say what that took; raises KongError."""
        wanted = public_keys(keys)
        if not wanted:
            raise KongError("the key set is empty: with it Kong would refuse every token")
        about = await self._ask("GET", "")
        without_database = about.get("configuration", {}).get("database") == "off"
        return await (self._sync_whole(wanted) if without_database else self._sync_each(wanted))

    async def _sync_each(self, wanted: Mapping[str, str]) -> Change:
        if await self._ask("GET", f"consumers/{CONSUMER}", missing=True) is None:
            await self._ask("PUT", f"consumers/{CONSUMER}", {"username": CONSUMER})
        held = {entity["key"]: entity for entity in await self._list(f"consumers/{CONSUMER}/jwt")}
        change = _change(held, wanted)
        for kid in change.added:
            # a kid that is a UUID would be taken for the credential's id: the body says it again
            credential = {"key": kid, "algorithm": ALGORITHM, "rsa_public_key": wanted[kid]}
            id_or_key = held[kid]["id"] if kid in held else quote(kid, safe="")
            await self._ask("PUT", f"consumers/{CONSUMER}/jwt/{id_or_key}", credential)
        for kid in change.removed:
            await self._ask("DELETE", f"consumers/{CONSUMER}/jwt/{held[kid]['id']}", missing=True)
        return change

    async def _sync_whole(self, wanted: Mapping[str, str]) -> Change:
        exported = await self._ask("GET", "config")
        try:
            document = yaml.load(exported["config"], _Loader)  # noqa: S506 - a safe one
            consumer = next(item for item in document.get("consumers", []) if item.get("username") == CONSUMER)
        except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise KongError("Kong's configuration can't be read") from error
        except StopIteration:
            raise KongError(f"Kong has no consumer {CONSUMER}: load what `ghasi contract kong` prints first") from None
        owners = {consumer.get("id"), CONSUMER}
        secrets = document.get("jwt_secrets") or []
        ours = [item for item in secrets if item.get("consumer") in owners]
        held = {item["key"]: item for item in ours}
        change = _change(held, wanted)
        if change:
            kept = [item for item in ours if item["key"] in wanted and item["key"] not in change.added]
            document["jwt_secrets"] = [
                *(item for item in secrets if item not in ours),
                *kept,
                *(_credential(kid, wanted[kid], consumer.get("id") or CONSUMER) for kid in change.added),
            ]
            await self._ask("POST", "config", {"config": yaml.dump(document, Dumper=_Dumper, sort_keys=False)})
        return change

    async def _list(self, path: str) -> list[Entity]:
        found: list[Entity] = []
        following: str | None = path
        while following:
            page = await self._ask("GET", following)
            found += page["data"]
            following = page.get("next")
        return found

    async def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        """Send one request; returns its JSON, or None for a 404 where something may be `missing`; raises KongError."""
        assert self._session is not None  # noqa: S101 - a context manager
        url = urljoin(self._url, path.lstrip("/"))
        try:
            async with self._session.request(method, url, json=body) as answer:
                content = await answer.read()
                if missing and answer.status == _NOT_FOUND:
                    return None
                if answer.status >= _FIRST_ERROR:
                    said = content.decode("utf-8", "replace")[:_SHOWN]
                    raise KongError(f"Kong's Admin API answers {answer.status} to {method} {url}: {said}")
                return msgspec.json.decode(content) if content else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise KongError(f"Kong's Admin API at {url}: {str(error) or type(error).__name__}") from error


def _change(held: Mapping[str, Entity], wanted: Mapping[str, str]) -> Change:
    def same(kid: str) -> bool:
        entity = held.get(kid)
        return (
            entity is not None
            and entity.get("algorithm") == ALGORITHM
            and str(entity.get("rsa_public_key")).split() == wanted[kid].split()
        )

    added = tuple(kid for kid in sorted(wanted) if not same(kid))
    return Change(added, tuple(kid for kid in sorted(held) if kid not in wanted))


def _credential(kid: str, pem: str, consumer: str) -> Entity:
    return {"key": kid, "algorithm": ALGORITHM, "rsa_public_key": pem, "consumer": consumer}
