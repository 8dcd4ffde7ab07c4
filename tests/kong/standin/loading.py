"""What Kong makes of a declarative file: it refuses fields that it does not know, and fills in defaults."""

from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml

Entity = dict[str, Any]
TOP = {"_format_version", "_transform", "services", "routes", "upstreams", "consumers", "plugins", "jwt_secrets"}
FIELDS: dict[str, Entity] = {
    # name: default, or ... where the field is required
    "services": {
        "name": None, "protocol": "http", "host": ..., "port": 80, "path": None, "retries": 5, "connect_timeout": 60000,
        "write_timeout": 60000, "read_timeout": 60000, "enabled": True, "tags": None,
    },
    "routes": {
        "name": None, "protocols": ["http", "https"], "methods": None, "hosts": None, "paths": None, "headers": None,
        "regex_priority": 0, "strip_path": True, "preserve_host": False, "request_buffering": True,
        "response_buffering": True, "tags": None, "https_redirect_status_code": 426, "path_handling": "v0",
    },
    "upstreams": {"name": ..., "algorithm": "round-robin", "healthchecks": {}, "slots": 10000, "tags": None},
    "targets": {"target": ..., "weight": 100, "tags": None},
    "consumers": {"username": None, "custom_id": None, "tags": None},
    "jwt_secrets": {"key": None, "secret": None, "rsa_public_key": None, "algorithm": "HS256", "tags": None},
    "plugins": {"name": ..., "config": {}, "enabled": True, "protocols": None, "instance_name": None, "tags": None},
}  # fmt: skip
FUNCTIONS = {name: [] for name in ("certificate", "rewrite", "access", "header_filter", "body_filter", "log")}
CONFIGS: dict[str, Entity] = {
    "pre-function": FUNCTIONS,
    "post-function": FUNCTIONS,
    "correlation-id": {"header_name": "Kong-Request-ID", "generator": "uuid#counter", "echo_downstream": False},
    "cors": {
        "origins": None, "headers": None, "exposed_headers": None, "methods": None, "max_age": None,
        "credentials": False, "preflight_continue": False, "private_network": False,
    },
    "jwt": {
        "uri_param_names": ["jwt"], "cookie_names": [], "header_names": ["authorization"], "key_claim_name": "iss",
        "secret_is_base64": False, "claims_to_verify": None, "anonymous": None, "run_on_preflight": True,
        "maximum_expiration": 0, "realm": None,
    },
    "request-size-limiting": {
        "allowed_payload_size": 128, "size_unit": "megabytes", "require_content_length": False,
    },
    "rate-limiting": {
        "second": None, "minute": None, "hour": None, "day": None, "month": None, "year": None, "limit_by": "consumer",
        "header_name": None, "path": None, "policy": "local", "fault_tolerant": True, "hide_client_headers": False,
        "error_code": 429, "error_message": "API rate limit exceeded", "sync_rate": -1, "redis": {},
    },
}  # fmt: skip
PRIORITIES = {
    "pre-function": 1_000_000, "correlation-id": 100_001, "cors": 2000, "jwt": 1450, "request-size-limiting": 951,
    "rate-limiting": 910, "post-function": -1000,
}  # fmt: skip
EMPTY_ID = "00000000-0000-0000-0000-000000000000"


class Refused(Exception):  # noqa: N818 - what Kong says at its start
    """The file is not one that Kong loads."""


@dataclass
class Loaded:
    routes: list[Entity] = field(default_factory=list)
    services: dict[str, Entity] = field(default_factory=dict)
    upstreams: dict[str, Entity] = field(default_factory=dict)
    plugins: list[Entity] = field(default_factory=list)
    secrets: dict[str, Entity] = field(default_factory=dict)


def load(text: str) -> Loaded:
    """Load a file as KONG_DECLARATIVE_CONFIG or POST /config do."""
    document = yaml.load(text, yaml.CSafeLoader)
    if unknown := set(document) - TOP:
        raise Refused(f"unknown field {unknown}")
    if document["_format_version"] not in {"1.1", "2.1", "3.0"}:
        raise Refused("_format_version")
    loaded = Loaded()
    for service in document.get("services", []):
        made = _entity("services", service, but=("routes", "plugins"))
        loaded.services[made["name"]] = made
        _plugins(loaded, service, service=made)
        for route in service.get("routes", []):
            _route(loaded, route, made)
    for route in document.get("routes", []):
        _route(loaded, route, None)
    for upstream in document.get("upstreams", []):
        made = _entity("upstreams", upstream, but=("targets",))
        made["targets"] = [_entity("targets", target) for target in upstream.get("targets", [])]
        loaded.upstreams[made["name"]] = made
    for consumer in document.get("consumers", []):
        made = _entity("consumers", consumer, but=("jwt_secrets", "plugins"))
        _plugins(loaded, consumer, consumer=made)
        for secret in consumer.get("jwt_secrets", []):
            loaded.secrets[secret["key"]] = _entity("jwt_secrets", secret) | {"consumer": made}
    _plugins(loaded, document)
    names = [route["name"] for route in loaded.routes]
    if len(names) != len(set(names)):
        raise Refused("uniqueness violation: routes")
    return loaded


def _route(loaded: Loaded, route: Entity, service: Entity | None) -> None:
    made = _entity("routes", route, but=("plugins",)) | {"service": service}
    if not any(made[name] for name in ("methods", "hosts", "headers", "paths")):
        raise Refused("must set one of 'methods', 'hosts', 'headers', 'paths', 'snis'")
    loaded.routes.append(made)
    _plugins(loaded, route, route=made)


def _plugins(loaded: Loaded, owner: Entity, **scope: Entity) -> None:
    for plugin in owner.get("plugins", []):
        made = _entity("plugins", plugin)
        if made["name"] not in CONFIGS:
            raise Refused(f"plugin '{made['name']}' not enabled")
        made["config"] = _filled(CONFIGS[made["name"]], plugin.get("config", {}), made["name"])
        config = made["config"]
        if made["name"] == "rate-limiting" and config["limit_by"] == "header" and not config["header_name"]:
            raise Refused("rate-limiting: header_name is required")
        loaded.plugins.append(made | {kind: item["id"] for kind, item in scope.items()})


def _entity(kind: str, given: Entity, but: tuple[str, ...] = ()) -> Entity:
    made = _filled(FIELDS[kind], {name: value for name, value in given.items() if name not in but}, kind)
    name = next((made[field] for field in ("name", "username", "key", "target") if made.get(field)), repr(given))
    return made | {"id": str(uuid5(NAMESPACE_URL, f"{kind}/{name}"))}


def _filled(fields: Entity, given: Entity, what: str) -> Entity:
    if unknown := set(given) - set(fields):
        raise Refused(f"{what}: unknown field {unknown}")
    made = {name: given.get(name, default) for name, default in fields.items()}
    if missing := [name for name, value in made.items() if value is ...]:
        raise Refused(f"{what}: required field missing {missing}")
    return made


def applying(loaded: Loaded, name: str, route: Entity, consumer: str | None = None) -> Entity | None:
    """The one instance of a plugin that runs for a request: the most specific, whatever others say."""
    service = (route["service"] or {}).get("id")
    of_name = [plugin for plugin in loaded.plugins if plugin["name"] == name and plugin["enabled"]]
    scopes = [
        (route["id"], service, consumer), (route["id"], None, consumer), (None, service, consumer),
        (route["id"], service, None), (None, None, consumer), (route["id"], None, None), (None, service, None),
        (None, None, None),
    ]  # fmt: skip
    for scope in scopes:
        for plugin in of_name:
            if (plugin.get("route"), plugin.get("service"), plugin.get("consumer")) == scope:
                return plugin
    return None
