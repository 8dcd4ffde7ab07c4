"""auth-service's part of the mock: tokens signed by a key of this process, sessions, and what API keys stand for.

Owns the one account and its one person, who is called what the last ID token said. Verifies no ID token: any will do.
"""

import base64
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ghasi.auth.cookies import RefreshCookie
from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.errors import Problem
from ghasi.contract.keys import key_hash
from ghasi.contract.serving import Call, Reply
from ghasi.contract.shapes import ApiKeyGrant, GatewayState, JsonWebKey, JsonWebKeySet
from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.mock.memory import Json, Memory
from ghasi.settings import Settings

API_KEY = "ghk_MockMockMockMockMockMockMockMo3OtHm9"
"""The ready key, the same at every start, so that it can stand in scripts."""
ACCESS_LIFETIME_S, READY_LIFETIME_S, REFRESH_DAYS = 900, 86_400, 30
USERS = "/v1/users"
OTHER = {
    "id": "01936f06-9c4d-7a21-8e5f-4b3c2d1e0f9a", "email": "omid@example.com", "name": "Omid", "role": "member",
}  # fmt: skip
"""Somebody else in the account, on whom to try roles and removal."""
MOST_SESSIONS = 1000


class People:
    """Who may call: `user` and `account` as the contract shows them, and the keys' grants by their hashes."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = f"mock-{secrets.token_hex(4)}"  # whoever has kept another start's key must not look there
        self._issuer = settings.issuer
        self._cookie = RefreshCookie.of(settings)
        self._refresh_tokens: dict[str, None] = {}
        self._memory = memory
        self._grants: dict[str, ApiKeyGrant] = {}
        self.user: Json = dict(EXAMPLES["Session"]["user"])
        memory.add(USERS, {**memory.lists[USERS][self.user["id"]], **OTHER})

    @property
    def account(self) -> Json:
        """The account as sessions show it."""
        account = self._memory.document(BY_OPERATION["get_account"])
        return {name: account[name] for name in ("id", "name")}

    def access_token(self, lifetime_s: int = ACCESS_LIFETIME_S) -> str:
        """Make an access token of the person with the contract's claims."""
        now = int(time.time())
        claims = {
            "sub": self.user["id"], "account_id": self.account["id"], "email": self.user["email"],
            "roles": self.user["roles"], "iss": self._issuer, "iat": now, "exp": now + lifetime_s,
            "name": self.user["name"], "account_name": self.account["name"],
        }  # fmt: skip
        return self.sign(claims)

    def sign(self, claims: Json) -> str:
        """Sign a token of any claims by the published key."""
        return jwt.encode(claims, self._private_key, algorithm="RS256", headers={"kid": self._kid})

    def grant(self, key: str, item: Json) -> None:
        """Let an API key be used."""
        expires_at = item["expires_at"] and datetime.fromisoformat(item["expires_at"]).timestamp()
        self._grants[key_hash(key)] = ApiKeyGrant(
            id=item["id"], account_id=self.account["id"], user_id=self.user["id"], scopes=item["scopes"],
            expires_at=expires_at,
        )  # fmt: skip

    def revoke(self, key_id: str) -> None:
        """Let an API key be used no more."""
        self._grants = {digest: grant for digest, grant in self._grants.items() if grant.id != key_id}

    def require_other_owner(self, user_id: str) -> None:
        """Raise Problem last_owner where nobody else owns the account."""
        owners = [one["id"] for one in self._memory.lists[USERS].values() if one["role"] == "owner"]
        if owners == [user_id]:
            raise Problem("last_owner")

    # operations

    async def sign_in_with_firebase(self, call: Call) -> Reply:
        """Begin a session by any ID token; the person takes the address and the name that it says."""
        claims = read_claims(call.body.id_token)
        for name in ("email", "name"):
            if isinstance(claims.get(name), str) and claims[name]:
                self.user[name] = self._memory.lists[USERS][self.user["id"]][name] = claims[name]
        return self._session()

    async def refresh_session(self, call: Call) -> Reply:
        """Go on with a session; the token before stays good, until signing out."""
        token = self._cookie.find(call.headers)
        if token is None:
            raise Problem("refresh_token_missing")
        if token not in self._refresh_tokens:
            raise Problem("invalid_refresh_token")
        return self._session()

    async def sign_out(self, call: Call) -> Reply:
        """End all sessions."""
        if self._cookie.find(call.headers) in self._refresh_tokens:
            self._refresh_tokens.clear()
        return Reply(headers=[self._cookie.clear()])

    async def get_me(self, call: Call) -> Reply:
        """Show the person and the account."""
        del call
        return Reply({"user": self.user, "account": self.account})

    async def get_json_web_keys(self, call: Call) -> Reply:
        """Publish the key."""
        del call
        numbers = RSAAlgorithm.to_jwk(self._private_key.public_key(), as_dict=True)
        key = JsonWebKey(kty="RSA", use="sig", alg="RS256", kid=self._kid, n=numbers["n"], e=numbers["e"])
        return Reply(JsonWebKeySet(keys=[key]))

    async def find_api_key(self, call: Call) -> Reply:
        """Tell the gateway what an API key stands for."""
        grant = self._grants.get(call.body.hash)
        if grant is None:
            raise Problem("not_found")
        return Reply(grant)

    async def hold_gateway_lease(self, call: Call) -> Reply:
        """Let the gateway be one."""
        del call
        return Reply(GatewayState(limits={}, removed_users=[]))

    def _session(self) -> Reply:
        token, now = secrets.token_urlsafe(32), datetime.now(UTC)
        self._refresh_tokens[token] = None
        if len(self._refresh_tokens) > MOST_SESSIONS:
            del self._refresh_tokens[next(iter(self._refresh_tokens))]
        session = {
            "access_token": self.access_token(), "token_type": "Bearer", "expires_in": ACCESS_LIFETIME_S,
            "user": self.user, "account": self.account,
        }  # fmt: skip
        cookie = self._cookie.set(token, now + timedelta(days=REFRESH_DAYS), now)
        return Reply(session, headers=[cookie, (b"cache-control", b"no-store")])


def read_claims(token: str) -> dict[str, Any]:
    """Return what a JWT claims, whoever signed it; nothing where it is none."""
    try:
        payload = token.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=dict[str, Any])
    except (IndexError, ValueError, msgspec.DecodeError):
        return {}
