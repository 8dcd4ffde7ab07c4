"""What a link to an SMSC is told: where it is, who we are there, and how much it takes.

Owns the fields of a carrier of kind smpp and the times a link waits. Reads no file and opens no socket.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
Ascii = r"^[\x20-\x7e]*\Z"


class SmppConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carrier of kind smpp; the password is in no repr."""

    name: Name
    kind: Literal["smpp"]
    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65535)]
    system_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=Ascii)]
    password: Annotated[str, Meta(max_length=64, pattern=Ascii)]
    window: Annotated[int, Meta(ge=1, le=10_000)] = 50
    """Submits that may wait for their answer at once."""
    throughput_per_s: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Submits in any one second, at most."""
    tls: bool = False
    tls_ca_file: Annotated[str, Meta(min_length=1)] | None = None
    """PEM file of the authorities that may have signed the SMSC's certificate; default the system's."""
    system_type: Annotated[str, Meta(max_length=12, pattern=Ascii)] = ""
    default_sender: Annotated[str, Meta(min_length=1, max_length=16, pattern=Ascii)] | None = None
    on_unknown_submit: Literal["resend", "unknown"] = "resend"

    def __repr__(self) -> str:
        return (
            f"SmppConfiguration(name={self.name!r}, host={self.host!r}, port={self.port}, system_id={self.system_id!r})"
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a link waits, in seconds, for what."""

    connect_timeout_s: float = 10.0
    response_timeout_s: float = 10.0
    """For a submit's answer, a bind's, an enquire_link's, and for the socket to take what is written."""
    enquire_after_s: float = 15.0
    """Silence of the peer after which it is asked whether it lives."""
    stop_timeout_s: float = 1.0
    """For outstanding answers before the unbind."""
    unbind_timeout_s: float = 1.0
    least_backoff_s: float = 0.2
    most_backoff_s: float = 30.0
