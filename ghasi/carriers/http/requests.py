"""Makes the requests of one carrier: a segment becomes a URL, headers and a body. Pure.

Nothing that is filled in becomes structure: JSON and forms are encoded from tables, never put together from text.
"""

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
from yarl import URL

import ghasi
from ghasi.carriers.carrier import Segment
from ghasi.carriers.http.configuration import HttpConfiguration
from ghasi.carriers.http.template import Fill, Values, compile_template, read_secret
from ghasi.carriers.segmentation import count_segments

USER_AGENT = f"Ghasi/{ghasi.__version__}"
_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it is sent; nothing of it is in its repr."""

    url: URL = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class RequestMaker:
    """Fills in one carrier's templates; raises MissingVariableError where a secret is not set."""

    def __init__(self, configuration: HttpConfiguration) -> None:
        self._configuration = configuration
        self._url = URL(configuration.url)
        self._body = compile_template(configuration.body)
        self._headers: list[tuple[str, Fill]] = [
            (name, compile_template(value, frozenset({"id"}))) for name, value in configuration.headers.items()
        ]
        self._fixed = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if configuration.method != "GET":
            self._fixed["Content-Type"] = _CONTENT_TYPES[configuration.content_type]
        if configuration.bearer is not None:
            self._fixed["Authorization"] = f"Bearer {read_secret(configuration.bearer)}"
        if configuration.basic is not None:
            pair = f"{read_secret(configuration.basic.user)}:{read_secret(configuration.basic.password)}"
            self._fixed["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        for value in (self._fixed.get("Authorization", ""), *(fill({"id": ""}) for _, fill in self._headers)):
            if not value.isascii() or not value.isprintable():
                raise ValueError("a header's value from the environment is not visible ASCII")

    def make(self, segment: Segment) -> Prepared:
        """Return the request that submits a segment, the same one whenever that is submitted."""
        configuration = self._configuration
        values = self._values_of(segment)
        headers = self._fixed | {name: fill(values) for name, fill in self._headers}
        if configuration.idempotency_header is not None:
            headers[configuration.idempotency_header] = f"{segment.message_id}-{segment.part}"
        filled: dict[str, Any] = self._body(values)
        if configuration.content_type == "json":
            return Prepared(self._url, headers, msgspec.json.encode(filled))
        pairs = _pairs(filled)
        if configuration.method == "GET":
            return Prepared(self._url.extend_query(pairs), headers, None)
        return Prepared(self._url, headers, urlencode(pairs).encode())

    def _values_of(self, segment: Segment) -> Values:
        text = segment.payload.decode("utf-8")
        encoding, segments = count_segments(text)
        names = self._configuration.encoding_names
        return {
            "to": self._number(segment.to),
            "from": self._number(segment.sender or self._configuration.default_sender),
            "text": text,
            "id": segment.message_id,
            "part": segment.part,
            "parts": segment.parts,
            "segments": segments,
            "encoding": names.get("gsm7" if encoding == "gsm7" else "ucs2", encoding),
            "validity_s": segment.validity_s,
        }

    def _number(self, address: str | None) -> str | None:
        return address.removeprefix("+") if address is not None and self._configuration.strip_plus else address


def _pairs(filled: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a form's fields; a list is its field several times."""
    return [
        (name, "true" if one is True else "false" if one is False else str(one))
        for name, value in filled.items()
        for one in (value if isinstance(value, list) else [value])
        if one is not None
    ]
