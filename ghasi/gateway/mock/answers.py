"""The answers that need no service: the gateway's own by the functions that it makes them with, services' by example.

Owns which of several is given where only a status was wished for: the gateway's before a service's, then the row's
first.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ghasi.contract.emit.examples import EXAMPLES, component_name
from ghasi.contract.errors import CODES, Problem, invalid
from ghasi.contract.keys import scope_lacking
from ghasi.contract.row import PDF, Auth, Row
from ghasi.contract.serving import JSON, PROBLEM_JSON
from ghasi.contract.statuses import gateway_messages, problem_codes
from ghasi.gateway import answers
from ghasi.gateway.answers import ProblemRefusal, Refusal
from ghasi.gateway.upstreams import UpstreamAnswer

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_REFUSALS: Mapping[int, Callable[[], Refusal]] = {
    _NOT_FOUND: answers.no_route,
    408: answers.body_too_slow,
    413: answers.body_too_large,
    429: answers.over_limit,
    500: answers.unexpected_error,
    502: answers.bad_gateway,
    503: answers.name_not_resolved,
    504: answers.upstream_too_slow,
}
UNCOUNTED = frozenset({_UNAUTHORIZED, _NOT_FOUND, 413})
"""What the gateway answers before it counts a request: these answers have no limit's headers."""
_EXPIRY = frozenset({"token expired", "must be a number"})
_AT_FAULT = {
    "invalid_number": "to", "invalid_sender": "from", "invalid_send_at": "send_at", "body_too_long": "body",
    "invalid_url": "url", "invalid_cursor": "cursor", "invalid_invitation": "invitation",
    "invalid_idempotency_key": "Idempotency-Key",
}  # fmt: skip
"""The field that a problem names."""


def refusal(row: Row, status: int, name: str | None) -> Refusal | None:
    """Return what the gateway itself answers with a status; None where that is a service's to answer."""
    if name in CODES:
        return None
    if status == _UNAUTHORIZED and (name is not None or row.auth is Auth.BEARER):
        return _unauthorized(name)
    if status == _FORBIDDEN and row.auth is Auth.BEARER:
        return ProblemRefusal(scope_lacking(row.scope))
    is_gateways = status in gateway_messages(row) or (status == _NOT_FOUND and status not in problem_codes(row))
    return _REFUSALS[status]() if is_gateways or name is not None else None


def _unauthorized(message: str | None) -> Refusal:
    if message is None or message == "Unauthorized":
        return answers.no_token()
    return (answers.bad_expiry if message in _EXPIRY else answers.bad_token)(message)


def example_answer(row: Row, status: int, name: str | None, request_id: str) -> UpstreamAnswer:
    """Return what a service answers with a status: the row's example, or a problem."""
    if status == row.success:
        if row.response is None and row.media is None:
            return UpstreamAnswer(status, [], b"")
        return UpstreamAnswer(status, [(b"content-type", (row.media or JSON.decode()).encode())], example_body(row))
    codes = problem_codes(row)[status]
    code = name or next((code for code in row.problems if code in codes), codes[0])
    body = problem(row, code).body(request_id)
    return UpstreamAnswer(status, [(b"content-type", PROBLEM_JSON)], answers.encode(body))


def problem(row: Row, code: str) -> Problem:
    """Return an example of a problem, which names a field where such a problem does."""
    if CODES[code].status != 422:  # noqa: PLR2004 - what is about fields
        return Problem(code)
    shape = row.body or row.query
    first = "$" if shape is None else msgspec.structs.fields(shape)[0].encode_name
    return invalid(_AT_FAULT.get(code, first), CODES[code].title, code)


def component(row: Row) -> str:
    """Return the name of a row's response among the examples."""
    return shape_name(row.response)


def shape_name(shape: Any) -> str:
    """Return the name of a shape among the examples."""
    (reference,), _ = msgspec.json.schema_components([shape], ref_template="{name}")
    return component_name(reference["$ref"])


def example_body(row: Row) -> bytes:
    """Return the body of a row's success by example."""
    if row.media is None:
        return msgspec.json.encode(EXAMPLES[component(row)])
    return _PDF if row.media == PDF else _csv(EXAMPLES["Message" if row.operation == "export_messages" else "Invoice"])


def _csv(example: Mapping[str, Any]) -> bytes:
    cells = [str(value) for value in example.values() if not isinstance(value, dict | list)]
    names = [name for name, value in example.items() if not isinstance(value, dict | list)]
    return ("\r\n".join((",".join(names), ",".join(f'"{cell}"' for cell in cells))) + "\r\n").encode()


def _make_pdf(text: str) -> bytes:
    """Make a page with a line of text (PDF 1.4; ASCII without brackets and backslashes)."""
    drawing = f"BT /F 24 Tf 72 720 Td ({text}) Tj ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    made, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    made += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return (made + f"startxref\n{made.index('xref')}\n%%EOF\n").encode()


_PDF = _make_pdf("An example of a document")
