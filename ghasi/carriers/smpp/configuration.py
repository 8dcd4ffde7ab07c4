"""What a carrier of kind smpp is told: where the SMSC is, who we are there, and how it wants its messages.

Owns the fields of a [[carrier]] of that kind, what one of them demands of another, and the times a link waits.
Opens no socket; the only files it looks for are certificates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field, structs

from ghasi.contract.message_errors import MESSAGE_ERRORS

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
Ascii = r"^[\x20-\x7e]*\Z"
Octet = Annotated[int, Meta(ge=0, le=255)]
Seconds = Annotated[float, Meta(ge=0.1, le=3600)]
Port = Annotated[int, Meta(ge=1, le=65535)]
IdForm = Literal["text", "hex", "decimal"]
State = Literal["accepted", "delivered", "undelivered", "failed", "expired", "unknown"]

LONGEST_NAME = 11
INTERFACE_VERSIONS = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}
_FILES = ("tls_ca_file", "tls_cert_file", "tls_key_file")


class ByKind(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A TON or NPI for each kind of address; what is not given stays as it is by default."""

    international: Octet | None = None
    national: Octet | None = None
    short: Octet | None = None
    alphanumeric: Octet | None = None


class SmppConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carrier of kind smpp; the password is in no repr. docs/carriers.md says what each key means."""

    name: Name
    kind: Literal["smpp"]
    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Port
    receiver_port: Port | None = None
    """Where receivers bind, if elsewhere than transmitters."""
    system_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=Ascii)]
    password: Annotated[str, Meta(max_length=64, pattern=Ascii)]
    system_type: Annotated[str, Meta(max_length=12, pattern=Ascii)] = ""
    interface_version: Literal["3.3", "3.4", "5.0"] = "3.4"
    address_range: Annotated[str, Meta(max_length=40, pattern=Ascii)] = ""
    address_range_ton: Octet = 0
    address_range_npi: Octet = 0
    bind: Literal["transceiver", "transmitter_receiver"] = "transceiver"
    binds: Annotated[int, Meta(ge=1, le=64)] = 1
    """Links, or pairs of a transmitter and a receiver."""
    tls: bool = False
    tls_ca_file: Annotated[str, Meta(min_length=1)] | None = None
    """PEM file of the authorities that may have signed the SMSC's certificate; default the system's."""
    tls_cert_file: Annotated[str, Meta(min_length=1)] | None = None
    tls_key_file: Annotated[str, Meta(min_length=1)] | None = None
    tls_server_name: Annotated[str, Meta(min_length=1, max_length=255, pattern=Ascii)] | None = None

    window: Annotated[int, Meta(ge=1, le=10_000)] = 50
    """Submits that may wait for their answer at once, on each link."""
    throughput_per_s: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Submits a second of all links together, evenly spaced."""
    enquire_link_s: Seconds = 15.0
    response_timeout_s: Seconds = 10.0
    carrier_class: Name | None = field(name="class", default=None)
    """What rates may tell carriers apart by."""
    on_unknown_submit: Literal["resend", "unknown"] = "resend"

    default_sender: Annotated[str, Meta(min_length=1, max_length=16, pattern=Ascii)] | None = None
    source_ton: Octet | ByKind = ByKind()
    source_npi: Octet | ByKind = ByKind()
    dest_ton: Octet | ByKind = ByKind()
    dest_npi: Octet | ByKind = ByKind()
    strip_plus: bool = True
    country_code: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}\Z")] | None = None
    """Of national numbers that come in."""

    service_type: Annotated[str, Meta(max_length=5, pattern=Ascii)] = ""
    priority: Annotated[int, Meta(ge=0, le=3)] = 0
    protocol_id: Octet = 0
    registered_delivery: Octet = 1
    validity: Literal["relative", "absolute", "off"] = "relative"
    default_validity_s: Annotated[int, Meta(ge=1, le=31 * 86_400 - 1)] | None = None

    gsm7: Literal["unpacked", "packed", "latin1"] = "unpacked"
    gsm7_data_coding: Octet = 0
    latin1_data_coding: Octet = 3
    ucs2_data_coding: Octet = 8
    inbound_alphabet: Literal["gsm7", "latin1"] = "gsm7"
    """What data_coding 0 means in what comes in."""
    long_messages: Literal["udh8", "udh16", "sar", "payload"] = "udh8"

    submit_id: IdForm = "text"
    receipt_id: IdForm = "text"
    receipts_by_text: bool = False
    receipt_states: dict[str, State] = {}
    receipt_errors: dict[str, str] = {}
    receipt_err_is_gsm: bool = False
    status_errors: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Check what one key demands of another; raises ValueError that names the key."""
        self._check_connection()
        self._check_tables()
        sender = self.default_sender
        if sender is not None and len(sender) > LONGEST_NAME and not sender.removeprefix("+").isdigit():
            raise ValueError(f"`default_sender`: a name of {LONGEST_NAME} ASCII characters at most is needed")
        if self.default_validity_s is not None and self.validity == "off":
            raise ValueError('`default_validity_s`: has no meaning with validity = "off"')
        if self.gsm7 == "latin1" and self.latin1_data_coding == self.ucs2_data_coding:
            raise ValueError("`latin1_data_coding`: is that of UCS-2")
        if self.gsm7 != "latin1" and self.gsm7_data_coding == self.ucs2_data_coding:
            raise ValueError("`gsm7_data_coding`: is that of UCS-2")
        for key in ("dest_ton", "dest_npi"):
            by_kind = getattr(self, key)
            if isinstance(by_kind, ByKind) and by_kind.alphanumeric is not None:
                raise ValueError(f"`{key}`: a destination is never alphanumeric")

    def _check_connection(self) -> None:
        for key in (*_FILES, "tls_server_name"):
            if getattr(self, key) is not None and not self.tls:
                raise ValueError(f"`{key}`: has no meaning without tls = true")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("`tls_key_file`: has no meaning without tls_cert_file")
        if self.receiver_port is not None and self.bind == "transceiver":
            raise ValueError('`receiver_port`: has no meaning without bind = "transmitter_receiver"')

    def _check_tables(self) -> None:
        for key in ("receipt_errors", "status_errors"):
            for what, code in getattr(self, key).items():
                if code not in MESSAGE_ERRORS:
                    raise ValueError(f"`{key}`: {code!r} is no error code of docs/errors.md")
                if key == "status_errors" and not read_number(what):
                    raise ValueError(f'`{key}`: {what!r} is no status; write "0x0400" or "1024"')

    def __repr__(self) -> str:
        return (
            f"SmppConfiguration(name={self.name!r}, host={self.host!r}, port={self.port}, system_id={self.system_id!r})"
        )


def read_number(written: str) -> int | None:
    """Read a decimal number, or a hexadecimal one that begins with 0x; None when it is neither."""
    digits, base = (written[2:], 16) if written[:2].lower() == "0x" else (written, 10)
    if not digits.isascii() or not digits.isalnum():
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def resolve_files(configuration: SmppConfiguration, folder: Path) -> SmppConfiguration:
    """Return a configuration whose files are those beside its own; raises ValueError that names the key."""
    found: dict[str, str] = {}
    for key in _FILES:
        written = getattr(configuration, key)
        if written is None:
            continue
        path = folder / written
        if not path.is_file():
            raise ValueError(f"`{key}`: there is no file {path}")
        found[key] = str(path)
    return structs.replace(configuration, **found) if found else configuration


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


def timing_of(configuration: SmppConfiguration) -> Timing:
    """Return the times that a carrier's configuration asks for."""
    return Timing(response_timeout_s=configuration.response_timeout_s, enquire_after_s=configuration.enquire_link_s)
