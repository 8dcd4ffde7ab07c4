"""Documents of every kind, for the tests of how they read and look."""

from dataclasses import replace
from datetime import UTC, date, datetime

from ghasi.billing.documents.document import CreditLine, Document, DocumentLine, Party, PaymentLine, TaxLine

ISSUED = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
SELLER = Party("Ghasi Telecom", ("Street 12", "10115 Berlin", "Germany"), "DE123456789", "billing@ghasi.example")
CUSTOMERS = {
    "en": Party("Kabul Pharmacy", ("Shahr-e Naw, Street 4", "Kabul", "Afghanistan"), "AF-9001", "ap@pharmacy.example"),
    "fa-AF": Party("شرکت دوای کابل (سهامی خاص)", ("شهر نو، سرک ۴", "کابل"), "9001234", "ap@pharmacy.example"),
    "ps": Party("د ښاغلي ړوند د ټلویزیون شرکت", ("د ګڼ شمېر کوڅه ۴", "کندهار"), "9001234", "ap@pharmacy.example"),
    "ar": Party("شركة الأدوية المتحدة ش.م.م", ("شارع الملك فهد ١٢", "الرياض"), "300012345", "ap@pharmacy.example"),
    "ur": Party("ٹیلی فون کمپنی لمیٹڈ، بڑا ڈاک خانہ", ("مال روڈ ۱۲", "لاہور"), "9001234", "ap@pharmacy.example"),
}  # fmt: skip
USAGE = DocumentLine(
    kind="usage", country="AF", messages=27_434_842, segments=27_434_842, unit_micros=45000,
    amount_micros=1_234_567_890_000,
)  # fmt: skip
NOWHERE = DocumentLine(kind="usage", messages=1, segments=1, unit_micros=46250, amount_micros=50000)
OPEN = Document(
    kind="invoice", number="GH-2026-000001", status="open", currency="USD", locale="en", seller=SELLER,
    customer=CUSTOMERS["en"], period_start=datetime(2026, 10, 1, tzinfo=UTC),
    period_end=datetime(2026, 11, 1, tzinfo=UTC), lines=(USAGE, NOWHERE), subtotal_micros=1_234_567_940_000,
    total_micros=1_234_567_940_000, amount_due_micros=1_234_567_940_000, issued_at=ISSUED,
    due_at=datetime(2026, 11, 15, 0, 5, tzinfo=UTC),
)  # fmt: skip
DRAFT = replace(OPEN, number=None, status="draft", issued_at=None, due_at=None)
OVERDUE = replace(OPEN, overdue=True)
VOID = replace(OPEN, status="void", amount_due_micros=0)
UNCOLLECTIBLE = replace(OPEN, status="uncollectible", overdue=True)
PAID = replace(
    OPEN, status="paid", paid_at=datetime(2026, 11, 5, 9, tzinfo=UTC), paid_micros=1_234_567_940_000,
    amount_due_micros=0,
)  # fmt: skip
FULL = replace(
    OPEN,
    lines=(
        USAGE,
        replace(USAGE, country="US", messages=120, segments=360, unit_micros=7900, amount_micros=2_840_000),
        replace(USAGE, country="GB", messages=2000, segments=2000, unit_micros=31250, amount_micros=62_500_000),
        NOWHERE,
        DocumentLine(kind="base_fee", detail="Business", amount_micros=49_000_000),
        DocumentLine(kind="included", detail="Business", amount_micros=-22_500_000, segments=500),
        DocumentLine(kind="minimum", amount_micros=10_000_000),
        DocumentLine(kind="discount", detail="Welcome 10%", amount_micros=-10_180_000),
        DocumentLine(
            kind="adjustment", country="AF", month=date(2026, 9, 1), messages=12, segments=12, unit_micros=45000,
            amount_micros=540_000,
        ),
    ),
    subtotal_micros=1_234_660_140_000,
    taxes=(
        TaxLine("VAT", "19", 1_234_597_640_000, 234_573_550_000),
        TaxLine("Digital services", "7.5", 62_500_000, 4_690_000),
    ),
    total_micros=1_469_238_380_000,
    payments=(
        PaymentLine(datetime(2026, 11, 5, 9, tzinfo=UTC), 400_000_000_000, "Bank transfer"),
        PaymentLine(datetime(2026, 11, 9, 9, tzinfo=UTC), 69_238_380_000),
    ),
    paid_micros=469_238_380_000,
    credits=(CreditLine("CN-2026-000001", datetime(2026, 11, 7, tzinfo=UTC), 500_000_000_000),),
    credited_micros=500_000_000_000,
    amount_due_micros=500_000_000_000,
)  # fmt: skip
CREDIT_NOTE = replace(
    OPEN, kind="credit_note", number="CN-2026-000001", due_at=None, invoice_number="GH-2026-000001",
    reason="Messages of 14 October were sent twice", amount_due_micros=0,
    lines=(replace(USAGE, kind="adjustment", messages=1000, segments=1000, amount_micros=45_000_000),),
    subtotal_micros=45_000_000, taxes=(TaxLine("VAT", "19", 45_000_000, 8_550_000),), total_micros=53_550_000,
)  # fmt: skip
EVERY = {
    "draft": DRAFT, "open": OPEN, "overdue": OVERDUE, "void": VOID, "uncollectible": UNCOLLECTIBLE, "paid": PAID,
    "full": FULL, "credit-note": CREDIT_NOTE,
}  # fmt: skip


def in_locale(document: Document, locale: str) -> Document:
    """The same for a customer of a locale."""
    return replace(document, locale=locale, customer=CUSTOMERS.get(locale, CUSTOMERS["en"]))
