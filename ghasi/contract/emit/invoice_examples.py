"""Examples of what goes over the wire of invoices: one month's invoice, and what belongs to it."""

from typing import Any

import msgspec

from ghasi.contract import shapes

_RATE = "01936a00-0000-7b10-8c5d-4e3f2a1b0c9d"
INVOICE = shapes.Invoice(
    id="01937b2e-0000-7a10-8c5d-4e3f2a1b0c9d",
    number="GH-2026-000001",
    status="open",
    currency="USD",
    period_start="2026-10-01T00:00:00.000Z",
    period_end="2026-11-01T00:00:00.000Z",
    subtotal="54.00",
    tax="10.26",
    total="64.26",
    paid="20.00",
    credited="5.95",
    amount_due="38.31",
    overdue=False,
    plan=None,
    issued_at="2026-11-04T00:00:05.000Z",
    due_at="2026-11-18T00:00:05.000Z",
    paid_at=None,
)
CREDIT_NOTE = shapes.CreditNote(
    id="01937f00-0000-7a10-8c5d-4e3f2a1b0c9d",
    number="CN-2026-000001",
    invoice_id=INVOICE.id,
    invoice_number="GH-2026-000001",
    currency="USD",
    reason="Messages of 12 October came late",
    subtotal="5.00",
    tax="0.95",
    total="5.95",
    to_balance="0.00",
    issued_at="2026-11-05T09:30:00.000Z",
)
_PROFILE = shapes.BillingProfileInput(
    legal_name="Kabul Bakery Ltd", address=["12 Flower Street", "Kabul 1001"], tax_id="AF-1002003",
    email="accounts@example.com", locale="en-GB",
)  # fmt: skip
_SELLER = shapes.Party(
    name="Ghasi Telecom", address=["Street 12", "10115 Berlin"], tax_id="DE123456789", email="billing@example.net"
)
_CUSTOMER = shapes.Party(
    name="Kabul Bakery Ltd", address=["12 Flower Street", "Kabul 1001"], tax_id="AF-1002003",
    email="accounts@example.com",
)  # fmt: skip
INVOICE_EXAMPLES: tuple[Any, ...] = (
    INVOICE,
    CREDIT_NOTE,
    shapes.InvoiceDetail(
        **msgspec.structs.asdict(INVOICE),
        line_items=[
            shapes.InvoiceLine(
                description="SMS to AF", country="AF", messages=1100, segments=1200, unit_price="0.0450",
                amount="54.00", kind="usage", rate_id=_RATE, direction="outbound", month=None,
            )
        ],
        taxes=[shapes.TaxLine(name="VAT", percent="19", base="54.00", amount="10.26")],
        payments=[
            shapes.InvoicePayment(
                id="01937e00-0000-7a10-8c5d-4e3f2a1b0c9d", amount="20.00", method="bank_transfer", reference="TX-1041",
                paid_at="2026-11-04T12:00:00.000Z",
            )
        ],
        credit_notes=[CREDIT_NOTE],
        seller=_SELLER,
        customer=_CUSTOMER,
    ),
    shapes.CreditNoteDetail(
        **msgspec.structs.asdict(CREDIT_NOTE),
        line_items=[shapes.CreditNoteLine(description="SMS to AF", line=0, amount="5.00")],
        taxes=[shapes.TaxLine(name="VAT", percent="19", base="5.00", amount="0.95")],
        seller=_SELLER,
        customer=_CUSTOMER,
    ),
    shapes.InvoiceSources(
        line_items=[
            shapes.SourceLine(
                line=0, kind="usage", description="SMS to AF", amount="54.00",
                rate=shapes.SourceRate(
                    id=_RATE, country="AF", prefix=None, direction="outbound", sender_kind=None, carrier_class=None,
                    plan=None, own=False, price="0.0450", tiers=[], valid_from="2026-01-01T00:00:00.000Z",
                ),
                tallies=[
                    shapes.SourceTally(
                        id="01936b00-0000-7b10-8c5d-4e3f2a1b0c9d", month="2026-10", messages=1100, segments=1200,
                        unit_price="0.0450", amount="54.0000",
                    )
                ],
            )
        ],
        data=[
            shapes.SourceCharge(
                message_id="01936f0a-51b3-7a10-8c5d-4e3f2a1b0c9d", line=0, at="2026-10-21T09:30:01.000Z",
                country="AF", segments=1, list_price="0.0450", unit_price="0.0450", amount="0.0450", rate_id=_RATE,
            )
        ],
        next_cursor=None,
    ),
    _PROFILE,
    shapes.BillingProfile(
        account_name="Kabul Bakery", legal_name=_PROFILE.legal_name, address=_PROFILE.address,
        tax_id=_PROFILE.tax_id, email=_PROFILE.email, locale=_PROFILE.locale, updated_at="2026-10-02T08:00:00.000Z",
    ),
)  # fmt: skip
