"""`ghasi kong sync` makes a Kong's credentials equal to the published keys, and does nothing where they are."""

import asyncio
import json
import os
import sys
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import yaml

from ghasi.commands.application import run
from ghasi.contract.kong import KongError
from ghasi.contract.kong.configuration import document
from ghasi.contract.kong.keys import key_set_url, public_keys, read_keys
from ghasi.contract.kong.sync import Admin, Change
from ghasi.contract.shapes import JsonWebKey, JsonWebKeySet
from ghasi.settings import Settings
from tests.gateway.services import public_jwk
from tests.kong.admin_api import AdminApi
from tests.kong.services import UPSTREAM_SECRET, Services
from tests.live import live
from tests.routes.world import unused_url

UUID_KID = str(uuid4())
NOTHING = Change((), ())


def key_set(*kids: str, swapped: str | None = None) -> JsonWebKeySet:
    return JsonWebKeySet(keys=[public_jwk(kid, "second" if kid == swapped else "first") for kid in kids])


async def sync(api: AdminApi, keys: JsonWebKeySet, header: str | None = None) -> Change:
    async with live(api.app) as url, Admin(url, header) as admin:
        return await admin.sync(keys)


def without_database(*kids: str) -> AdminApi:
    whole = document(Settings(), key_set(*kids) if kids else None)
    return AdminApi(yaml.safe_dump(whole | {"services": whole["services"][:1], "plugins": [], "routes": []}))


def held(api: AdminApi) -> dict[str, str]:
    if api.document is None:
        return {item["key"]: item["rsa_public_key"] for item in api.secrets}
    secrets = yaml.safe_load(api.document)["consumers"][0]["jwt_secrets"]
    return {item["key"]: item["rsa_public_key"] for item in secrets}


@pytest.mark.parametrize("make", [AdminApi, without_database])
async def test_keys_come_turn_over_and_go_and_the_second_time_nothing_is_sent(make: type[AdminApi]) -> None:
    api = make()
    kids = ["a", "key/with a slash", UUID_KID]
    for keys, change in [
        (key_set(*kids), Change(tuple(sorted(kids)), ())),
        (key_set(*kids[1:], "b"), Change(("b",), ("a",))),
        (key_set(*kids[1:], "b", swapped=UUID_KID), Change((UUID_KID,), ())),
        (key_set("b"), Change((), tuple(sorted(kids[1:])))),
    ]:
        assert await sync(api, keys) == change
        assert held(api) == public_keys(keys)
        sent = len(api.log)
        assert await sync(api, keys) == NOTHING
        assert len(api.log) == sent, "nothing was sent"
    assert all(found for found in api.held_at_once), "at no time there was no key"


async def test_new_keys_are_there_before_old_ones_go() -> None:
    api = AdminApi()
    await sync(api, key_set("a"))
    api.log.clear()
    await sync(api, key_set("b", "c"))
    assert api.log == ["PUT b", "PUT c", "DELETE a"]


async def test_without_a_database_all_the_rest_stays_as_it_was() -> None:
    api = without_database("a")
    before = yaml.safe_load(api.document or "")
    before["services"][0]["host"] = "elsewhere.example"
    before["consumers"].append({"username": "somebody", "jwt_secrets": [
        {"key": "theirs", "algorithm": "RS256", "rsa_public_key": "-----BEGIN PUBLIC KEY-----"}]})  # fmt: skip
    api.document = yaml.safe_dump(before)
    await sync(api, key_set("b"))
    after = yaml.safe_load(api.document or "")
    assert after["services"] == before["services"]
    assert after["consumers"][1] == before["consumers"][1]
    assert set(held(api)) == {"b"}
    assert api.log == ["POST config"]


async def test_what_goes_wrong_is_said_in_one_line() -> None:
    with pytest.raises(KongError, match="empty"):
        await sync(AdminApi(), JsonWebKeySet(keys=[]))
    with pytest.raises(KongError, match=r"400 to PUT .*schema violation"):
        await sync(AdminApi(broken=400), key_set("a"))
    with pytest.raises(KongError, match=r"401 to GET .*Invalid credentials"):
        await sync(AdminApi(header=("Kong-Admin-Token", "t")), key_set("a"))
    assert await sync(AdminApi(header=("Kong-Admin-Token", "t")), key_set("a"), "Kong-Admin-Token: t")
    bare = AdminApi(yaml.safe_dump({"_format_version": "3.0", "services": [], "consumers": []}))
    with pytest.raises(KongError, match="no consumer ghasi-user"):
        await sync(bare, key_set("a"))
    async with Admin(unused_url()) as admin:
        with pytest.raises(KongError, match="Admin API at"):
            await admin.sync(key_set("a"))


async def test_key_sets_come_from_a_url_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(msgspec.json.encode(key_set("a")))
    assert await read_keys(str(file), Settings()) == key_set("a")
    for content in (b"{", b"{}", b'{"keys":[]}', b'{"keys":[{"kty":"EC"}]}', b"\xff"):
        file.write_bytes(content)
        with pytest.raises(KongError, match=r"jwks\.json"):
            await read_keys(str(file), Settings())
    with pytest.raises(KongError, match="can't be had"):
        await read_keys(unused_url(), Settings())
    with pytest.raises(KongError, match="the key a is no RSA key"):
        public_keys(JsonWebKeySet(keys=[JsonWebKey(kty="RSA", use="sig", alg="RS256", kid="a", n="AA", e="AQAB")]))


async def test_auth_service_alone_gets_the_gateways_proof(services: Services) -> None:
    url = services.urls["auth-service"]
    ours = Settings(auth_service_url=f"{url}/", upstream_secret=UPSTREAM_SECRET)
    assert await read_keys(key_set_url(ours), ours) == services.keys
    elsewhere = Settings(upstream_secret=UPSTREAM_SECRET)
    with pytest.raises(KongError, match="answers 403"):
        await read_keys(key_set_url(ours), elsewhere)


async def test_the_command_says_what_it_did_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    file, api = tmp_path / "jwks.json", AdminApi()
    file.write_bytes(msgspec.json.encode(key_set("a")))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ghasi", "kong", "sync", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip

    async with live(api.app) as url:
        given = ("--admin", url, "--keys", str(file))
        for said in (b"added a\n", b"up to date\n"):
            process = await start(*given)
            assert (await process.communicate(), process.returncode) == ((said, b""), 0)
        process = await start(*given, "--every", "0.05")
        assert process.stdout is not None
        assert process.stderr is not None
        assert await process.stdout.readline() == b"up to date\n"
        whole = file.read_bytes()
        file.write_bytes(b"{")
        assert b"is no JWKS" in await process.stderr.readline()
        file.write_bytes(whole.replace(json.dumps("a").encode(), json.dumps("b").encode()))
        while await process.stdout.readline() != b"removed a\n":
            pass
        process.terminate()
        await process.communicate()
        assert api.kids == ["b"]
    process = await start(*given)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.startswith(b"ghasi: Kong's Admin API at ")
    assert errors.count(b"\n") == 1


def test_the_configuration_is_printed_with_keys_where_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(msgspec.json.encode(key_set("b", "a")))
    redis = ["--redis", "redis://valkey:6379/0"]
    assert run(["contract", "kong", "--keys", str(file), "--limit-reads", "7", *redis]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    secrets = printed["consumers"][0]["jwt_secrets"]
    assert {item["key"]: item["rsa_public_key"] for item in secrets} == public_keys(key_set("a", "b"))
    [limiter] = [plugin for plugin in printed["plugins"] if plugin["name"] == "rate-limiting"]
    assert (limiter["config"]["minute"], limiter["config"]["redis"]["host"]) == (7, "valkey")
    assert run(["contract", "kong", "--keys", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
