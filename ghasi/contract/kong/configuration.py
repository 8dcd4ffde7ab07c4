"""The configuration as text: its sections, what they say to who reads them, and the Lua within."""

from importlib.resources import files

from ghasi.contract.kong import KongError, entities, writing
from ghasi.contract.kong.checking import faults_of
from ghasi.contract.kong.entities import Entity
from ghasi.contract.row import AUTH_LIMIT, Upstream
from ghasi.contract.shapes import JsonWebKeySet
from ghasi.contract.table import ROWS
from ghasi.settings import Settings

_SERVICES = """\
One service for each upstream, limit group, time-out and size of body. Time-outs are the contract's less 250 ms, so \
that a slow upstream is a 504 and not a dead client. A route with the tag ghasi:api-key is the same row for API keys."""
_PREFLIGHTS = "CORS preflights of all paths; another OPTIONS request is a 404."
_UPSTREAMS = "The two reads of messages: sms-orchestrator answers the same when message-store can't be had."
_PLUGINS = """\
For every route. The limiter here counts reads, which span services: one window for each account. Services with \
another limit have an instance of their own, which alone applies there."""
_CONSUMERS = """\
Every published key is a credential of this consumer. A key set belongs to an installation: `ghasi contract kong \
--keys URL` fills it in, `ghasi kong sync` keeps it so through the Admin API. By hand:
  jwt_secrets:
    - key: the key's kid
      algorithm: RS256
      rsa_public_key: the key, as PEM"""


def document(settings: Settings, keys: JsonWebKeySet | None = None) -> Entity:
    """Return the configuration; raises KongError for settings that can't be said in it."""
    return {
        "_format_version": entities.FORMAT_VERSION,
        "_transform": True,
        "services": entities.services(settings),
        "routes": [entities.preflights()],
        "upstreams": entities.upstreams(settings),
        "consumers": entities.consumers(keys),
        "plugins": entities.plugins(settings, before=lua(settings), after=_read("refusal.lua")),
    }


def configuration(settings: Settings, keys: JsonWebKeySet | None = None) -> str:
    """Return the configuration as YAML; raises KongError for settings that can't be said in it."""
    made = document(settings, keys)
    if faults := faults_of(made):
        raise KongError("the configuration is wrong: " + "; ".join(faults))
    head = {name: made[name] for name in ("_format_version", "_transform")}
    return writing.write(
        [
            (_HEAD, head),
            (_SERVICES, {"services": made["services"]}),
            (_PREFLIGHTS, {"routes": made["routes"]}),
            (_UPSTREAMS, {"upstreams": made["upstreams"]}),
            (_CONSUMERS, {"consumers": made["consumers"]}),
            (_PLUGINS, {"plugins": made["plugins"]}),
        ]
    )


_HEAD = """\
Ghasi behind Kong 3.9. Written by `ghasi contract kong`; docs/kong.md says how to run it and what differs.
Secrets are not in here: Kong reads GHASI_UPSTREAM_SECRET, GHASI_PORTAL_SECRET and GHASI_REDIS_PASSWORD from its \
environment, and GHASI_AUTH_SERVICE_URL where the Lua should not look at the service below."""


def lua(settings: Settings) -> str:
    """Return the source of the pre-function: the constants, then caller.lua."""
    constants = {
        "ISSUER": settings.issuer,
        "AUTH_SERVICE": entities.address_of(Upstream.AUTH, settings).url,
        "AUTH_SERVICE_NAME": next(entities.service_name(row) for row in ROWS if row.limit is AUTH_LIMIT),
    }
    lines = [f"local {name} = {writing.lua_string(value)}\n" for name, value in constants.items()]
    return "".join([*lines, "\n", _read("caller.lua")])


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
