"""Every setting of Ghasi: its unit, its default and what it means.

A value comes, strongest first, from a command-line flag (`--api-port`), the environment (`GHASI_API_PORT`) or the
TOML file that `GHASI_CONFIG` names (`api_port = 8000`). Nothing else in Ghasi reads the environment.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

Port = int


class Settings(BaseSettings):
    """All settings of one process; immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix="GHASI_", env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    dev: bool = Field(default=False, description="Simulated carrier, local identity, webhooks to private addresses")
    data_dir: Path = Field(default=Path("ghasi-data"), description="Embedded database and keys")
    database_url: str | None = Field(default=None, description="Any PostgreSQL instead of the embedded one")
    database_pool_size: int = Field(default=10, ge=2, le=200, description="Connections a process holds at most")

    host: str = Field(default="127.0.0.1", description="Address that the API and the portal listen on")
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
    allow_unsigned_emulator: bool = Field(default=False, description="With --dev: trust Google's emulator (alg none)")
    firebase_auth_emulator_host: str | None = Field(
        default=None, validation_alias="FIREBASE_AUTH_EMULATOR_HOST", description="host:port of Google's emulator"
    )

    limit_auth: int = Field(default=10, ge=1, description="Requests a minute per client IP on /v1/auth/*")
    limit_api_keys: int = Field(default=5, ge=1, description="API keys created a minute per account")
    limit_sends: int = Field(default=60, ge=1, description="Messages sent a minute per account")
    limit_reads: int = Field(default=120, ge=1, description="Reads (GET) a minute per account")
    limit_writes: int = Field(default=60, ge=1, description="Other writes a minute per account")

    auth_service_url: str | None = Field(default=None, description="Split upstream; default in process")
    sms_orchestrator_url: str | None = Field(default=None, description="Split upstream; default in process")
    message_store_url: str | None = Field(default=None, description="Split upstream; default in process")
    webhook_dispatcher_url: str | None = Field(default=None, description="Split upstream; default in process")
    billing_service_url: str | None = Field(default=None, description="Split upstream; default in process")

    upstream_secret: str | None = Field(default=None, description="The gateway's proof to split upstreams")
    portal_secret: str | None = Field(default=None, description="The portal's proof to the gateway")
    secret_key: str | None = Field(default=None, description="Encrypts secrets at rest (32 random bytes, base64)")

    carriers: Path | None = Field(default=None, description="Path of carriers.toml")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged")

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
        """Take flags, then the environment, then the TOML file of GHASI_CONFIG."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("GHASI_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @property
    def public_api_url(self) -> str:
        """The API's URL as customers see it, without a trailing slash."""
        return self.api_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def internal_api_url(self) -> str:
        """The API's URL as the portal's server reaches it, without a trailing slash."""
        return self.api_internal_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def public_portal_url(self) -> str:
        """The portal's URL as customers see it, without a trailing slash."""
        return self.portal_url or f"http://127.0.0.1:{self.portal_port}"
