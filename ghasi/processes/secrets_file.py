"""The secrets that `up` and `database` make once and keep in the data folder: secrets.json, 0600.

Owns the file. A secret that is set by GHASI_* is never written to it. Without `secret_key` what is sealed in the
database is lost, so the file belongs in a backup.
"""

import secrets
from pathlib import Path
from uuid import uuid4

import msgspec

from ghasi.settings import Settings
from ghasi.storage.embedded import write_private
from ghasi.storage.sealing import new_secret_key

FILE = "secrets.json"


class Secrets(msgspec.Struct, frozen=True):
    """What the file holds; `gateway_instance` is the name by which this installation's gateway keeps its lease."""

    secret_key: str = msgspec.field(default_factory=new_secret_key)
    upstream_secret: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(32))
    portal_secret: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(32))
    gateway_instance: str = msgspec.field(default_factory=lambda: uuid4().hex)


class SecretsError(Exception):
    """secrets.json can't be read; a new one would make what is sealed unreadable, so there is none."""


def find_secrets(data_dir: Path) -> Secrets | None:
    """Return what the file holds, if there is one; raises SecretsError when it is damaged."""
    file = data_dir / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Secrets)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise SecretsError(f"{file} can't be read: {error}; restore it from a backup") from error


def make_secrets(data_dir: Path) -> Secrets:
    """Return what the file holds, made when there is none; the caller holds the data folder's lock."""
    found = find_secrets(data_dir)
    made = found or Secrets()
    content = msgspec.json.encode(made)
    file = data_dir / FILE
    if found is None or file.read_bytes() != content:  # an older file may lack a secret that came later
        write_private(file, content)
    return made


def with_secrets(settings: Settings, kept: Secrets | None) -> Settings:
    """Return settings whose unset secrets are those of the file."""
    if kept is None:
        return settings
    names = ("secret_key", "upstream_secret", "portal_secret")
    return settings.model_copy(update={name: getattr(kept, name) for name in names if getattr(settings, name) is None})
