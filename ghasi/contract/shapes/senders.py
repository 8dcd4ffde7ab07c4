"""What goes over the wire to and from sms-orchestrator about senders and opt-outs.

Owns no rule beyond a field's own shape: which sender a message gets is the service's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ghasi.contract.shapes.common import Input, PageQuery
from ghasi.contract.shapes.messages import Recipient, SenderName

SenderKind = Literal["number", "short_code", "alphanumeric"]
OptOutSource = Literal["keyword", "api"]


class Sender(Struct, frozen=True):
    """A number, short code or name that an account may send from, and is reached by if it is no name.

    `countries` are ISO 3166 codes of where it may be used, null everywhere. The `default` is taken for messages without
    `from`; where it may not be used, one of the `pool`: always the same for the same recipient.
    """

    id: str
    address: str
    kind: SenderKind
    countries: list[str] | None
    default: bool
    pool: bool
    created_at: str


class SenderInput(Input, frozen=True, kw_only=True):
    """What a customer may change of a sender; making one the default takes that from the one before."""

    default: bool
    pool: bool


class OptOut(Struct, frozen=True):
    """A person who wants no more messages: from one sender of the account, or from all of them (`from` null)."""

    id: str
    to: str
    sender: str | None = field(name="from")
    source: OptOutSource
    created_at: str


class NewOptOut(Input, frozen=True, kw_only=True):
    """Someone to send nothing to any more; without `from` by no sender of the account."""

    to: Recipient
    sender: SenderName | None = field(default=None, name="from")


class OptOutQuery(PageQuery, frozen=True, kw_only=True):
    """Filters of the opt-out list."""

    to: Recipient | None = None
    sender: Annotated[str, Meta(min_length=1, max_length=32)] | None = field(default=None, name="from")
