"""Every status that a row of the contract may answer with, and by which codes; OpenAPI, docs and tests ask here.

Owns no status of its own: it reads the row, the codes of contract.errors and what Kong 3.9 answers. It describes an
answer through the gateway; that a service refuses who comes past the gateway (`not_from_gateway`) is no row's status.
"""

from collections.abc import Mapping

from ghasi.contract.errors import CODES
from ghasi.contract.row import Auth, Row

UNAUTHORIZED: tuple[str, ...] = (
    "Unauthorized",
    "Invalid signature",
    "token expired",
    "must be a number",
    "No credentials found for given 'kid'",
    "No mandatory 'kid' in claims",
    "Invalid 'kid' in claims",
    "Bad token; invalid alg",
    "Invalid algorithm",
    "Bad token; invalid JSON",
    "Bad token; invalid typ",
    "Bad token; invalid signature",
    "Multiple tokens provided",
)
"""What the gateway answers a bad token with (Kong 3.9.3); the two about `exp` stand under `exp`, not `message`."""

GATEWAY_MESSAGES: Mapping[int, tuple[str, ...]] = {
    401: UNAUTHORIZED,
    404: ("no Route matched with those values",),
    408: ("Request timeout",),
    413: ("Request size limit exceeded",),
    429: ("API rate limit exceeded",),
    500: ("An unexpected error occurred",),
    502: ("An invalid response was received from the upstream server",),
    503: ("name resolution failed",),
    504: ("The upstream server is timing out",),
}
"""The gateway's own answers, in Kong's words."""


def problem_codes(row: Row) -> dict[int, list[str]]:
    """Return the codes that a row's problems may have, by status; sorted."""
    codes = {"internal_error", "service_unavailable", *row.problems}
    if row.body is not None:
        codes |= {"invalid_json", "invalid_request"}
    if row.query is not None:
        codes.add("invalid_request")
    if row.idempotent_by_key:
        codes.add("invalid_idempotency_key")
    if row.auth is Auth.BEARER:
        codes.add("insufficient_scope" if row.scope else "user_required")
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    return dict(sorted(by_status.items()))


def gateway_messages(row: Row) -> dict[int, tuple[str, ...]]:
    """Return what the gateway itself may answer a row with, in Kong's words, by status.

    A request that matches no row has no row to answer for: its 404 is in GATEWAY_MESSAGES alone. A body may come with
    any request, wanted or not, and be too slow or too large.
    """
    applies = {408, 413, 500, 502, 503, 504}
    if row.auth is Auth.BEARER:
        applies.add(401)
    if row.limit is not None:
        applies.add(429)
    return {status: messages for status, messages in GATEWAY_MESSAGES.items() if status in applies}


def statuses(row: Row) -> dict[int, list[str]]:
    """Return every status a row may answer with, in order, and the codes it has then.

    The row's success and what the gateway alone answers have no code.
    """
    every: dict[int, list[str]] = {row.success: []}
    every.update({status: [] for status in gateway_messages(row)})
    every.update(problem_codes(row))
    return dict(sorted(every.items()))
