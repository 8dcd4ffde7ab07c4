"""A new GHASI_SECRET_KEY under `ghasi up`, by the steps of docs/operating.md."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from ghasi.storage.sealing import new_secret_key
from tests.processes.running import Place, Running, place


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as it:
        yield it


def post(url: str, body: Any = None, **headers: str) -> tuple[Any, str]:
    """The answer's JSON, and the cookie that it sets."""
    data = json.dumps(body or {}).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})  # noqa: S310 - a loopback address
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer), (answer.headers["set-cookie"] or "").partition(";")[0]


def sign_in(up: Running) -> str:
    """A refresh cookie."""
    identity = f"{up.addresses['identity']}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=local"
    person = {"email": "ann@example.com", "password": "correct horse", "returnSecureToken": True}
    signed_up, _ = post(identity, person)
    return post(f"{up.addresses['API']}/v1/auth/firebase", {"id_token": signed_up["idToken"]})[1]


def refresh(up: Running, cookie: str) -> str:
    session, cookie = post(f"{up.addresses['API']}/v1/auth/refresh", cookie=cookie)
    assert session["access_token"]
    return cookie


def test_a_new_key_takes_the_old_ones_place(here: Place) -> None:
    file = here.data / "secrets.json"

    def write(key: str) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"secret_key": key}))

    def reseal() -> dict[str, Any]:
        done = here.run("admin", "keys", "reseal", "--json")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    up = here.up()
    old, new = json.loads(file.read_text())["secret_key"], new_secret_key()
    cookie = refresh(up, sign_in(up))
    sealed = reseal()["current"]
    assert sealed >= 2  # the keys of auth and of the local sign-in
    # too early: what runs has not been told
    write(f"{new},{old}")
    refused = here.run("admin", "keys", "reseal")
    assert refused.returncode == 2
    assert "a process runs without the first key" in refused.stderr
    assert up.stop() == 0

    up = here.up()
    cookie = refresh(up, cookie)
    done = reseal()
    assert (done["resealed"], done["current"], done["unreadable"], done["old_keys_needed"]) == (sealed, 0, {}, False)
    assert up.stop() == 0

    write(new)
    up = here.up()
    refresh(up, cookie)
    assert reseal()["current"] == sealed
    for text in (running.errors.read_text() + running.text() for running in here.started):
        assert old not in text
        assert new not in text
