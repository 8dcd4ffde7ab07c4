"""How an API key is written: `ghk_`, 30 random characters, 6 of checksum; auth-service makes it, the gateway reads it.

The checksum lets a typing error or a scanner's false find be refused without asking anyone. It proves nothing else.
"""

import hashlib
import secrets
import zlib
from collections.abc import Container

from ghasi.contract.errors import Problem

PREFIX = "ghk_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS = 30
CHECKSUM_CHARACTERS = 6
LENGTH = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
SHOWN_CHARACTERS = 12
"""Of a key's beginning, by which its owner recognises it: `ghk_` and 8 of the random ones."""


def new_key() -> str:
    """Make an API key: 178 random bits in base62, prefixed and with its checksum."""
    unchecked = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return unchecked + _checksum(unchecked)


def checksum_valid(key: str) -> bool:
    """Say whether a text has an API key's form and its checksum fits; never raises."""
    if len(key) != LENGTH or not key.isascii() or not key.startswith(PREFIX):
        return False
    return _checksum(key[:-CHECKSUM_CHARACTERS]) == key[-CHECKSUM_CHARACTERS:]


def key_hash(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal, under which it is stored and looked up."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_prefix(key: str) -> str:
    """Return a key's beginning, which may be shown and stored."""
    return key[:SHOWN_CHARACTERS]


def require_scope(scope: str | None, held: Container[str]) -> None:
    """Hold a key to an operation's scope; raises Problem user_required where it has none, or insufficient_scope."""
    if scope is None or scope not in held:
        raise scope_lacking(scope)


def scope_lacking(scope: str | None) -> Problem:
    """Return what a key hears that has no scope for an operation, or that no key may call."""
    if scope is None:
        return Problem("user_required")
    return Problem("insufficient_scope", f"This operation needs the scope {scope}.")


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
