"""What a verified caller is made of: the access token's claims and the headers that the gateway makes of them.

Owns the names and what they hold, for the gateway's and auth-service's readers and for the docs. Signs and verifies
nothing.
"""

from dataclasses import dataclass

ROLE_CUSTOMER = "customer"
"""The role that the portal requires."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the access token, as the contract's section 3 has it."""

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

INJECTED_HEADERS: tuple[InjectedHeader, ...] = (
    InjectedHeader("X-Account-Id", "The claim `account_id`", "The key's account"),
    InjectedHeader("X-User-Id", "The claim `sub`", "The user who created the key"),
    InjectedHeader("X-Consumer-Username", "`ghasi-user`", "`ghasi-key`"),
)
