"""What a verified caller is made of: the access token's claims and the headers that the gateway makes of them.

Owns the names and what they hold, for the gateway's and auth-service's readers and for the docs. Signs and verifies
nothing.
"""

from dataclasses import dataclass

ROLE_CUSTOMER = "customer"
"""The role that the portal requires."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the access token: those of the contract's section 3, and those that go beyond it."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class InjectedHeader:
    """A header that the gateway sets for the upstream, as the contract's section 4 has it."""

    name: str
    from_token: str
    from_api_key: str


CLAIMS: tuple[Claim, ...] = (
    Claim("sub", "string", "The user's id"),
    Claim("account_id", "string", "The account's id, a UUID"),
    Claim("email", "string", "The user's e-mail address"),
    Claim("roles", "string[]", f"Must include `{ROLE_CUSTOMER}` for the portal"),
    Claim("exp", "unix timestamp", "When the token expires"),
    Claim("iss", "string", "`https://api.ghasi.io`, or what GHASI_ISSUER says"),
)

EXTRA_CLAIMS: tuple[Claim, ...] = (
    Claim("iat", "unix timestamp", "When the token was issued"),
    Claim("name", "string", "The user's name, at most 100 characters of it"),
    Claim("account_name", "string", "The account's name, likewise"),
    Claim("locale", "string", "The user's BCP 47 language tag; absent where it is the browser's"),
    Claim("zoneinfo", "string", "The user's IANA time zone; absent where it is the browser's"),
)
"""Extensions, named as OpenID Connect Core names them (section 5.1), so that a page needs no call to show them."""

INJECTED_HEADERS: tuple[InjectedHeader, ...] = (
    InjectedHeader("X-Account-Id", "The claim `account_id`", "The key's account"),
    InjectedHeader("X-User-Id", "The claim `sub`", "The user who created the key"),
    InjectedHeader("X-Consumer-Username", "`ghasi-user`", "`ghasi-key`"),
)
