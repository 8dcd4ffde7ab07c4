"""`ghasi up --dev` as a real process: what dies comes back, what is told to end ends, and nothing is left."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.running import ANY_PORTS, Place, Running, get_health, get_text, place, processes, until


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as it:
        yield it


@pytest.fixture(scope="module")
def up(here: Place) -> Running:
    return here.up()


def healthy(running: Running) -> bool:
    return running.health()[0] == 200


def kill_and_see_it_missed(running: Running, process_id: int) -> None:
    """Kill a process of a run, and let the supervisor start it again only once it was seen to be missed."""
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        os.kill(process_id, signal.SIGKILL)
        until(lambda: running.health()[0] == 503)
    finally:
        os.kill(running.process.pid, signal.SIGCONT)


def test_everything_answers_when_ready(up: Running) -> None:
    status, report = up.health()
    assert status == 200
    assert report["status"] == "ok"
    parts = {"database", "gateway", "portal", "worker", "simulator", "identity"}
    assert {part: report.get(part) for part in parts} == dict.fromkeys(parts, "ok")
    assert get_health(up.addresses["portal"])[0] == 200
    assert get_health(up.addresses["identity"])[0] == 200
    assert up.addresses["SMSC"].startswith("127.0.0.1:")


def test_a_second_one_on_the_same_folder_is_refused(here: Place, up: Running) -> None:
    second = here.run("up", "--dev", "--api-port=0", "--portal-port=0")
    assert second.returncode == 1
    assert "another ghasi is running" in second.stderr
    assert "Traceback" not in second.stderr
    assert healthy(up)


def test_a_taken_port_is_waited_for_and_told_sigterm_it_ends_at_once(up: Running) -> None:
    port = up.addresses["API"].rpartition(":")[2]
    with place() as elsewhere:
        other = elsewhere.start("up", "--dev", f"--api-port={port}", *ANY_PORTS[1:])
        until(lambda: f"port {port} on 127.0.0.1 is taken" in other.text())
        assert other.stop(within_s=5) == 0
        assert elsewhere.processes() == []


@pytest.mark.parametrize("part", ["api", "worker", "simulator", "identity"])
def test_a_killed_child_is_missed_and_comes_back_on_the_same_port(up: Running, part: str) -> None:
    until(lambda: healthy(up))
    killed = up.child(part)
    if part == "api":  # it can't tell itself that it is away; it answers late instead, from the backlog
        os.kill(killed, signal.SIGKILL)
    else:
        kill_and_see_it_missed(up, killed)
    until(lambda: healthy(up))
    assert up.child(part) != killed


def test_a_request_waits_for_a_killed_api_to_be_back(up: Running) -> None:
    until(lambda: healthy(up))
    killed = up.child("api")
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in dict(processes()))
    # connected to the backlog that the supervisor keeps: refused would be (0, {})
    assert up.health(within_s=60)[0] in {200, 503}


@pytest.mark.parametrize("part", ["worker", "simulator"])
def test_a_child_that_hangs_is_reported(up: Running, part: str) -> None:
    until(lambda: healthy(up))
    stopped = up.child(part)
    os.kill(stopped, signal.SIGSTOP)
    took_s = []
    try:
        for _ in range(3):
            began = time.monotonic()
            status, report = up.health()
            took_s.append(time.monotonic() - began)
            assert (status, report["status"], report[part]) == (503, "unavailable", "no answer")
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert min(took_s) < 2  # the others may be a busy machine's
    until(lambda: healthy(up))


def test_a_killed_database_comes_back_where_its_clients_find_it(here: Place, up: Running) -> None:
    until(lambda: healthy(up))
    killed = int((here.data / "postgres" / "postmaster.pid").read_text().split()[0])
    kill_and_see_it_missed(up, killed)
    until(lambda: healthy(up))
    assert int((here.data / "postgres" / "postmaster.pid").read_text().split()[0]) != killed


def test_the_supervisor_serves_everyones_metrics(up: Running) -> None:
    until(lambda: healthy(up))
    kill_and_see_it_missed(up, up.child("worker"))
    until(lambda: healthy(up))
    # a metric of the worker's, which the supervisor shows
    until(lambda: "ghasi_outbox_lag_seconds{" in get_text(up.addresses["metrics"]))
    text = get_text(up.addresses["metrics"])
    for part in ("api", "worker", "simulator", "identity"):
        assert f'ghasi_child_up{{part="{part}"}} 1.0' in text
        assert f'ghasi_child_cpu_seconds_total{{part="{part}"}}' in text
    restarts = [line for line in text.splitlines() if line.startswith('ghasi_child_restarts_total{part="worker"}')]
    assert float(restarts[0].split()[1]) >= 1
    assert text.count("# TYPE ghasi_outbox_lag_seconds ") == 1


def test_counters_go_on_when_a_child_is_started_again(up: Running) -> None:
    def requests() -> float:
        lines = [line for line in get_text(up.addresses["metrics"]).splitlines() if line.startswith("ghasi_gateway_")]
        return sum(float(line.split()[-1]) for line in lines if "_total{" in line)

    for _ in range(20):
        up.health()
    before = requests()
    assert before >= 20
    os.kill(up.child("api"), signal.SIGKILL)
    until(lambda: healthy(up))
    assert requests() >= before


def test_no_secret_is_on_a_command_line(here: Place, up: Running) -> None:
    secrets = json.loads((here.data / "secrets.json").read_text())
    password = (here.data / "postgres.password").read_text()
    lines = "\n".join(" ".join(arguments) for _, arguments in here.processes())
    assert "child worker" in lines
    for secret in (secrets["secret_key"], secrets["upstream_secret"], secrets["portal_secret"], password):
        assert secret not in lines
        assert secret not in up.errors.read_text() + up.text()


@pytest.fixture
def own() -> Iterator[Place]:
    with place() as it:
        yield it


def test_secrets_are_ours_alone_and_a_killed_supervisor_is_taken_over(own: Place) -> None:
    here, up = own, own.up()
    file = here.data / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = file.read_bytes()
    postmaster = (here.data / "postgres" / "postmaster.pid").read_text().split()[0]
    run_folder = (here.data / "run").read_text()
    ports = [
        f"--{name}-port={up.addresses[label].removesuffix('/metrics').rpartition(':')[2]}"
        for name, label in (
            ("api", "API"), ("portal", "portal"), ("identity", "identity"), ("smsc", "SMSC"), ("metrics", "metrics")
        )
    ]  # fmt: skip
    os.kill(up.child("identity"), signal.SIGSTOP)  # not even a child that can't see the end stays
    up.process.kill()
    up.process.wait()
    following = here.up(*ports)
    assert healthy(following)
    assert (here.data / "postgres" / "postmaster.pid").read_text().split()[0] == postmaster
    assert not Path(run_folder).exists()
    assert file.read_bytes() == secrets

    began = time.monotonic()
    following.process.terminate()
    following.process.terminate()
    time.sleep(0.05)
    following.process.terminate()
    assert following.process.wait(20) == 0
    assert time.monotonic() - began < 20
    assert here.processes() == []
    assert "Traceback" not in following.errors.read_text()


@pytest.mark.parametrize("sign", ["starting the embedded PostgreSQL", "starting: worker"])
def test_sigterm_while_it_starts_leaves_nothing(sign: str) -> None:
    with place() as elsewhere:
        running = elsewhere.start("up", "--dev", *ANY_PORTS)
        until(lambda: sign in running.text(), 60)
        assert running.stop() == 0
        assert elsewhere.processes() == []
        assert "Traceback" not in running.errors.read_text()


def test_a_client_that_never_ends_its_request_does_not_keep_it() -> None:
    with place() as elsewhere:
        running = elsewhere.up()
        host, _, port = running.addresses["API"].removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /v1/auth/firebase HTTP/1.1\r\nHost: api\r\nContent-Length: 100\r\n\r\n{")
            assert healthy(running)  # so the request has been read as well
            assert running.stop() == 0
        assert elsewhere.processes() == []


def test_a_given_database_is_used_and_left_running(database_url: str) -> None:
    with place() as elsewhere:
        running = elsewhere.up(GHASI_DATABASE_URL=database_url)
        assert healthy(running)
        assert not (elsewhere.data / "postgres").exists()
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["up"], "GHASI_FIREBASE_PROJECT_ID"),
        (["up", "--firebase-project-id=p"], "GHASI_CARRIERS"),
        (["up", "--firebase-project-id=p", "--carriers=/nowhere.toml"], "/nowhere.toml"),
        (["up", "--dev", "--api-port=70000"], "GHASI_API_PORT"),
        (["up", "--dev", "--secret-key=short", *ANY_PORTS], "GHASI_SECRET_KEY"),
    ],
)
def test_missing_and_wrong_settings_are_named(arguments: list[str], setting: str) -> None:
    with place() as elsewhere:
        done = elsewhere.run(*arguments)
        assert done.returncode == 2
        assert setting in done.stderr
        assert "Traceback" not in done.stderr
        assert elsewhere.processes() == []


def test_it_is_reached_at_the_address_it_listens_on() -> None:
    with place() as elsewhere:
        running = elsewhere.up("--host=::1", *ANY_PORTS)
        assert running.addresses["API"].startswith("http://[::1]:")
        assert running.health()[0] == 200
        assert running.addresses["portal"].startswith("http://[::1]:")
        assert "<form" in get_text(f"{running.addresses['portal']}/sign-in")
