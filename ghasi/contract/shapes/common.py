"""What shapes of every service are made of: fields, pages, money and problems.

Owns no resource of a service.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Generic, TypeVar

from msgspec import Meta, Struct

T = TypeVar("T")

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339")]
Limit = Annotated[int, Meta(ge=1, le=100)]
Cursor = Annotated[str, Meta(min_length=1, max_length=500)]


class Input(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A request's body or query string: an unknown field is an error."""

    one_by_one: ClassVar[tuple[str, ...]] = ()
    """Lists whose items are at fault by themselves, and not the whole."""


class FieldError(Struct, frozen=True):
    """One field's fault; `field` is its JSON name, `$` the body as a whole."""

    field: str
    message: str


class ProblemBody(Struct, frozen=True):
    """RFC 9457 problem details with Ghasi's stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] = []


class Page(Struct, Generic[T], frozen=True):
    """One page of a list, newest first; `next_cursor` is null on the last one."""

    data: list[T]
    next_cursor: str | None


class Money(Struct, frozen=True):
    """A decimal string and an ISO 4217 currency, for example 0.0450 USD."""

    amount: str
    currency: str


class PageQuery(Input, frozen=True, kw_only=True):
    """How every list is paged."""

    limit: Limit = 50
    cursor: Cursor | None = None
