"""What a carrier over HTTP is told: where it is, what is posted, and how its answers and its receipts are read.

Owns the fields of a carrier of kind http and their checks, whose errors name a key and never a value. Reads no file
and opens no socket; secrets that are named as environment variables are read by who uses them.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct, field

from ghasi.carriers.carrier import ReceiptState
from ghasi.carriers.http.pointer import parse_pointer
from ghasi.carriers.http.template import check_template
from ghasi.contract.message_errors import MESSAGE_ERRORS

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
Text = Annotated[str, Meta(max_length=1000)]
Secret = Annotated[str, Meta(min_length=8, max_length=1000)]
Words = dict[Annotated[str, Meta(max_length=255)], Annotated[str, Meta(max_length=64)]]
VERDICTS = frozenset({"accepted", "refused", "throttled", "retry", "away", "doubt"})
LONGEST_TIMEOUT_S = 10.0
"""A claim of a message outlasts this; see messages/worker.py."""
_VISIBLE = re.compile(r"[\x20-\x7e]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: a token
_HTTP_STATUS = re.compile(r"[2-5][0-9]{2}|[2-5]xx")
_SET_BY_US = frozenset({"content-length", "content-type", "host", "transfer-encoding", "connection", "expect"})
_NEVER_ARRIVES = re.compile(
    r"(x-(ghasi|kong|consumer|credential|forwarded)-.*|x-(account|user)-id|x-real-ip|x-anonymous-consumer|forwarded|te"
    r"|keep-alive|trailer|upgrade|proxy-.*|http2-settings|host|content-length|transfer-encoding|connection|expect)"
)
"""Headers that the gateway takes away from every request, so that nobody can speak for it."""
_VERIFY = re.compile(r"(header|query|hmac-sha256|hmac-sha512):(.+)")


class AnswerRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer to a submit is read: JSON pointers into it, and what its statuses and words mean.

    A meaning is `accepted`, `refused`, `throttled`, `retry`, `away` (nothing was taken: the account or the address is
    wrong), `doubt` (it may have been taken) or an error code of the catalogue, which is a refusal with that code.
    """

    id: Text | None = None
    """Pointer to the carrier's message id; without one our own id names the message in receipts."""
    status: Text | list[Text] = field(default_factory=list)
    """Pointers to words that `values` has; of several, the first one whose word is there counts."""
    detail: Text | None = None
    values: Words = field(default_factory=dict)
    other: Annotated[str, Meta(max_length=64)] = "refused"
    """What a word means that `values` has not."""
    statuses: Words = field(default_factory=dict)
    """HTTP statuses, as "429" or "5xx", that mean something else than usually."""

    def __post_init__(self) -> None:
        _check("id", parse_pointer, () if self.id is None else (self.id,))
        _check("status", parse_pointer, pointers_of(self.status))
        _check("detail", parse_pointer, () if self.detail is None else (self.detail,))
        _check("values", _check_verdict, self.values.values())
        _check("other", _check_verdict, (self.other,))
        _check("statuses", _check_verdict, self.statuses.values())
        if wrong := next((key for key in self.statuses if not _HTTP_STATUS.fullmatch(key)), None):
            raise ValueError(f"`statuses`: {wrong[:20]!r} is no HTTP status such as 429 or 5xx")
        if self.values and not pointers_of(self.status):
            raise ValueError("`values`: has no meaning without `status`")


class ReceiptRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a callback proves itself and is read; the secret is in no repr."""

    secret: Secret
    verify: Annotated[str, Meta(max_length=200)]
    """`header:NAME` or `query:NAME` (it is the secret), `hmac-sha256:NAME` or `hmac-sha512:NAME` (a header that signs
    the body with it)."""
    signature: Literal["hex", "base64"] = "hex"
    signature_prefix: Annotated[str, Meta(max_length=100)] = ""
    format: Literal["json", "form", "query"] = "json"
    receipts: Text = field(name="list", default="")
    """Pointer to a list of receipts; the pointers below begin at each of them. Default: the whole is one receipt."""
    id: Text
    status: Text | Annotated[list[Text], Meta(min_length=1)]
    error: Text | list[Text] = field(default_factory=list)
    detail: Text | None = None
    states: dict[Annotated[str, Meta(max_length=255)], ReceiptState]
    other_state: ReceiptState = "unknown"
    errors: Words = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = _VERIFY.fullmatch(self.verify)
        if found is None:
            raise ValueError("`verify`: must be header:NAME, query:NAME, hmac-sha256:HEADER or hmac-sha512:HEADER")
        if found[1] != "query" and not _HEADER.fullmatch(found[2]):
            raise ValueError("`verify`: names no header")
        if found[1] != "query" and _NEVER_ARRIVES.fullmatch(found[2].lower().replace("_", "-")):
            raise ValueError("`verify`: names a header that the gateway drops")
        if found[1].startswith("hmac") and self.format == "query":
            raise ValueError("`verify`: a signature is of the body, and proves nothing that is in the query")
        for key, given in (("list", self.receipts), ("id", self.id), ("detail", self.detail or "")):
            _check(key, parse_pointer, (given,))
        _check("status", parse_pointer, pointers_of(self.status))
        _check("error", parse_pointer, pointers_of(self.error))
        _check("errors", _check_code, self.errors.values())
        if self.errors and not pointers_of(self.error) and not pointers_of(self.status):
            raise ValueError("`errors`: has no meaning without `error`")

    @property
    def proof(self) -> tuple[str, str]:
        """How a callback proves itself (header, query, hmac-sha256, hmac-sha512), and by which name."""
        kind, _, name = self.verify.partition(":")
        return kind, name

    def __repr__(self) -> str:
        return f"ReceiptRules(verify={self.verify!r})"


class Basic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RFC 7617's user and password, each possibly `env:NAME`."""

    user: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Annotated[str, Meta(max_length=1000)]

    def __repr__(self) -> str:
        return "Basic()"


class HttpConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carrier of kind http; its secrets are in no repr."""

    name: Name
    kind: Literal["http"]
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    method: Literal["POST", "PUT", "GET"] = "POST"
    headers: dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=4000)]] = field(
        default_factory=dict
    )
    basic: Basic | None = None
    bearer: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    content_type: Literal["json", "form"] = "json"
    body: dict[str, Any]
    encoding_names: dict[Literal["gsm7", "ucs2"], Text] = field(default_factory=dict)
    """What {encoding} is called by this carrier."""
    answer: AnswerRules = field(default_factory=AnswerRules)
    receipts: ReceiptRules | None = None
    idempotency_header: Annotated[str, Meta(max_length=100)] | None = None
    """Gets a submit's own name, the same when it is sent again."""
    timeout_s: Annotated[float, Meta(gt=0, le=LONGEST_TIMEOUT_S)] = LONGEST_TIMEOUT_S
    window: Annotated[int, Meta(ge=1, le=1000)] = 20
    """Requests that may wait for their answer at once."""
    throughput_per_s: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    binds: Annotated[int, Meta(ge=1, le=64)] = 1
    """How many workers may share it: into how many parts window and throughput_per_s are divided."""
    default_sender: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    strip_plus: bool = False
    """Write numbers without their +."""
    carrier_class: Name | None = field(name="class", default=None)
    """What rates may tell carriers apart by."""
    on_unknown_submit: Literal["resend", "unknown"] = "resend"
    tls_ca_file: Annotated[str, Meta(min_length=1)] | None = None
    insecure_http: bool = False

    def __post_init__(self) -> None:
        self._check_url()
        if self.binds > min(self.window, self.throughput_per_s or self.window):
            raise ValueError("`binds`: each needs 1 of `window` and of `throughput_per_s` at least")
        _check("headers", _check_header, self.headers)
        _check("headers", lambda value: check_template(value, frozenset({"id"})), self.headers.values())
        if any(not _VISIBLE.fullmatch(value) for value in self.headers.values()):
            raise ValueError("`headers`: a value is not visible ASCII")
        if self.idempotency_header is not None:
            _check("idempotency_header", _check_header, (self.idempotency_header,))
        authorizations = [name for name in self.headers if name.lower() == "authorization"]
        if len(authorizations) + (self.basic is not None) + (self.bearer is not None) > 1:
            raise ValueError("`headers`: only one of `basic`, `bearer` and a header Authorization can be")
        _check("body", check_template, (self.body,))
        if self.content_type == "form" and any(map(_is_nested, self.body.values())):
            raise ValueError("`body`: a form has no tables, and lists of single values only")
        if self.method == "GET" and self.content_type != "form":
            raise ValueError('`method`: GET has its fields in the query; write content_type = "form" with it')

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ValueError("`url`: is no URL such as https://api.example.com/sms") from None
        if not usable or " " in self.url or not self.url.isascii() or not self.url.isprintable():
            raise ValueError("`url`: is no URL such as https://api.example.com/sms")
        if parts.username is not None or parts.password is not None:
            raise ValueError("`url`: user and password belong in `basic`")
        if parts.fragment:
            raise ValueError("`url`: a fragment is never sent")
        if parts.scheme == "http" and not self.insecure_http and not _is_loopback(parts):
            raise ValueError("`url`: must be https, unless insecure_http = true: messages would be readable on the way")
        if parts.scheme == "http" and self.tls_ca_file is not None:
            raise ValueError("`tls_ca_file`: has no meaning without https")

    def __repr__(self) -> str:
        return f"HttpConfiguration(name={self.name!r}, host={urlsplit(self.url).hostname!r})"


def pointers_of(given: str | list[str]) -> list[str]:
    """Return one pointer or several as a list."""
    return [given] if isinstance(given, str) else given


def _check(key: str, check: Callable[[Any], Any], values: Iterable[Any]) -> None:
    for value in values:
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"`{key}`: {error}") from None


def _check_verdict(word: str) -> None:
    if word not in VERDICTS and word not in MESSAGE_ERRORS:
        verdicts = ", ".join(sorted(VERDICTS))
        raise ValueError(f"{word!r} is no meaning; known are {verdicts}, and the codes of message errors")


def _check_code(word: str) -> None:
    if word not in MESSAGE_ERRORS:
        raise ValueError(f"{word!r} is no code of a message error; known are {', '.join(MESSAGE_ERRORS)}")


def _check_header(name: str) -> None:
    if not _HEADER.fullmatch(name):
        raise ValueError("a name is no name of a header")
    if name.lower() in _SET_BY_US:
        raise ValueError(f"{name} is set by Ghasi itself")


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))


def _is_loopback(parts: SplitResult) -> bool:
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
