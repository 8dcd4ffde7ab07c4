"""Encrypts what must not lie readable in the database: signing keys, webhook secrets, header values.

GHASI_SECRET_KEY is one Fernet key (32 random bytes, URL-safe base64) or several separated by commas: the first seals,
all open, so that a key can be rotated. Without the key the sealed values are lost, so it belongs in a backup.
"""

import hmac
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class SealError(Exception):
    """The key is malformed, or it is not the one that a value was sealed with."""


def new_secret_key() -> str:
    """Make a key for GHASI_SECRET_KEY."""
    return Fernet.generate_key().decode()


class Sealer:
    """Seals and opens values, and derives keys for other purposes."""

    def __init__(self, secret_key: str) -> None:
        self._keys = [key.strip().encode() for key in secret_key.split(",") if key.strip()]
        try:
            fernets = [Fernet(key) for key in self._keys]
            self._fernet = MultiFernet(fernets)
        except ValueError as error:
            raise SealError("GHASI_SECRET_KEY must be 32 random bytes in URL-safe base64") from error
        self._first = fernets[0]

    @property
    def key_names(self) -> tuple[str, ...]:
        """Eight characters that tell each key from others and give nothing of it away, the first key's first."""
        return tuple(key.hex()[:8] for key in self.derive("name"))

    def seal(self, value: bytes) -> bytes:
        """Encrypt and authenticate."""
        return self._fernet.encrypt(value)

    def open(self, sealed: bytes) -> bytes:
        """Undo seal; raises SealError when the key is another or the value was changed."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise SealError(
                "a sealed value does not open: GHASI_SECRET_KEY is not the one it was sealed with"
            ) from error

    def reseal(self, sealed: bytes) -> bytes | None:
        """Return a value sealed under the first key, or None if it is so already; raises SealError as open does."""
        try:
            self._first.decrypt(sealed)
        except InvalidToken:
            return self.seal(self.open(sealed))
        return None

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """Derive 32 bytes for a purpose (HMAC-SHA256 of its name) from each key, never the key itself for two ends.

        The first is for what is made; the others are for what was made before a key was put in front.
        """
        return tuple(hmac.digest(key, purpose.encode(), sha256) for key in self._keys)
