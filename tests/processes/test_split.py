"""`ghasi serve`, `work` and `database`: the parts in processes of their own."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.engines import redis_server
from tests.processes.running import Place, Running, get_health, get_text, place, until

LOOPBACK = "http://127.0.0.1"


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as it:
        yield it


@pytest.fixture(scope="module")
def database(here: Place) -> Running:
    return here.start("database").wait_until_ready()


def test_without_a_database_it_is_said_how_to_have_one() -> None:
    with place() as elsewhere:
        for arguments in (["serve", "auth-service", "--dev"], ["work", "--dev"]):
            done = elsewhere.run(*arguments)
            assert (done.returncode, done.stdout) == (2, "")
            assert "no database: run `ghasi database`" in done.stderr
            assert "GHASI_DATABASE_URL" in done.stderr


def test_without_a_secret_key_it_is_said_which(database_url: str) -> None:
    with place() as elsewhere:
        done = elsewhere.run("serve", "auth-service", "--dev", GHASI_DATABASE_URL=database_url)
        assert done.returncode == 2
        assert "GHASI_SECRET_KEY is not set" in done.stderr


def test_a_database_without_migrations_is_refused(here: Place, database: Running) -> None:
    key = json.loads((here.data / "secrets.json").read_text())["secret_key"]
    made = here.run("psql", "--", "-c", "CREATE DATABASE empty")
    assert made.returncode == 0, made.stderr
    connection = json.loads((here.data / "postgres.json").read_text())
    url = f"postgresql://ghasi:{connection['password']}@/empty?host={connection['socket_dir']}"
    refused = here.run("serve", "auth-service", "--dev", GHASI_DATABASE_URL=url, GHASI_SECRET_KEY=key)
    assert refused.returncode == 2
    assert "run `ghasi migrate` first" in refused.stderr
    assert "messages/0001_initial" in refused.stderr
    applied = here.run("migrate", GHASI_DATABASE_URL=url)
    assert (applied.returncode, "messages/0001_initial" in applied.stdout) == (0, True)
    assert here.run("migrate", GHASI_DATABASE_URL=url).stdout == "up to date\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve"], "no part named"),
        (["serve", "nonsense"], "no such part: nonsense"),
        (["work", "nonsense"], "no such work: nonsense"),
        (["serve", "message-store", "--host=0.0.0.0"], "GHASI_UPSTREAM_SECRET"),
        (["serve", "gateway", "portal", "--port=0"], "--port"),
        (["serve", "auth-service"], "GHASI_FIREBASE_PROJECT_ID"),
        (["work"], "GHASI_CARRIERS"),
    ],
)
def test_what_does_not_fit_is_refused(here: Place, database: Running, arguments: list[str], said: str) -> None:
    done = here.run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_upstreams_share_a_port_and_want_the_gateways_proof(here: Place, database: Running) -> None:
    running = here.start("serve", "message-store", "billing-service", GHASI_UPSTREAM_SECRET="proof").wait_until_ready()
    base = f"http://{running.addresses['upstreams']}"
    assert get_health(base) == (200, {"status": "ok"})
    with pytest.raises(Exception, match="403"):
        get_text(f"{base}/v1/messages")
    assert running.stop() == 0


def test_a_gateway_takes_in_what_is_nowhere_else_and_is_alone(here: Place, database: Running) -> None:
    upstream = here.start("serve", "billing-service").wait_until_ready()
    url = f"http://{upstream.addresses['upstreams']}"
    flags = ("--dev", "--api-port=0", "--portal-port=0")
    running = here.start("serve", "gateway", "portal", *flags, GHASI_BILLING_SERVICE_URL=url).wait_until_ready()
    base = f"http://{running.addresses['gateway']}"
    status, report = get_health(base)
    assert (status, report["status"], report["database"], report["gateway"]) == (200, "ok", "ok", "ok")
    assert len(json.loads(get_text(f"{base}/.well-known/jwks.json"))["keys"]) >= 1
    assert get_health(f"http://{running.addresses['portal']}")[0] == 200

    second = here.run("serve", "gateway", *flags)
    assert second.returncode == 2
    assert "another gateway process is running" in second.stderr
    assert "Traceback" not in second.stderr
    assert running.stop() == 0
    assert upstream.stop() == 0


def test_gateways_that_share_a_redis_run_together(here: Place, database: Running) -> None:
    flags = ("--dev", "--api-port=0")
    with redis_server() as redis:
        upstream = here.start("serve", "auth-service", "--dev").wait_until_ready()
        url = {"GHASI_AUTH_SERVICE_URL": f"http://{upstream.addresses['upstreams']}"}
        several = [here.start("serve", "gateway", *flags, GHASI_REDIS_URL=redis.url, **url) for _ in range(2)]
        for one in several:
            status, report = get_health(f"http://{one.wait_until_ready().addresses['gateway']}")
            assert (status, report["status"], report["gateway"], report["limits"]) == (200, "ok", "ok", "ok")
        alone = here.run("serve", "gateway", *flags, **url)
        assert (alone.returncode, "the same GHASI_REDIS_URL" in alone.stderr) == (2, True)
        redis.kill()
        for one in several:
            base = f"http://{one.addresses['gateway']}"
            until(lambda base=base: get_health(base)[1]["limits"] == "failing")  # type: ignore[misc]
            assert get_health(base)[0] == 200
    for one in (*several, upstream):
        assert one.stop() == 0
    bad = here.run("serve", "gateway", *flags, GHASI_REDIS_URL="redis://:hunter2@localhost:1/0?hunter=2")
    assert (bad.returncode, "GHASI_REDIS_URL" in bad.stderr, "hunter" in bad.stderr) == (2, True, False)


def test_a_gateway_before_split_services_needs_no_database() -> None:
    names = ("AUTH_SERVICE", "SMS_ORCHESTRATOR", "MESSAGE_STORE", "WEBHOOK_DISPATCHER", "BILLING_SERVICE")
    urls = {f"GHASI_{name}_URL": f"{LOOPBACK}:1" for name in names}
    with place() as elsewhere:
        running = elsewhere.start("serve", "gateway", "--port=0", "--metrics-port=0", **urls)
        until(lambda: "metrics: " in running.text())
        base = running.text().partition("metrics: ")[2].split("/metrics")[0]
        # it runs, and is not ready: auth-service is away
        until(lambda: get_health(base) == (503, {"status": "unavailable", "gateway": "not ready"}))
        assert "ready" not in running.text()
        assert running.stop() == 0


def test_workers_serve_metrics_where_asked_and_drain(here: Place, database: Running) -> None:
    simulator = here.start("serve", "simulator", "--port=0").wait_until_ready()
    port = simulator.addresses["simulator"].rpartition(":")[2]
    worker = here.start("work", "dispatch", "billing", "--dev", f"--smsc-port={port}", "--metrics-port=0")
    worker.wait_until_ready()
    address = worker.text().partition("metrics: ")[2].split()[0]
    assert "ghasi_outbox_lag_seconds" in get_text(address)
    assert get_health(address.removesuffix("/metrics")) == (
        200, {"status": "ok", "database": "ok", "dispatch": "ok", "billing": "ok"}
    )  # fmt: skip
    worker.process.terminate()
    assert worker.stop() == 0
    assert simulator.stop() == 0


def test_the_database_ends_with_its_command_and_comes_back_when_killed(here: Place, database: Running) -> None:
    file = here.data / "postgres" / "postmaster.pid"
    killed = int(file.read_text().split()[0])
    os.kill(killed, signal.SIGKILL)
    until(lambda: "database_restarted" in database.errors.read_text())
    done = here.run("admin", "keys", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)
    assert database.stop() == 0
    assert here.processes() == []
