"""Promises about the access token: its claims, its header, and that the published key has signed it."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import jwt
from jwt.algorithms import RSAAlgorithm

from ghasi.contract.check import tokens
from ghasi.contract.check.asking import describe
from ghasi.contract.check.bench import Bench
from ghasi.contract.check.promises import Broken, NotChecked, Promise
from ghasi.contract.claims import ROLE_CUSTOMER
from ghasi.contract.table import BY_OPERATION

_KEYS = BY_OPERATION["get_json_web_keys"]


def _is_uuid(value: Any, _: Bench) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _is_text(value: Any, _: Bench) -> bool:
    return isinstance(value, str) and bool(value)


def _is_email(value: Any, _: Bench) -> bool:
    return isinstance(value, str) and "@" in value


def _is_customer(value: Any, _: Bench) -> bool:
    return isinstance(value, list) and all(isinstance(role, str) for role in value) and ROLE_CUSTOMER in value


def _is_ahead(value: Any, bench: Bench) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > bench.clock.time() - 60


def _is_issuer(value: Any, bench: Bench) -> bool:
    return bool(value == bench.options.issuer)


_CLAIMS: dict[str, tuple[str, Callable[[Any, Bench], bool]]] = {
    "sub": ("the user's id, a string", _is_text),
    "account_id": ("the account's id, a UUID", _is_uuid),
    "email": ("an e-mail address", _is_email),
    "roles": (f"a list with {ROLE_CUSTOMER} in it", _is_customer),
    "exp": ("a Unix time that is not past", _is_ahead),
    "iss": ("the issuer", _is_issuer),
}


async def _claim(name: str, bench: Bench) -> None:
    meaning, fits = _CLAIMS[name]
    claims = (await bench.candidate("A", bench.options.token)).claims
    if name not in claims:
        raise Broken(f"{name}: {meaning}", f"no {name}")
    if not fits(claims[name], bench):
        if name == "iss":  # the one that says nothing about anybody
            raise Broken(f"iss: {bench.options.issuer}", f"iss: {claims[name]}")
        raise Broken(f"{name}: {meaning}", "another value")


async def _header(bench: Bench) -> None:
    header, _ = tokens.read((await bench.candidate("A", bench.options.token)).token)
    if header.get("alg") != "RS256":
        raise Broken("alg: RS256", f"alg: {header.get('alg')}")
    if not isinstance(header.get("kid"), str) or not header["kid"]:
        raise Broken("a kid", "none")


async def _signature(bench: Bench) -> None:
    person = await bench.candidate("A", bench.options.token)
    kid = tokens.read(person.token)[0].get("kid")
    key = next((key for key in await get_keys(bench) if key.get("kid") == kid), None)
    if key is None:
        raise Broken("the token's kid among the published keys", "another")
    signed, signature = tokens.signed_part(person.token)
    try:
        public = RSAAlgorithm.from_jwk(key)
    except (jwt.InvalidKeyError, ValueError):  # not RSA, or numbers that cannot be a key's
        raise Broken("a public RSA key", "another") from None
    if not RSAAlgorithm(RSAAlgorithm.SHA256).verify(signed, public, signature):  # type: ignore[arg-type]
        raise Broken("a signature by the published key", "another")


async def get_keys(bench: Bench) -> list[tokens.Json]:
    """Return the published keys; raises NotChecked where there are none."""
    try:
        answer = await bench.anonymous(_KEYS)
        keys = answer.find("keys")
    except Broken as error:
        raise NotChecked(f"no {_KEYS.path}: {error.seen}") from error
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise NotChecked(f"no {_KEYS.path}: {describe(answer)}")
    return keys


async def get_kid(bench: Bench) -> str:
    """Return the kid of a key that signs tokens: that of the token, else a published one; raises NotChecked."""
    try:
        kid = tokens.read((await bench.candidate("A", bench.options.token)).token)[0].get("kid")
    except NotChecked:
        kid = next((key.get("kid") for key in await get_keys(bench)), None)
    if not isinstance(kid, str) or not kid:
        raise NotChecked("no kid is known")
    return kid


PROMISES: tuple[Promise, ...] = (
    *(
        Promise(f"claims.{name}", f"The token's {name} is {meaning}", "contract 3", partial(_claim, name))
        for name, (meaning, _) in _CLAIMS.items()
    ),
    Promise("claims.header", "The token's header says RS256 and which key", "contract 3", _header),
    Promise("claims.signature", "The published key (JWKS) verifies the token", "contract 3", _signature),
)
