"""What an answer has to be, in the words of the contract: Kong's own answers, problems of services, Bearer challenges.

Every function raises Broken where it is not. Content types and charsets may differ, JSON values may not.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.promises import Broken
from ghasi.contract.errors import CODES
from ghasi.contract.statuses import GATEWAY_MESSAGES

REQUEST_ID = "X-Kong-Request-Id"
NO_ROUTE = GATEWAY_MESSAGES[404][0]
_UNAUTHORIZED, _NOT_FOUND, _METHOD_NOT_ALLOWED = 401, 404, 405


def success(answer: Answer, status: int) -> None:
    """Hold that an answer has the status of a success."""
    if answer.status != status:
        raise Broken(str(status), describe(answer))


def kong(answer: Answer, status: int, *messages: str, member: str = "message") -> None:
    """Hold that an answer is one of Kong's own: its status, one of the messages, and nothing else but request_id.

    That is the answer's X-Kong-Request-Id; a 401 need not have it.
    """
    expected = f'{status} {{"{member}": {" or ".join(map(json.dumps, messages))}}}'
    if answer.status != status:
        raise Broken(expected, describe(answer))
    body = answer.json()
    if not isinstance(body, dict) or body.get(member) not in messages:
        raise Broken(expected, describe(answer))
    if more := sorted(map(str, body.keys() - {member, "request_id"})):
        raise Broken(expected, f"{describe(answer)} and besides {', '.join(more)}")
    if answer.media != "application/json":
        raise Broken(f"{expected} as application/json", f"Content-Type: {answer.media or 'none'}")
    named, given = body.get("request_id"), header(answer, REQUEST_ID)
    if named != given and (named is not None or status != _UNAUTHORIZED):
        seen = "no request_id" if named is None else "another value"
        raise Broken(f"request_id as in {REQUEST_ID}", f"{seen} on {describe(answer)}")


def kong_text(answer: Answer, status: int) -> None:
    """Hold that an answer is Kong's to an upstream at fault: JSON or plain text, as the client's Accept has it."""
    message = GATEWAY_MESSAGES[status][0]
    if answer.media in {"text/plain", "text/html"}:
        if answer.status != status or message not in answer.body.decode("utf-8", "replace"):
            raise Broken(f'{status} "{message}"', describe(answer))
        return
    kong(answer, status, message)


def no_route(answer: Answer) -> None:
    """Hold that an answer is Kong's to a path or a method that is in no route."""
    kong(answer, _NOT_FOUND, NO_ROUTE)


def is_no_route(answer: Answer) -> bool:
    """Say whether a gateway knows no such route, whoever made it: a service's own 404 has a code."""
    return answer.status == _METHOD_NOT_ALLOWED or (
        answer.status == _NOT_FOUND and not isinstance(answer.find("code"), str)
    )


def challenge(answer: Answer, *, token: bool) -> None:
    """Hold that a 401 names the scheme Bearer, and of a refused token the error (RFC 6750, section 3)."""
    expected = 'WWW-Authenticate: Bearer error="invalid_token"' if token else "WWW-Authenticate: Bearer"
    given = answer.headers.get("WWW-Authenticate")
    if given is None:
        raise Broken(expected, "no WWW-Authenticate")
    scheme, _, parameters = given.partition(" ")
    fits = ('error="invalid_token"' in parameters) if token else ("error=" not in parameters)
    if scheme.lower() != "bearer" or not fits:
        raise Broken(expected, f"WWW-Authenticate: {given}")


def problem(answer: Answer, code: str, *, fields: Collection[str] = ()) -> None:
    """Hold that an answer is a problem of a service with this code, and names these fields."""
    status = CODES[code].status
    expected = f'{status} {{"code": "{code}"}}'
    if answer.status != status or answer.find("code") != code:
        raise Broken(expected, describe(answer))
    named = {fault.get("field") for fault in _faults(answer)}
    if missing := [field for field in fields if field not in named]:
        raise Broken(f"errors that name {', '.join(missing)}", f"errors that name {_list(named)}")


def problem_form(answer: Answer) -> None:
    """Hold that an answer has the form of RFC 9457 with Ghasi's members."""
    if answer.media != "application/problem+json":
        raise Broken("Content-Type: application/problem+json", f"Content-Type: {answer.media or 'none'}")
    body = answer.json()
    if not isinstance(body, dict):
        raise Broken("a JSON object", describe(answer))
    for name in ("type", "title", "detail", "code", "request_id"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise Broken(f"a string in {name}", "no such member" if name not in body else f"another value in {name}")
    if body.get("status") != answer.status:
        raise Broken(f"status: {answer.status}, as the answer's", f"status: {body.get('status')}")
    if body["request_id"] != answer.headers.get(REQUEST_ID):
        raise Broken(f"request_id as in {REQUEST_ID}", "another value")
    for fault in _faults(answer):
        if not isinstance(fault.get("field"), str) or not isinstance(fault.get("message"), str):
            raise Broken("errors of {field, message}", "other members")
    if more := body.keys() - {"type", "title", "status", "detail", "code", "request_id", "errors"}:
        raise Broken("no other members", _list(more))


def header(answer: Answer, name: str) -> str:
    """Return a header's value; raises Broken where there is none."""
    value = answer.headers.get(name)
    if value is None:
        raise Broken(name, f"no {name} on {describe(answer)}")
    if name == REQUEST_ID and len(answer.headers.getall(name)) > 1:
        raise Broken(f"{name} once", f"several on {describe(answer)}")
    return value


def readable(answer: Answer, origin: str) -> None:
    """Hold that pages of an origin may read an answer to what they asked with credentials."""
    allowed = header(answer, "Access-Control-Allow-Origin")
    if allowed != origin:
        raise Broken(f"Access-Control-Allow-Origin: {origin}", allowed[:80])
    if header(answer, "Access-Control-Allow-Credentials") != "true":
        raise Broken("Access-Control-Allow-Credentials: true", "another value")


def whole_number(answer: Answer, name: str) -> int:
    """Return a header's value as a whole number; raises Broken where there is none."""
    value = header(answer, name)
    if not value.isdecimal():
        raise Broken(f"{name}: a whole number", f"{name}: {value[:40]}")
    return int(value)


def _faults(answer: Answer) -> list[dict[str, Any]]:
    errors = answer.find("errors")
    if errors is None:
        return []
    if not isinstance(errors, list) or not all(isinstance(fault, dict) for fault in errors):
        raise Broken("errors: a list of objects", "another value in errors")
    return errors


def _list(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
