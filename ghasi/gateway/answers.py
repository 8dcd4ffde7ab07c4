"""What the gateway answers by itself: Kong 3.9's statuses, bodies and headers, and two problems about API keys.

Owns the wording. Decides nothing: authentication, limits and forwarding raise a Refusal and the gateway sends it.
"""

from typing import Any

import msgspec

from ghasi import __version__
from ghasi.contract.errors import Problem
from ghasi.contract.serving import PROBLEM_JSON, RawHeaders

KONG_JSON = b"application/json; charset=utf-8"
SERVER = b"ghasi/" + __version__.encode()
VIA = b"1.1 " + SERVER
WWW_AUTHENTICATE = b"www-authenticate"
BEARER = b"Bearer"
INVALID_TOKEN = b'Bearer error="invalid_token"'
encode = msgspec.json.Encoder().encode


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """An answer in place of the upstream's.

    `reason` is the metric's label. `with_request_id` adds request_id to the body, as Kong does for errors of its own
    but not for its plugins' answers. `forwarded` says that an upstream was tried, so that Kong adds Via and both
    latencies.
    """

    def __init__(
        self,
        status: int,
        body: dict[str, Any],
        reason: str,
        *,
        headers: RawHeaders | None = None,
        with_request_id: bool = False,
        forwarded: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers: RawHeaders = headers if headers is not None else []
        self.forwarded = forwarded
        self._body = body
        self._with_request_id = with_request_id

    @property
    def content_type(self) -> bytes:
        """The body's media type."""
        return KONG_JSON

    def content(self, request_id: str) -> bytes:
        """Return the body as it is sent."""
        return encode({**self._body, "request_id": request_id} if self._with_request_id else self._body)


class ProblemRefusal(Refusal):
    """A refusal that Kong has no body for: an RFC 9457 problem of the contract."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, {}, problem.code)
        self._problem = problem

    @property
    def content_type(self) -> bytes:
        """RFC 9457, section 3."""
        return PROBLEM_JSON

    def content(self, request_id: str) -> bytes:
        """Return the problem as it is sent."""
        return encode(self._problem.body(request_id))


def _kong(status: int, message: str, reason: str, *, forwarded: bool = False) -> Refusal:
    return Refusal(status, {"message": message}, reason, with_request_id=True, forwarded=forwarded)


def no_token() -> Refusal:
    """Refuse a request that presents nothing that could be a token."""
    return Refusal(401, {"message": "Unauthorized"}, "no_token", headers=[(WWW_AUTHENTICATE, BEARER)])


def bad_token(message: str, reason: str = "bad_token") -> Refusal:
    """Refuse a token that is not believed."""
    return Refusal(401, {"message": message}, reason, headers=[(WWW_AUTHENTICATE, INVALID_TOKEN)])


def bad_expiry(fault: str) -> Refusal:
    """Refuse an exp that is missing, no number, or past; Kong names the claim and gives no message."""
    return Refusal(401, {"exp": fault}, "expired_token", headers=[(WWW_AUTHENTICATE, INVALID_TOKEN)])


def unknown_caller() -> Refusal:
    """Refuse an API key that is unknown, expired or revoked, or a token that is not for this API or whose user left."""
    return bad_token("Unauthorized", "unknown_caller")


def no_route() -> Refusal:
    """Refuse a path or a method that is not in the contract."""
    return _kong(404, "no Route matched with those values", "no_route")


def over_limit() -> Refusal:
    """Refuse a request whose window is used up."""
    return _kong(429, "API rate limit exceeded", "over_limit")


def body_too_large() -> Refusal:
    """Refuse a body that is larger than the contract allows."""
    return _kong(413, "Request size limit exceeded", "body_too_large")


def body_too_slow() -> Refusal:
    """Refuse a request whose body did not come in time."""
    return _kong(408, "Request timeout", "body_too_slow")


def bad_gateway() -> Refusal:
    """Say that the upstream refused, reset or broke off, or that auth-service could not be asked about the caller."""
    return _kong(502, "An invalid response was received from the upstream server", "bad_gateway", forwarded=True)


def name_not_resolved() -> Refusal:
    """Say that the upstream's name has no address."""
    return _kong(503, "name resolution failed", "name_not_resolved", forwarded=True)


def upstream_too_slow() -> Refusal:
    """Say that the upstream did not answer within the row's time."""
    return _kong(504, "The upstream server is timing out", "upstream_too_slow", forwarded=True)


def unexpected_error() -> Refusal:
    """Say that something broke inside the gateway."""
    return _kong(500, "An unexpected error occurred", "unexpected_error")
