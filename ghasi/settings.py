"""Every setting of Ghasi: its unit, its default and what it means.

A value comes, strongest first, from a command-line flag (`--api-port`), the environment (`GHASI_API_PORT`) or the
TOML file that `GHASI_CONFIG` names (`api_port = 8000`). Nothing else in Ghasi reads the environment.
"""

import base64
import os
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

Port = int
SECRET_KEY_BYTES = 32


class SettingsError(Exception):
    """The file that GHASI_CONFIG names can't be used; the text names it and says why."""


class Settings(BaseSettings):
    """All settings of one process; immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix="GHASI_", env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True,
        # what is wrong may be a secret, or hold one
        hide_input_in_errors=True,
    )  # fmt: skip

    dev: bool = Field(default=False, description="Simulated carrier, local identity, webhooks to private addresses")
    data_dir: Path = Field(default=Path("ghasi-data"), description="Embedded database and keys")
    database_url: str | None = Field(default=None, description="Any PostgreSQL instead of the embedded one")
    auth_database_url: str | None = Field(default=None, description="auth's own PostgreSQL; it needs GHASI_NATS_URL")
    messages_database_url: str | None = Field(default=None, description="messages' own PostgreSQL, likewise")
    webhooks_database_url: str | None = Field(default=None, description="webhooks' own PostgreSQL, likewise")
    billing_database_url: str | None = Field(default=None, description="billing's own PostgreSQL, likewise")
    nats_url: str | None = Field(
        default=None, description="NATS with JetStream, which carries events between services; default PostgreSQL"
    )
    nats_keep_days: int = Field(default=3, ge=2, le=365, description="Days that NATS keeps events, read or not")
    nats_replicas: int = Field(default=1, ge=1, le=5, description="NATS servers of the cluster that keep each event")
    redis_url: str | None = Field(
        default=None, description="Valkey or Redis, in which several gateways share their limits; default one gateway"
    )
    database_pool_size: int = Field(
        default=10,
        ge=2,
        le=200,
        description="Connections a process has to a database at most, besides 1 that listens and 6 that read messages",
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address that the API and the portal listen on")
    api_port: Port = Field(default=8000, ge=0, le=65535, description="Gateway; 0 = any free port, as for all ports")
    portal_port: Port = Field(default=3000, ge=0, le=65535, description="Portal")
    smsc_port: Port = Field(default=2775, ge=0, le=65535, description="Simulated carrier")
    identity_port: Port = Field(default=9099, ge=0, le=65535, description="Local identity server")
    metrics_port: Port | None = Field(default=None, ge=0, le=65535, description="Metrics; under `up` 9464 by default")

    issuer: str = Field(default="https://api.ghasi.io", description="The JWT's iss")
    api_url: str | None = Field(default=None, description="Public URL of the API; default the loopback address")
    api_internal_url: str | None = Field(default=None, description="The portal's server-side way to the API")
    portal_url: str | None = Field(default=None, description="Public URL of the portal")
    trusted_proxies: str = Field(default="", description="Comma-separated networks whose X-Forwarded-For is believed")

    firebase_project_id: str | None = Field(default=None, description="Audience and issuer of Firebase ID tokens")
    firebase_certs_url: str = Field(
        default="https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com",
        description="Where the certificates that sign ID tokens are published",
    )
    firebase_auth_url: str = Field(
        default="https://identitytoolkit.googleapis.com", description="Base of the Firebase Auth REST API"
    )
    firebase_api_key: str | None = Field(default=None, description="The Firebase project's web API key")
    firebase_auth_domain: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9.-]+(:[0-9]+)?$",
        description="Where Firebase's own sign-in pages are; default PROJECT.firebaseapp.com",
    )
    firebase_google: bool = Field(default=False, description="Offer to sign in with Google; Firebase must allow it")
    allow_unsigned_emulator: bool = Field(default=False, description="With --dev: trust Google's emulator (alg none)")
    firebase_auth_emulator_host: str | None = Field(
        default=None, validation_alias="FIREBASE_AUTH_EMULATOR_HOST", description="host:port of Google's emulator"
    )

    limit_auth: int = Field(default=10, ge=1, description="Requests a minute per client IP on /v1/auth/*")
    limit_api_keys: int = Field(default=5, ge=1, description="API keys created a minute per account")
    limit_sends: int = Field(default=60, ge=1, description="Messages sent a minute per account")
    limit_reads: int = Field(default=120, ge=1, description="Reads (GET) a minute per account")
    limit_writes: int = Field(default=60, ge=1, description="Other writes a minute per account")
    limit_previews: int = Field(default=120, ge=1, description="Previews of messages a minute per account")
    limit_exports: int = Field(default=10, ge=1, description="CSV exports a minute per account")
    limit_batches: int = Field(default=10, ge=1, description="Batches of up to 1,000 messages a minute per account")

    auth_service_url: str | None = Field(default=None, description="Split upstream; default in process")
    sms_orchestrator_url: str | None = Field(default=None, description="Split upstream; default in process")
    message_store_url: str | None = Field(default=None, description="Split upstream; default in process")
    webhook_dispatcher_url: str | None = Field(default=None, description="Split upstream; default in process")
    billing_service_url: str | None = Field(default=None, description="Split upstream; default in process")

    upstream_secret: str | None = Field(default=None, description="The gateway's proof to split upstreams")
    portal_secret: str | None = Field(default=None, description="The portal's proof to the gateway")
    kong_admin_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]+: *[!-~][ -~]*$",
        description="`Name: value` that Kong's Admin API asks of `ghasi kong sync`",
    )
    secret_key: str | None = Field(
        default=None,
        description="Encrypts secrets at rest (32 random bytes, base64); several by commas: the first seals, all open",
    )
    webhook_proxy: str | None = Field(
        default=None,
        description="Proxy for all webhooks, http://user:password@host:port; default none, whatever HTTP_PROXY says",
    )

    seller_name: str = Field(default="Ghasi", min_length=1, max_length=200, description="Who issues the invoices")
    seller_address: str | None = Field(
        default=None, max_length=1000, description="The seller's address on invoices, in several lines"
    )
    seller_tax_id: str | None = Field(default=None, max_length=50, description="The seller's tax id on invoices")
    seller_email: str | None = Field(default=None, max_length=254, description="Whom customers ask about invoices")
    invoice_closing: Literal["automatic", "manual"] = Field(
        default="automatic", description="Whether the worker opens invoices after the grace period; or operators alone"
    )
    invoice_grace_h: int = Field(
        default=72, ge=0, le=27 * 24, description="Hours after a month's end until its invoices are opened; 0 at once"
    )

    carriers: Path | None = Field(default=None, description="Path of carriers.toml; read again when it changes")
    body_retention_days: int | None = Field(
        default=None, ge=1, le=3650, description="Days after which texts of messages are deleted; default never"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for text in filter(None, map(str.strip, value.split(","))):
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text!r} is no network, such as 10.0.0.0/8") from None
        return value

    @field_validator(
        "api_url", "api_internal_url", "portal_url", "firebase_auth_url", "firebase_certs_url", "auth_service_url",
        "sms_orchestrator_url", "message_store_url", "webhook_dispatcher_url", "billing_service_url",
    )  # fmt: skip
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_http_url(value):
            raise ValueError("must be a URL such as https://host:port")
        return value

    @field_validator("firebase_auth_emulator_host")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None and ("/" in value or not _is_http_url(f"http://{value}")):
            raise ValueError("must be host:port")
        return value

    @field_validator("nats_url")
    @classmethod
    def _nats_servers(cls, value: str | None) -> str | None:
        if value is not None and not all(map(_is_nats_url, value.split(","))):
            raise ValueError("must be nats://host:port or tls://host:port, or several of them by commas")
        return value

    @field_validator("upstream_secret", "portal_secret")
    @classmethod
    def _header_value(cls, value: str | None) -> str | None:
        # both go in an HTTP header, which loses spaces at its ends
        if value is not None and (not value.strip() or value != value.strip() or not _is_visible(value)):
            raise ValueError("must be ASCII without line breaks or spaces around it, and not empty")
        return value

    @field_validator("webhook_proxy")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        if value is not None and not _is_proxy(value):
            raise ValueError("must be http://host:port, or http://user:password@host:port")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None and not _is_redis_url(value):
            raise ValueError("must be redis://host:port/0, rediss://host:port/0 or unix:///path/to/socket")
        return value

    @field_validator("secret_key")
    @classmethod
    def _sealing_keys(cls, value: str | None) -> str | None:
        if value is None:
            return None
        keys = [key.strip() for key in value.split(",") if key.strip()]
        if not keys or not all(map(_is_sealing_key, keys)):
            raise ValueError(f"must be {SECRET_KEY_BYTES} random bytes in URL-safe base64")
        return value

    @field_validator("api_url", "api_internal_url", "portal_url", "firebase_auth_url")
    @classmethod
    def _without_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take flags, then the environment, then the TOML file of GHASI_CONFIG; raises SettingsError for the file."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("GHASI_CONFIG")
        toml = (InitSettingsSource(settings_cls, _read_file(Path(file), settings_cls)),) if file else ()
        return (init_settings, env_settings, *toml)

    @property
    def near_host(self) -> str:
        """The address by which this machine reaches what listens on `host`."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host
        if not address.is_unspecified:
            return self.host
        return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IPv4

    @property
    def public_api_url(self) -> str:
        """The API's URL as customers see it, without a trailing slash."""
        return self.api_url or near_url(self.near_host, self.api_port)

    @property
    def internal_api_url(self) -> str:
        """The API's URL as the portal's server reaches it, without a trailing slash."""
        return self.api_internal_url or near_url(self.near_host, self.api_port)

    @property
    def public_portal_url(self) -> str:
        """The portal's URL as customers see it, without a trailing slash."""
        return self.portal_url or near_url(self.near_host, self.portal_port)


def near_url(host: str, port: int) -> str:
    """Return the URL of a port, without a trailing slash; an IPv6 address is put in brackets (RFC 3986, 3.2.2)."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"GHASI_{name.upper()}"


def _read_file(file: Path, settings_cls: type[BaseSettings]) -> dict[str, Any]:
    try:
        with file.open("rb") as content:
            values = tomllib.load(content)
    except OSError as error:
        raise SettingsError(f"GHASI_CONFIG: {file}: {error.strerror}") from error
    except ValueError as error:  # neither says more than the place: the line may hold a secret
        raise SettingsError(f"GHASI_CONFIG: {file} is not TOML: {error}") from error
    if unknown := sorted(values.keys() - settings_cls.model_fields.keys()):
        raise SettingsError(f"GHASI_CONFIG: {file}: there is no setting {', '.join(unknown)}")
    return values


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0 and _is_visible(text, spaces=False)


def _is_redis_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path) and _is_visible(text)
    number = parts.path.strip("/")
    named = bool(parts.hostname) and port != 0 and (not number or number.isdigit())
    return parts.scheme in {"redis", "rediss"} and named and _is_visible(text, spaces=False)


def _is_nats_url(text: str) -> bool:
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return False
    named = parts.scheme in {"nats", "tls"} and bool(parts.hostname) and port != 0
    return named and _is_visible(text.strip(), spaces=False)


def _is_proxy(text: str) -> bool:
    if not _is_http_url(text):
        return False
    parts = urlsplit(text)
    # a colon belongs between name and password: a name that has one can't be told to a proxy (RFC 7617, 2)
    named = parts.username is None or (parts.username and ":" not in unquote(parts.username))
    beyond = parts.path.removeprefix("/") or parts.query or parts.fragment or text.endswith(("?", "#"))
    return parts.scheme == "http" and parts.port is not None and bool(named) and not beyond


def _is_visible(text: str, *, spaces: bool = True) -> bool:
    return text.isascii() and text.isprintable() and (spaces or " " not in text)


def _is_sealing_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == SECRET_KEY_BYTES
    except ValueError:
        return False
