"""Callbacks of a carrier over HTTP: whether they prove themselves, and the receipts in them. Pure.

Keeps and logs nothing of a callback. Both proofs are compared in constant time; a callback that is played again says
nothing new, so that none carries a time.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ghasi.carriers.carrier import RECEIPT_ERRORS, Receipt
from ghasi.carriers.http.answers import is_usable_id, printable
from ghasi.carriers.http.configuration import ReceiptRules, pointers_of
from ghasi.carriers.http.pointer import find_value, find_word, find_words, parse_pointer
from ghasi.carriers.http.template import read_secret

_MOST_FIELDS = 1000


class UnreadableReportError(ValueError):
    """A callback has no receipt in it; the message says why, without a word of the callback."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What a callback brought: its receipts, and how many entries were none."""

    receipts: Sequence[Receipt]
    unreadable: int


def proves_itself(rules: ReceiptRules, headers: Iterable[tuple[bytes, bytes]], query: bytes, body: bytes) -> bool:
    """Whether a callback has the secret, or its signature; header names in lower case.

    Raises MissingVariableError where the secret's environment variable is not set.
    """
    secret = read_secret(rules.secret).encode()
    kind, name = rules.proof
    if kind == "query":
        given = dict(_fields(query)).get(name)
        return given is not None and hmac.compare_digest(given.encode(), secret)
    value = next((value for key, value in headers if key == name.lower().encode()), None)
    if value is None:
        return False
    if kind == "header":
        return hmac.compare_digest(value, secret)
    prefix = rules.signature_prefix.encode()
    if not value.startswith(prefix):
        return False
    digest = hmac.new(secret, body, hashlib.sha512 if kind == "hmac-sha512" else hashlib.sha256).digest()
    return hmac.compare_digest(_read_signature(value.removeprefix(prefix), rules.signature), digest)


def read_reports(carrier: str, rules: ReceiptRules, query: bytes, body: bytes, at: datetime) -> Reports:
    """Read the receipts of a callback; raises UnreadableReportError when all that is in it can't be read.

    A status that `states` has not is `other_state`. The error code comes from `errors`, by the first word of `error`
    or `status` that it has, else from the state.
    """
    document = _decode(rules, query, body)
    entries = find_value(document, parse_pointer(rules.receipts)) if rules.receipts else [document]
    if not isinstance(entries, list):
        raise UnreadableReportError("there is no list of receipts where `list` leads to")
    receipts = [receipt for entry in entries if (receipt := _read_one(carrier, rules, entry, at)) is not None]
    if entries and not receipts:
        raise UnreadableReportError("there is no message id, or no status, where `id` and `status` lead to")
    return Reports(receipts, len(entries) - len(receipts))


def _decode(rules: ReceiptRules, query: bytes, body: bytes) -> Any:
    if rules.format != "json":
        fields = _fields(query if rules.format == "query" else body)
        return dict(reversed(fields))  # of a field that is there twice, the first counts
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableReportError("the body is not JSON") from None


def _read_one(carrier: str, rules: ReceiptRules, entry: Any, at: datetime) -> Receipt | None:
    carrier_message_id = find_word(entry, parse_pointer(rules.id))
    words = find_words(entry, [parse_pointer(pointer) for pointer in pointers_of(rules.status)])
    if carrier_message_id is None or not is_usable_id(carrier_message_id) or not words:
        return None
    state = next((rules.states[word] for word in words if word in rules.states), rules.other_state)
    errors = find_words(entry, [parse_pointer(pointer) for pointer in pointers_of(rules.error)])
    error_code = RECEIPT_ERRORS[state]
    if error_code is not None:
        error_code = next((rules.errors[word] for word in (*errors, *words) if word in rules.errors), error_code)
    said = None if rules.detail is None else find_word(entry, parse_pointer(rules.detail))
    described = " ".join([*words, *(f"err {word}" for word in errors), *([said] if said else [])])
    return Receipt(carrier, carrier_message_id, state, at, error_code, printable(described) or None, None)


def _fields(encoded: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form or a query; none where it is none."""
    try:
        return parse_qsl(encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:  # no ASCII, no UTF-8 within, or too many fields
        return []


def _read_signature(value: bytes, form: str) -> bytes:
    try:
        return bytes.fromhex(value.decode("ascii")) if form == "hex" else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return b""
