"""Settings: what is wrong is told before anything starts, by the setting's name and without its value."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ghasi.commands.application import run
from ghasi.commands.failures import explain
from ghasi.processes.supervisor import with_development_defaults
from ghasi.settings import Settings
from ghasi.storage.sealing import new_secret_key

URLS = (
    "api_url", "api_internal_url", "portal_url", "firebase_auth_url", "firebase_certs_url", "auth_service_url",
    "sms_orchestrator_url", "message_store_url", "webhook_dispatcher_url", "billing_service_url",
)  # fmt: skip
NO_URLS = ("foo", "http://", "http://x:y", "http://x:70000", "http://x:0", "ftp://x", "http://[::1", "http://a b", "")


def refusal(**values: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    failure = explain(caught.value)
    assert failure is not None
    assert failure.status == 2
    assert "\n" not in failure.text
    return failure.text


@pytest.mark.parametrize("name", URLS)
def test_a_url_has_a_host_and_a_valid_port(name: str) -> None:
    for value in NO_URLS:
        assert refusal(**{name: value}).startswith(f"GHASI_{name.upper()}: must be a URL")
    for value in ("http://x", "https://sms.example.com:8443", "http://[::1]:80", "http://10.0.0.1/base"):
        assert getattr(Settings(**{name: value}), name) == value


def test_nats_is_one_server_or_several_and_its_password_never_repeated() -> None:
    for value in ("hunter2", "http://x", "nats://", "nats://x:0", "nats://hunter2@x,", "nats://u:hunter2 @x"):
        said = refusal(nats_url=value)
        assert said == "GHASI_NATS_URL: must be nats://host:port or tls://host:port, or several of them by commas"
    for value in ("nats://x", "tls://u:p%40@x:4222, nats://token@y"):
        assert Settings(nats_url=value).nats_url == value


@pytest.mark.parametrize("value", ["garbage", "10.0.0.0/8,x", "10.0.0.0/33"])
def test_trusted_proxies_are_networks(value: str) -> None:
    assert refusal(trusted_proxies=value).startswith("GHASI_TRUSTED_PROXIES: ")
    assert Settings(trusted_proxies="10.0.0.1/8, ::1,").trusted_proxies == "10.0.0.1/8, ::1,"


def test_secrets_are_usable_and_never_repeated() -> None:
    for name in ("upstream_secret", "portal_secret"):
        for value in ("", " ", "hunter2 ", "hunter2\nX: y", "hünter2"):
            said = refusal(**{name: value})
            assert said.startswith(f"GHASI_{name.upper()}: ")
            assert "nter2" not in said
    for value in ("", ",", "hunter2", "hunter2=", new_secret_key() + ",hunter2"):
        said = refusal(secret_key=value)
        assert said == "GHASI_SECRET_KEY: must be 32 random bytes in URL-safe base64"
    keys = f"{new_secret_key()}, {new_secret_key()}"
    assert Settings(secret_key=keys).secret_key == keys
    with pytest.raises(ValidationError) as caught:
        Settings(secret_key="hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "proxy:3128", "http://proxy", "https://proxy:3128", "socks5://proxy:1080", "http://:3128", "http://proxy:0",
        "http://proxy:3128/x", "http://proxy:3128?x", "http://proxy:3128/#", "http://:hunter2@proxy:3128",
        "http://a%3Ab:hunter2@proxy:3128", "http://ghasi:hunter2@proxy:x", "http://a b@proxy:3128", "",
    ],
)  # fmt: skip
def test_a_proxy_has_a_host_and_a_port_and_its_password_is_not_repeated(value: str) -> None:
    said = refusal(webhook_proxy=value)
    assert said == "GHASI_WEBHOOK_PROXY: must be http://host:port, or http://user:password@host:port"


def test_good_proxies() -> None:
    for value in ("http://10.0.0.1:3128", "http://proxy:80/", "http://[::1]:3128", "http://a:b%40%3A@proxy:3128"):
        assert Settings(webhook_proxy=value).webhook_proxy == value


@pytest.mark.parametrize(
    "value",
    [
        "localhost:6379", "http://:hunter2@redis", "redis://", "redis://:hunter2@/0", "redis://redis:0",
        "redis://:hunter2@redis:x", "redis://redis/hunter2", "unix://", "redis://a b:hunter2@redis", "",
    ],
)  # fmt: skip
def test_a_redis_has_a_place_and_its_password_is_not_repeated(value: str) -> None:
    said = refusal(redis_url=value)
    assert said == "GHASI_REDIS_URL: must be redis://host:port/0, rediss://host:port/0 or unix:///path/to/socket"


def test_good_redis_urls() -> None:
    for value in (
        "redis://redis", "redis://127.0.0.1:6379/3", "rediss://ghasi:s%40y@redis:6380/0?ssl_cert_reqs=none",
        "redis://[::1]:6379", "unix:///run/redis.sock?db=1", "unix://ghasi:say@/run/redis.sock",
    ):  # fmt: skip
        assert Settings(redis_url=value).redis_url == value


@pytest.mark.parametrize(
    ("host", "near", "written"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1", "127.0.0.1"), ("::", "::1", "[::1]"),  # noqa: S104 - compared
        ("::1", "::1", "[::1]"), ("10.1.2.3", "10.1.2.3", "10.1.2.3"), ("localhost", "localhost", "localhost"),
    ],
)  # fmt: skip
def test_addresses_follow_the_host(host: str, near: str, written: str) -> None:
    settings = Settings(host=host)
    assert settings.near_host == near
    assert settings.public_api_url == settings.internal_api_url == f"http://{written}:8000"
    assert settings.public_portal_url == f"http://{written}:3000"


def test_the_portal_signs_in_at_the_emulator_that_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    local = "http://127.0.0.1:9099/identitytoolkit.googleapis.com"
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "localhost:9199")
    assert with_development_defaults(Settings(dev=True)).firebase_auth_url == local
    trusting = Settings(dev=True, allow_unsigned_emulator=True)
    emulator = "http://localhost:9199/identitytoolkit.googleapis.com"
    assert with_development_defaults(trusting).firebase_auth_url == emulator
    own = Settings(dev=True, allow_unsigned_emulator=True, firebase_auth_url="http://own:1")
    assert with_development_defaults(own).firebase_auth_url == "http://own:1"
    without_development = Settings(allow_unsigned_emulator=True)
    assert "googleapis.com" in with_development_defaults(without_development).firebase_auth_url
    for value in ("http://localhost:9199", "localhost:x", ":1"):
        monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", value)
        assert refusal().startswith("FIREBASE_AUTH_EMULATOR_HOST: ")


WRONG_FILES = {
    "none.toml": (None, "No such file"),
    "broken.toml": ('upstream_secret = "hunter2\n', "is not TOML"),
    "latin.toml": (b"host = '\xe4'", "is not TOML"),
    "unknown.toml": ("api_prot = 1\n", "there is no setting api_prot"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
@pytest.mark.parametrize("flags", [[], ["--database-url", "postgres://u:hunter2@h/db"]])
def test_a_file_that_is_not_right_is_named(
    name: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, reason = WRONG_FILES[name]
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("GHASI_CONFIG", str(file))
    assert run(["migrate", *flags]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"ghasi: GHASI_CONFIG: {file}")
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert "hunter2" not in said.err


def test_a_file_gives_what_neither_flag_nor_environment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ghasi.toml"
    file.write_text('api_port = 1\nportal_port = 2\nsmsc_port = 3\nfirebase_auth_emulator_host = "e:1"\n')
    monkeypatch.setenv("GHASI_CONFIG", str(file))
    monkeypatch.setenv("GHASI_PORTAL_PORT", "20")
    settings = Settings(smsc_port=30)
    assert (settings.api_port, settings.portal_port, settings.smsc_port) == (1, 20, 30)
    assert settings.firebase_auth_emulator_host == "e:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--dev", "--api-port", "70000"], "GHASI_API_PORT: "),
        (["up", "--dev", "--portal-url", "http://x:y", "--upstream-secret", "hunter2 "], "GHASI_PORTAL_URL: "),
        (["up", "--nope", "1"], "Unknown option"),
        (["nothing"], "Unknown command"),
        (["serve", "portal", "--port", "x"], "Invalid value for --port"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"ghasi: {said}")
    assert errors.count("\n") == 1
    assert "hunter2" not in errors


def test_up_says_that_the_portals_sign_in_needs_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GHASI_FIREBASE_PROJECT_ID", "acme")
    # no carriers: it ends before it starts anything
    assert run(["up", "--data-dir", str(tmp_path)]) == 2
    assert "GHASI_FIREBASE_API_KEY is not set" in capsys.readouterr().err
    assert run(["up", "--data-dir", str(tmp_path), "--firebase-api-key", "k"]) == 2
    assert "GHASI_FIREBASE_API_KEY" not in capsys.readouterr().err
