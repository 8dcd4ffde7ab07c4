"""What all links of a carrier have in common.

Owns nothing that changes but the session of what comes in, and the lease of its binds; made once for a carrier, so that
no message pays for it.
"""

from dataclasses import dataclass, field

from ghasi.carriers.binds import Lease
from ghasi.carriers.carrier import InboundSink, ReceiptSink
from ghasi.carriers.smpp import pdu
from ghasi.carriers.smpp.configuration import INTERFACE_VERSIONS, SmppConfiguration, Timing
from ghasi.carriers.smpp.inbound import DeliveryReader
from ghasi.carriers.smpp.statuses import StatusTable
from ghasi.carriers.smpp.submit import Submitter


@dataclass(slots=True)
class Terms:
    """What all links of a carrier have in common, worked out once."""

    told: SmppConfiguration
    timing: Timing
    on_receipts: ReceiptSink
    on_inbound: InboundSink
    submitter: Submitter
    lease: Lease = field(default_factory=Lease)
    name: str = field(init=False)
    deliveries: DeliveryReader = field(init=False)
    statuses: StatusTable = field(init=False)
    bind_body: bytes = field(init=False)

    def __post_init__(self) -> None:
        told = self.told
        self.name = told.name
        self.deliveries = DeliveryReader(told, self.submitter.addresses)
        self.statuses = StatusTable(told.status_errors)
        self.bind_body = pdu.encode_bind(
            pdu.Bind(
                system_id=told.system_id,
                password=told.password,
                system_type=told.system_type,
                interface_version=INTERFACE_VERSIONS[told.interface_version],
                address_ton=told.address_range_ton,
                address_npi=told.address_range_npi,
                address_range=told.address_range,
            )
        )
