"""Every kind of change between two versions of the contract, whether it breaks a client, and what its reverse is.

A client sends requests and reads answers (and the events that its endpoints are sent, which count as answers). So what
a request may be must not shrink, and what an answer may be must not grow; of answers it ignores what it does not know.
Knows no document. docs/decisions/0030-contract-diff-and-mock.md says what is breaking and what is risky.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal


class Level(StrEnum):
    """What a change does to clients of the older version; `risky` breaks one that was written too narrowly."""

    BREAKING = "breaking"
    RISKY = "risky"
    HARMLESS = "harmless"


Direction = Literal["request", "response"]
_B, _R, _H = Level.BREAKING, Level.RISKY, Level.HARMLESS

_ROUTES = (
    ("route removed", _B, "route added", _H),
    ("method removed", _B, "method added", _H),
    ("event removed", _B, "event added", _H),
    ("server removed", _R, "server added", _H),
    ("auth stricter", _B, "auth looser", _H),
    ("scope stricter", _B, "scope looser", _H),
    ("security scheme changed", _B, "security scheme changed", _B),
    ("limit lowered", _B, "limit raised", _H),
    ("limit introduced", _B, "limit dropped", _H),
    ("limit counted otherwise", _B, "limit counted otherwise", _B),
    ("limit shared otherwise", _R, "limit shared otherwise", _R),
    ("time-out lowered", _B, "time-out raised", _H),
    ("time-out introduced", _B, "time-out dropped", _H),
    ("body size lowered", _B, "body size raised", _H),
    ("body size introduced", _B, "body size dropped", _H),
    ("idempotency taken away", _B, "idempotency added", _H),
    ("parameter removed", _B, "parameter added", _H),
    ("required parameter removed", _B, "required parameter added", _B),
    ("parameter required", _B, "parameter optional", _H),
    ("request body removed", _B, "request body added", _H),
    ("required request body removed", _B, "required request body added", _B),
    ("request body required", _B, "request body optional", _H),
    ("request media type removed", _B, "request media type added", _H),
    ("response media type removed", _B, "response media type added", _R),
    ("success status removed", _B, "success status added", _R),
    ("status removed", _B, "status added", _H),
    ("error code removed", _B, "error code added", _H),
    ("response header removed", _B, "response header added", _H),
    ("operation renamed", _R, "operation renamed", _R),
    ("operation deprecated", _H, "operation no longer deprecated", _H),
    ("upstream changed", _H, "upstream changed", _H),
)  # fmt: skip
"""A kind, what it does, its reverse, and what that does."""

_SCHEMAS: tuple[tuple[str, str, tuple[Level, Level], tuple[Level, Level]], ...] = (
    ("field removed", "field added", (_B, _H), (_B, _H)),
    ("required field removed", "required field added", (_B, _B), (_B, _H)),
    ("field required", "field optional", (_B, _H), (_H, _B)),
    ("type narrowed", "type widened", (_B, _H), (_H, _B)),
    ("type changed", "type changed", (_B, _B), (_B, _B)),
    ("null taken away", "null added", (_B, _H), (_H, _B)),
    ("alternative removed", "alternative added", (_B, _H), (_H, _B)),
    ("value removed", "value added", (_B, _H), (_H, _R)),
    ("values listed", "values left open", (_B, _H), (_H, _R)),
    ("bound tightened", "bound loosened", (_B, _H), (_H, _R)),
    ("rule added", "rule dropped", (_B, _H), (_H, _R)),
    ("rule changed", "rule changed", (_B, _B), (_R, _R)),
    ("other fields refused", "other fields allowed", (_B, _H), (_H, _H)),
    ("default changed", "default changed", (_R, _R), (_H, _H)),
)
"""A kind and its reverse in a schema, what both do in a request, and what both do in an answer."""


def _levels() -> dict[str, Level]:
    levels: dict[str, Level] = {}
    for kind, level, reverse, reverse_level in _ROUTES:
        levels |= {kind: level, reverse: reverse_level}
    for kind, reverse, request, response in _SCHEMAS:
        levels |= {f"request {kind}": request[0], f"request {reverse}": request[1]}
        levels |= {f"response {kind}": response[0], f"response {reverse}": response[1]}
    return levels


def _mirrors() -> dict[str, str]:
    mirrors: dict[str, str] = {}
    for kind, _, reverse, _ in _ROUTES:
        mirrors |= {kind: reverse, reverse: kind}
    for kind, reverse, _, _ in _SCHEMAS:
        for direction in ("request", "response"):
            mirrors |= {
                f"{direction} {kind}": f"{direction} {reverse}",
                f"{direction} {reverse}": f"{direction} {kind}",
            }
    return mirrors


LEVELS: Mapping[str, Level] = _levels()
MIRRORS: Mapping[str, str] = _mirrors()
"""What the same change is called with the two versions the other way round."""
