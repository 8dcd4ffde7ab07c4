"""The contract's table as Kong's entities: services, routes, plugins, an upstream, a consumer and its keys.

Owns which Kong service a row belongs to, how its path and its callers are matched, and where its limit is counted.
Knows Kong's schema, and neither YAML nor the Admin API.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from ghasi.contract.cross_origin import ALLOWED_HEADERS, DEFAULT_PORTS, EXPOSED_HEADERS, MAX_AGE_S, origin_of
from ghasi.contract.kong import KongError
from ghasi.contract.kong.keys import DEFAULT_PORT, credentials_of
from ghasi.contract.row import MAX_BODY_BYTES, READ_LIMIT, Auth, LimitGroup, Row, Upstream
from ghasi.contract.shapes import JsonWebKeySet
from ghasi.contract.table import ROWS
from ghasi.settings import Settings

Entity = dict[str, Any]
FORMAT_VERSION = "3.0"
CONSUMER = "ghasi-user"
"""The consumer that owns every published key; upstreams see its name as X-Consumer-Username."""
READS_UPSTREAM = "message-reads"
CLIENT_HEADER, ACCOUNT_HEADER, CORRELATION_HEADER = "X-Ghasi-Client", "X-Account-Id", "X-Correlation-Id"
API_KEY_HEADER = r"~*^bearer\s+ghk_"
"""Kong compares header values in lower case, and lowers the pattern too: nothing in it may mean something else then."""
EXACT_PRIORITY, PATTERN_PRIORITY = 10, 0
NEVER_REACHED = 1_000_000_000
"""A limit for rows that have none: an instance of their own keeps them out of the global one, which counts reads."""
SERVING_WEIGHT, STANDBY_WEIGHT = 1000, 1
"""least-connections: the second target is asked first only once the first has a thousand connections open."""

REDIS_TIMEOUT_MS = 100
"""How long a request waits for a counter: a Redis that hangs must not hold up what it can't count."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream is, as Kong has it."""

    protocol: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address as one text."""
        return f"{self.protocol}://{self.host}:{self.port}{self.path}"


def address_of(upstream: Upstream, settings: Settings) -> Address:
    """Return where an upstream is: as its setting says, by default under its own name."""
    url = getattr(settings, f"{upstream.value.replace('-', '_')}_url") or f"http://{upstream.value}:{DEFAULT_PORT}"
    parts = urlsplit(url)
    host = parts.hostname or ""
    return Address(
        protocol=parts.scheme,
        host=f"[{host}]" if ":" in host else host,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        path=parts.path.rstrip("/"),
    )


def service_name(row: Row) -> str:
    """Return the Kong service of a row: one for each upstream, limit group, time-out and size.

    Time-outs and the upstream belong to Kong's services, and a limiter counts within the service it is attached to.
    """
    target = READS_UPSTREAM if len(row.upstreams) > 1 else row.upstream.value
    group = "unlimited" if row.limit is None else row.limit.name.replace("_", "-")
    named = [target] if target.endswith(f"-{group}") else [target, group]
    return "-".join([*named, f"{row.timeout_s:g}s"])


def services(settings: Settings) -> list[Entity]:
    """Return the services with their routes and the plugins that are attached to either, in the table's order."""
    rows = sorted(ROWS, key=lambda row: ([*Upstream].index(row.upstream), service_name(row)))
    return [_service(name, list(members), settings) for name, members in groupby(rows, key=service_name)]


def preflights() -> Entity:
    """Return the route of all CORS preflights: it has no service, the cors plugin answers."""
    return {
        "name": "preflights",
        "tags": ["ghasi:preflight"],
        "methods": ["OPTIONS"],
        "paths": list(dict.fromkeys(path_of(row) for row in ROWS)),
        "regex_priority": EXACT_PRIORITY,
        "strip_path": False,
    }


def upstreams(settings: Settings) -> list[Entity]:
    """Return the upstream of the message reads: message-store serves, sms-orchestrator when it can't be had.

    A target is healthy while it can be reached and answers; what ails a service, it says itself.
    """
    rows = [row for row in ROWS if len(row.upstreams) > 1]
    names = dict.fromkeys(upstream for row in rows for upstream in row.upstreams)
    weights = [SERVING_WEIGHT, *[STANDBY_WEIGHT] * (len(names) - 1)]
    addresses = [address_of(upstream, settings) for upstream in names]
    if len({(address.protocol, address.path) for address in addresses}) > 1:
        raise KongError("GHASI_MESSAGE_STORE_URL and GHASI_SMS_ORCHESTRATOR_URL must have the same scheme and path")
    return [
        {
            "name": READS_UPSTREAM,
            "algorithm": "least-connections",
            "healthchecks": {
                "active": {
                    "type": addresses[0].protocol,
                    "http_path": f"{addresses[0].path}/healthz",
                    "timeout": 1,
                    "healthy": {"interval": 2, "successes": 1, "http_statuses": [200, 503]},
                    "unhealthy": {"interval": 2, "tcp_failures": 2, "timeouts": 2, "http_failures": 0},
                },
                "passive": {
                    "type": addresses[0].protocol,
                    "unhealthy": {"tcp_failures": 2, "timeouts": 0, "http_failures": 0},
                },
            },
            "targets": [
                {"target": f"{address.host}:{address.port}", "weight": weight}
                for address, weight in zip(addresses, weights, strict=True)
            ],
        }
    ]


def consumers(keys: JsonWebKeySet | None) -> list[Entity]:
    """Return the consumer whose jwt credentials are the published keys."""
    return [{"username": CONSUMER} | ({"jwt_secrets": credentials_of(keys)} if keys is not None else {})]


def plugins(settings: Settings, *, before: str, after: str) -> list[Entity]:
    """Return the plugins of every route; `before` and `after` are the Lua that runs around them."""
    return [
        {"name": "pre-function", "config": {"access": [before]}},
        {
            "name": "cors",
            "config": {
                "origins": [_as_regex(origin_of(settings.public_portal_url))],
                "methods": sorted({row.method for row in ROWS}),
                "headers": list(ALLOWED_HEADERS),
                "exposed_headers": list(EXPOSED_HEADERS),
                "credentials": True,
                "max_age": MAX_AGE_S,
            },
        },
        {"name": "request-size-limiting", "config": _size(MAX_BODY_BYTES)},
        {"name": "rate-limiting", "config": _limiter(READ_LIMIT, settings)},
        {
            "name": "correlation-id",
            "config": {"header_name": CORRELATION_HEADER, "generator": "uuid", "echo_downstream": True},
        },
        {"name": "post-function", "config": {"access": [after]}},
    ]


def path_of(row: Row) -> str:
    """Return a row's path as Kong's anchored regex: it begins with ~, and Kong itself anchors the beginning."""
    return "~" + re.sub(r"{\w+}", "[^/]+", row.path.replace(".", r"\.")) + "$"


def _service(name: str, rows: Sequence[Row], settings: Settings) -> Entity:
    first = rows[0]
    address = address_of(first.upstream, settings)
    several = len(first.upstreams) > 1
    time_out_ms = round(first.upstream_timeout_s * 1000)
    entity: Entity = {
        "name": name,
        "protocol": address.protocol,
        "host": READS_UPSTREAM if several else address.host,
        "port": address.port,
    }
    if address.path:
        entity["path"] = address.path
    entity |= {
        "connect_timeout": time_out_ms,
        "write_timeout": time_out_ms,
        "read_timeout": time_out_ms,
        "retries": len(first.upstreams) - 1,
    }
    if own := list(_service_plugins(first, settings)):
        entity["plugins"] = own
    return entity | {"routes": [route for row in rows for route in _routes(row)]}


def _service_plugins(row: Row, settings: Settings) -> Iterable[Entity]:
    if row.max_body_bytes != MAX_BODY_BYTES:
        yield {"name": "request-size-limiting", "config": _size(row.max_body_bytes)}
    if row.limit is None:
        unlimited = {"minute": NEVER_REACHED, "policy": "local", "limit_by": "service", "hide_client_headers": True}
        yield {"name": "rate-limiting", "config": unlimited}
    elif row.limit is not READ_LIMIT:
        yield {"name": "rate-limiting", "config": _limiter(row.limit, settings)}


def _routes(row: Row) -> Iterable[Entity]:
    name = row.operation.replace("_", "-")
    matched: Entity = {
        "methods": [row.method],
        "paths": [path_of(row)],
        "regex_priority": PATTERN_PRIORITY if row.parameters else EXACT_PRIORITY,
        "strip_path": False,
    }
    if row.auth is not Auth.BEARER:
        yield {"name": name, "tags": ["ghasi:open"]} | matched
        return
    yield {"name": name, "tags": ["ghasi:user-token"]} | matched | {"plugins": [{"name": "jwt", "config": dict(_JWT)}]}
    scope = [f"scope:{row.scope}"] if row.scope else []
    tags = ["ghasi:api-key", *scope]
    yield {"name": f"{name}.api-key", "tags": tags} | matched | {"headers": {"authorization": [API_KEY_HEADER]}}


_JWT: Mapping[str, Any] = {
    "key_claim_name": "kid",
    "claims_to_verify": ["exp"],
    "uri_param_names": [],
    "cookie_names": [],
}


def _limiter(group: LimitGroup, settings: Settings) -> Entity:
    config: Entity = {
        "minute": getattr(settings, group.setting),
        "limit_by": "header",
        "header_name": CLIENT_HEADER if group.per == "ip" else ACCOUNT_HEADER,
        "policy": "local",
        "fault_tolerant": True,
    }
    return config | (_redis(settings.redis_url) if settings.redis_url else {})


def _redis(url: str) -> Entity:
    """Return the shared counters; a password is Kong's to read, from GHASI_REDIS_PASSWORD."""
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise KongError("GHASI_REDIS_URL must be redis://host:port/database or rediss://..., for Kong")
    number = parts.path.strip("/")
    if number and not number.isdigit():
        raise KongError("GHASI_REDIS_URL: the path must be the number of a database")
    redis: Entity = {
        "host": parts.hostname, "port": parts.port or 6379, "database": int(number or 0), "timeout": REDIS_TIMEOUT_MS,
    }  # fmt: skip
    if parts.scheme == "rediss":
        redis |= {"ssl": True, "ssl_verify": True, "server_name": parts.hostname}
    if parts.username:
        redis["username"] = parts.username
    if parts.password:
        redis["password"] = "{vault://env/ghasi-redis-password}"  # noqa: S105 - where it is, not what it is
    return {"policy": "redis", "redis": redis}


def _size(most_bytes: int) -> Entity:
    return {"allowed_payload_size": most_bytes, "size_unit": "bytes"}


def _as_regex(origin: str) -> str:
    """Write an origin as a pattern: a plain one Kong would allow to every page, whatever its own origin is."""
    return "^" + re.sub(r"([.\[\]])", r"\\\1", origin) + "$"
