"""What the gateway itself asks of auth-service: the published keys, what an API key stands for, the lease.

Owns the three calls and what their answers mean. Caches nothing and decides nothing.
"""

import asyncio

import msgspec

from ghasi.contract.shapes import ApiKeyGrant, ApiKeyLookup, GatewayLease, GatewayState, JsonWebKeySet
from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.upstreams import UpstreamAnswer, UpstreamClient, UpstreamError, UpstreamRequest

_OK, _NOT_FOUND, _CONFLICT = 200, 404, 409
_decode_keys = msgspec.json.Decoder(JsonWebKeySet).decode
_decode_grant = msgspec.json.Decoder(ApiKeyGrant).decode
_decode_state = msgspec.json.Decoder(GatewayState).decode


class AuthServiceAway(Exception):  # noqa: N818 - says what happened
    """auth-service did not answer, or not as the contract says."""


class LeaseHeldElsewhere(Exception):  # noqa: N818 - says what happened
    """A gateway process that does not share its limits with this one holds the lease."""


class AuthService:
    """The gateway's own calls; each raises AuthServiceAway."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def get_keys(self) -> JsonWebKeySet:
        """Return the public keys that sign access tokens now."""
        answer = await self._call("get_json_web_keys", None)
        if answer.status != _OK:
            raise AuthServiceAway(f"status {answer.status}")
        try:
            return _decode_keys(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AuthServiceAway("the keys are not as the contract says") from error

    async def find_api_key(self, key_hash: str) -> ApiKeyGrant | None:
        """Return what the API key with this SHA-256 stands for, or None when there is no such valid key."""
        answer = await self._call("find_api_key", ApiKeyLookup(hash=key_hash))
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise AuthServiceAway(f"status {answer.status}")
        try:
            return _decode_grant(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AuthServiceAway("the grant is not as the contract says") from error

    async def hold_lease(self, instance: str, *, shares_limits: bool) -> GatewayState:
        """Hold the lease for another while; raises LeaseHeldElsewhere."""
        answer = await self._call("hold_gateway_lease", GatewayLease(instance=instance, shares_limits=shares_limits))
        if answer.status == _CONFLICT:
            raise LeaseHeldElsewhere
        if answer.status != _OK:
            raise AuthServiceAway(f"status {answer.status}")
        try:
            return _decode_state(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AuthServiceAway("the state is not as the contract says") from error

    async def _call(self, operation: str, body: msgspec.Struct | None) -> UpstreamAnswer:
        row = BY_OPERATION[operation]
        content = b"" if body is None else msgspec.json.encode(body)
        headers = [(b"content-type", b"application/json")] if content else []
        try:
            async with asyncio.timeout(row.upstream_timeout_s):
                return await self._client.send(UpstreamRequest(row.method, row.path, b"", headers, content))
        except UpstreamError as error:
            raise AuthServiceAway(str(error)) from error
        except TimeoutError as error:
            raise AuthServiceAway("no answer in time") from error
