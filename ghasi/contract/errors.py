"""Every error a Ghasi service answers with: its stable code, its status, what it means and what to do.

Service errors are RFC 9457 problems (`application/problem+json`). The gateway's own errors are Kong's and live in
`gateway/answers.py`. A code, once published, never changes its meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ghasi.contract.shapes import FieldError, ProblemBody


@dataclass(frozen=True, slots=True)
class Code:
    """A stable error code: the status it comes with, a title, and what the caller can do about it."""

    status: int
    title: str
    remedy: str


CODES: dict[str, Code] = {
    # any operation
    "invalid_json": Code(400, "The body is not JSON", "Send one JSON document, encoded as UTF-8."),
    "invalid_request": Code(422, "A field or query parameter is invalid", "`errors` names each field and its fault."),
    "invalid_cursor": Code(422, "The cursor is not one of ours", "Pass `next_cursor` of the page before, unchanged."),
    "not_found": Code(404, "There is no such resource", "Check the id; another account's resources are not shown."),
    "method_not_allowed": Code(405, "The resource has no such method", "See the contract's table of routes."),
    "not_from_gateway": Code(403, "The request did not come through the gateway", "Send it to the API's own address."),
    "internal_error": Code(500, "Something broke on our side", "Try again; quote the request_id when you report it."),
    "service_unavailable": Code(503, "The service cannot answer now", "Try again shortly; nothing was done."),
    "idempotency_key_reused": Code(
        409, "The Idempotency-Key was used with another body", "Use a new key for a new request."
    ),
    "invalid_idempotency_key": Code(422, "The Idempotency-Key is invalid", "Send 1 to 255 printable ASCII characters."),
    "already_created": Code(
        409, "This Idempotency-Key already created a resource", "`detail` has its id; its secret is never shown again."
    ),
    "insufficient_scope": Code(403, "The API key lacks the scope", "Use a key with the scope that `detail` names."),
    "user_required": Code(403, "An API key may not do this", "Sign in: this operation takes a user's JWT only."),
    # auth-service
    "invalid_api_key": Code(401, "There is no such API key", "Use a key that was neither revoked nor has expired."),
    "invalid_id_token": Code(401, "The ID token was refused", "Sign in at the identity provider again."),
    "identity_unavailable": Code(503, "The identity provider's keys cannot be had", "Try again shortly."),
    "refresh_token_missing": Code(401, "There is no refresh token cookie", "Sign in."),
    "invalid_refresh_token": Code(401, "The refresh token is not valid any more", "Sign in again."),
    "foreign_origin": Code(403, "The request comes from a foreign origin", "Refresh from the portal's own pages."),
    "user_not_found": Code(401, "The user of this token is gone", "Sign in again."),
    "too_many_api_keys": Code(409, "The account has as many API keys as it may", "Revoke keys that are not in use."),
    "invalid_invitation": Code(
        422, "The invitation cannot be taken up", "Ask for a new one; sign in with the address that was invited."
    ),
    "already_in_account": Code(
        409, "The person is in another account already", "Leave that account, or sign in with another address."
    ),
    "owner_required": Code(403, "Only an owner of the account may do this", "Ask an owner."),
    "last_owner": Code(409, "An account keeps one owner at least", "Make somebody else an owner first."),
    "already_member": Code(409, "The person is in the account already", "Change their role instead."),
    "too_many_invitations": Code(409, "The account has as many invitations as it may", "Revoke those not needed."),
    "gateway_exists": Code(
        409, "Another gateway process holds the lease", "Run one gateway process, or give all the same GHASI_REDIS_URL."
    ),
    # sms-orchestrator
    "invalid_number": Code(422, "The number is not one that can be called", "Use E.164: +93701234567."),
    "invalid_sender": Code(422, "The sender is invalid", "Use E.164, 3 to 8 digits, or a name of up to 11 characters."),
    "body_too_long": Code(422, "The text needs more than 10 segments", "Shorten it, or send it as several messages."),
    "account_suspended": Code(403, "The account is suspended", "Ask the operator."),
    "country_not_allowed": Code(403, "The account may not send to this country", "Ask the operator to allow it."),
    "invalid_send_at": Code(422, "The time to send at is out of bounds", "Choose 5 minutes to 30 days from now."),
    "sender_not_allowed": Code(
        403, "The account may not use this sender for this country", "GET /v1/senders lists those it may use."
    ),
    "recipient_opted_out": Code(
        403, "The recipient asked for no more messages", "Write again once they have sent START or opted in."
    ),
    "not_cancelable": Code(409, "The message cannot be canceled any more", "Its `status` says what became of it."),
    "not_redactable": Code(409, "The message is still on its way", "Cancel it, or redact it once it has ended."),
    "not_a_pool_sender": Code(409, "A name cannot be in the pool", "Put numbers and short codes in the pool."),
    "invalid_callback": Code(401, "The carrier's report does not prove itself", "Send the secret that was agreed on."),
    "daily_cap_reached": Code(403, "The account's daily cap of messages is reached", "Go on after 00:00 UTC."),
    "insufficient_balance": Code(
        402, "The account's prepaid balance is used up", "Top it up; what is held for messages on their way counts."
    ),
    "spending_limit_reached": Code(
        402, "The account's spending limit of the month is reached", "Raise the limit, or go on in the next UTC month."
    ),
    # webhook-dispatcher
    "invalid_url": Code(422, "The URL cannot be used as an endpoint", "Use a public https address."),
    "webhook_disabled": Code(409, "The endpoint is disabled", "Enable it first."),
    "too_many_webhooks": Code(409, "The account has as many endpoints as it may", "Delete those not in use."),
}


@dataclass(slots=True)
class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """Raised by a service to answer with an error; `code` is a key of CODES."""

    code: str
    detail: str = ""
    errors: Sequence[FieldError] = field(default_factory=tuple)

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the code."""
        return CODES[self.code].status

    def body(self, request_id: str) -> ProblemBody:
        """Return the problem as it is sent."""
        code = CODES[self.code]
        return ProblemBody(
            type=f"https://docs.ghasi.io/errors#{self.code}",
            title=code.title,
            status=code.status,
            detail=self.detail or code.remedy,
            code=self.code,
            request_id=request_id,
            errors=list(self.errors),
        )

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def invalid(name: str, message: str, code: str = "invalid_request") -> Problem:
    """Make a problem about one field, with the field named in `errors`."""
    return Problem(code, message, (FieldError(field=name, message=message),))
