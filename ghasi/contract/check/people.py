"""Who calls during a run: two people of two accounts, by tokens that were given or by signing up.

Owns signing up, at a Firebase-compatible identity server and then through POST /v1/auth/firebase.
"""

import json
import re
from dataclasses import dataclass
from uuid import uuid4

from ghasi.contract.check import tokens
from ghasi.contract.check.asking import Answer, Http, describe
from ghasi.contract.check.promises import Broken, CannotCheck, NoAnswer, NotChecked

_COOKIE = re.compile(r"^\s*((?:__Host-)?ghasi_refresh)=([^;]+)")
COOKIE_NAMES = ("ghasi_refresh", "__Host-ghasi_refresh")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who may call: `account` names the account in what is printed."""

    account: str
    token: str

    @property
    def claims(self) -> tokens.Json:
        """What the token says."""
        return tokens.read(self.token)[1]

    @property
    def authorization(self) -> str:
        """The header by which they call."""
        return f"Bearer {self.token}"


async def get_id_token(http: Http, identity: str, key: str) -> str:
    """Sign a fresh person up at an identity server and return their ID token; raises CannotCheck: it was meant to."""
    person = {"email": f"check-{uuid4().hex}@example.com", "password": uuid4().hex, "returnSecureToken": True}
    try:
        answer = await http.ask(
            "POST",
            f"{identity.rstrip('/')}/accounts:signUp?key={key}",
            headers={"Content-Type": "application/json"},
            body=json.dumps(person).encode(),
        )
    except NoAnswer as error:
        raise CannotCheck(f"--identity: {identity} gave no answer: {error.seen}") from error
    id_token = answer.find("idToken")
    if not isinstance(id_token, str):
        raise CannotCheck(f"--identity: {identity} signed nobody up: {describe(answer)}")
    return id_token


def cookie_of(answer: Answer) -> str | None:
    """Return the refresh token that an answer sets, or None."""
    for value in answer.headers.getall("Set-Cookie", []):
        if found := _COOKIE.match(value):
            return found[2]
    return None


def cookie_header(token: str) -> str:
    """Write the Cookie header that presents a refresh token, under the names it has on http and on https.

    One that was given with its name is presented under that alone.
    """
    if found := _COOKIE.match(token):
        return f"{found[1]}={found[2]}"
    return "; ".join(f"{name}={token}" for name in COOKIE_NAMES)


def read_person(account: str, token: str) -> Person:
    """Make a person of a token that was given; raises NotChecked where it is no JWT."""
    try:
        tokens.read(token)
    except Broken:
        raise NotChecked(f"the token of account {account} is no JWT") from None
    return Person(account, token)
