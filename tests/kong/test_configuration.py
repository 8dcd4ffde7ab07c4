"""What the emitted configuration says of the table and the settings, and what its own check would have said."""

import copy
import re
from typing import Any

import pytest
import yaml

from ghasi.contract.kong import KongError
from ghasi.contract.kong.checking import faults_of, routes_of
from ghasi.contract.kong.configuration import configuration, document
from ghasi.contract.row import LIMIT_GROUPS, Upstream
from ghasi.contract.table import ROWS
from ghasi.settings import Settings

DOCUMENT = document(Settings.model_construct())
REDIS = "rediss://user:secret-3@redis.example:6380/4"
SECRETS = {"upstream_secret": "secret-1", "portal_secret": "secret-2", "redis_url": REDIS}


def test_the_text_says_what_the_document_does_and_nothing_is_wrong_with_it() -> None:
    assert yaml.safe_load(configuration(Settings.model_construct())) == DOCUMENT
    assert faults_of(DOCUMENT) == []


def test_time_outs_retries_and_upstreams_are_the_tables() -> None:
    services = {service["name"]: service for service in DOCUMENT["services"]}
    by_operation = {route["name"]: services[route["service"]] for route in routes_of(DOCUMENT) if "service" in route}
    for row in ROWS:
        service = by_operation[row.operation.replace("_", "-")]
        times = {service[f"{kind}_timeout"] for kind in ("connect", "write", "read")}
        assert times == {round(row.timeout_s * 1000) - 250}
        several = row.operation in {"list_messages", "get_message"}
        assert service["retries"] == (1 if several else 0)
        assert service["host"] == ("message-reads" if several else row.upstream.value)
        own = [
            plugin["config"]["minute"]
            for plugin in service.get("plugins", [])
            if plugin["name"] == "rate-limiting" and "header_name" in plugin["config"]
        ]
        assert own == ([row.limit.default] if row.limit is not None and row.limit.name != "reads" else [])


def test_hosts_and_limits_follow_the_settings() -> None:
    names = {upstream: f"{upstream.value}.example" for upstream in Upstream}
    urls = {f"{upstream.value.replace('-', '_')}_url": f"http://{name}:81/" for upstream, name in names.items()}
    limits = {group.setting: 1000 + number for number, group in enumerate(LIMIT_GROUPS)}
    others = {"portal_url": "https://app.example.com/", "issuer": 'https://"i"\\'}
    made = document(Settings(**urls, **limits, **others))  # type: ignore[arg-type]
    assert {service["host"] for service in made["services"]} == {*names.values(), "message-reads"}
    targets = [target["target"] for target in made["upstreams"][0]["targets"]]
    assert targets == ["message-store.example:81", "sms-orchestrator.example:81"]
    text = yaml.safe_dump(made)
    assert all(f"minute: {limit}\n" in text for limit in limits.values())
    plugins = {plugin["name"]: plugin["config"] for plugin in made["plugins"]}
    assert plugins["cors"]["origins"] == [r"^https://app\.example\.com$"]
    lua = plugins["pre-function"]["access"][0]
    assert 'local ISSUER = "https://\\034i\\034\\092"\n' in lua
    assert 'local AUTH_SERVICE = "http://auth-service.example:81"\n' in lua


def test_no_secret_is_in_the_text() -> None:
    text = configuration(Settings(**SECRETS))  # type: ignore[arg-type]
    assert not re.search(r"secret-\d", text)
    [limiter] = [plugin["config"] for plugin in yaml.safe_load(text)["plugins"] if plugin["name"] == "rate-limiting"]
    assert limiter["policy"] == "redis"
    assert limiter["redis"] == {
        "host": "redis.example", "port": 6380, "database": 4, "timeout": 100, "ssl": True, "ssl_verify": True,
        "server_name": "redis.example", "username": "user", "password": "{vault://env/ghasi-redis-password}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"redis_url": "unix:///run/redis.sock"},
        {"message_store_url": "https://store.example"}, {"sms_orchestrator_url": "http://o.example/path"},
    ],
)  # fmt: skip
def test_what_kong_cant_do_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(KongError, match="GHASI_"):
        configuration(Settings(**settings))


def _route(made: dict[str, Any], name: str = "list-messages") -> dict[str, Any]:
    return next(route for service in made["services"] for route in service["routes"] if route["name"] == name)


MUTATIONS = {
    "_format_version is not": lambda made: made.update(_format_version="1.1"),
    "a time-out is missing": lambda made: made["services"][0].pop("read_timeout"),
    "retries default to 5": lambda made: made["services"][0].pop("retries"),
    "2 routes are called": lambda made: _route(made).update(name="get-message"),
    "2 services are called": lambda made: made["services"][0].update(name=made["services"][1]["name"]),
    "a route is called 'list messages'": lambda made: _route(made).update(name="list messages"),
    "strip_path defaults to true": lambda made: _route(made).pop("strip_path"),
    "it takes methods": lambda made: _route(made).pop("methods"),
    "/v1/messages$ is no anchored regex": lambda made: _route(made).update(paths=["/v1/messages$"]),
    "~/v1/messages is no anchored regex": lambda made: _route(made).update(paths=["~/v1/messages"]),
    "export-messages match the same": lambda made: _route(made, "export-messages").update(regex_priority=0),
    "GET ~/v1/messages$ is not in the table, or not once": lambda made: _route(made).update(methods=["POST"]),
    "GET ~/v1/messages$ for API keys": lambda made: _route(made, "list-messages.api-key").update(methods=["PUT"]),
    "its tags say something else": lambda made: _route(made).update(plugins=[]),
    "password has a secret": lambda made: made["plugins"][3]["config"].update(redis={"password": "x"}),
    "access has a secret": lambda made: made["plugins"][0]["config"].update(access=["-- redis://a:b@c"]),
}


@pytest.mark.parametrize("fault", list(MUTATIONS))
def test_what_kong_takes_without_a_word_is_seen(fault: str) -> None:
    made = copy.deepcopy(DOCUMENT)
    MUTATIONS[fault](made)
    assert [found for found in faults_of(made) if fault in found], faults_of(made)
