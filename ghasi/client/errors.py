"""What can go wrong with a call of the API, read from Kong's bodies and from RFC 9457 problems alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ghasi.contract.shapes import FieldError

GATEWAY_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "no_route",
    413: "body_too_large",
    429: "rate_limited",
    502: "bad_gateway",
    503: "unavailable",
    504: "upstream_timeout",
}
"""Codes for the gateway's own answers, which have none."""
LONGEST_MESSAGE = 500


class GhasiError(Exception):
    """A call that did not succeed."""


@dataclass
class ApiUnreachableError(GhasiError):
    """No answer: the API refuses, cannot be found, broke off or took longer than the contract's time-out.

    Whether the request was carried out is unknown; send_message may be repeated with the same idempotency key.
    """

    operation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.reason}"


@dataclass
class ApiError(GhasiError):
    """An answer that is an error.

    `code` is a service's stable code (contract.errors.CODES), one of GATEWAY_CODES, or `invalid_answer` when a success
    could not be read. `retry_after_s` is set when the answer says when to try again; `errors` names faulty fields.
    """

    status: int
    code: str
    message: str
    request_id: str | None = None
    retry_after_s: float | None = None
    errors: tuple[FieldError, ...] = ()

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


class _Body(msgspec.Struct):
    """What is of use in a problem or one of Kong's bodies."""

    code: str | None = None
    detail: str | None = None
    title: str | None = None
    message: str | None = None
    exp: str | None = None
    request_id: str | None = None
    errors: tuple[FieldError, ...] = ()


def read_error(status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
    """Make an ApiError of any answer, even one that is not JSON."""
    try:
        body = msgspec.json.decode(raw, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = _Body(message=raw[:LONGEST_MESSAGE].decode("utf-8", "replace").strip() or None)
    message = body.detail or body.title or body.message or body.exp or f"HTTP status {status}"
    return ApiError(
        status,
        body.code or GATEWAY_CODES.get(status, f"http_{status}"),
        message,
        body.request_id or headers.get("X-Kong-Request-Id"),
        _seconds(headers.get("Retry-After")),
        body.errors,
    )


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.isascii() and value.isdigit() else None
