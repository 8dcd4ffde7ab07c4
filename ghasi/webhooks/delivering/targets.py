"""Endpoints as the worker needs them: URL parsed, secrets and headers opened, once a version.

Holds opened secrets in memory alone; never logs a URL, which may carry a secret.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

import msgspec
from yarl import URL

from ghasi.contract.shapes import Fifo
from ghasi.storage.sealing import Sealer
from ghasi.webhooks.delivering.opening import Destination
from ghasi.webhooks.delivering.signing import key_of
from ghasi.webhooks.model import SealedEndpoint

_MOST_KEPT = 20_000
_HEADERS = (("Content-Type", "application/json"),)


@dataclass(frozen=True)
class Target:
    """Where an endpoint's deliveries go and what signs them."""

    endpoint_id: UUID
    account_id: UUID
    version: int
    url: URL
    key: bytes
    previous_key: bytes | None
    previous_until: datetime | None
    headers: tuple[tuple[str, str], ...]
    rate_per_s: int | None = None
    fifo: Fifo | None = None

    @cached_property
    def destination(self) -> Destination:
        """Where its requests go, and what all of them begin with; none of the customer's headers is one of ours."""
        return Destination.of(self.url, (*_HEADERS, *self.headers))

    def keys(self) -> tuple[bytes, ...]:
        """Return the keys that sign now, the newest first."""
        if self.previous_key is None or self.previous_until is None or self.previous_until <= datetime.now(UTC):
            return (self.key,)
        return (self.key, self.previous_key)


class Targets:
    """Opens endpoints and remembers them by version."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._known: OrderedDict[UUID, Target] = OrderedDict()

    def of(self, endpoint: SealedEndpoint) -> Target:
        """Return an endpoint's target; raises SealError when the key for secrets is not the one it was sealed with."""
        known = self._known.get(endpoint.id)
        if known is not None and known.version == endpoint.version:
            return known
        headers = {} if endpoint.headers is None else msgspec.json.decode(self._open(endpoint.headers))
        target = Target(
            endpoint.id,
            endpoint.account_id,
            endpoint.version,
            URL(endpoint.url),
            key_of(self._open(endpoint.secret).decode()),
            None if endpoint.previous_secret is None else key_of(self._open(endpoint.previous_secret).decode()),
            endpoint.previous_until,
            tuple(headers.items()),
            endpoint.rate_per_s,
            endpoint.fifo,
        )
        self._known[endpoint.id] = target
        self._known.move_to_end(endpoint.id)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
        return target

    def _open(self, sealed: bytes) -> bytes:
        return self._sealer.open(sealed)


def by_account(endpoints: Sequence[SealedEndpoint]) -> dict[UUID, list[SealedEndpoint]]:
    """Group endpoints by account."""
    groups: dict[UUID, list[SealedEndpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.account_id, []).append(endpoint)
    return groups
