"""The words of documents, in every language that words.toml has.

A key more or less in any language is an error when this module is loaded.
"""

import tomllib
from pathlib import Path

import msgspec


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One language's words; what is put in stands in braces."""

    invoice: str
    credit_note: str
    draft: str
    paid: str
    overdue: str
    void: str
    uncollectible: str
    invoice_number: str
    credit_note_number: str
    date_issued: str
    date_due: str
    date_paid: str
    period: str
    currency: str
    reason: str
    seller: str
    bill_to: str
    customer: str
    tax_id: str
    due: str
    due_since: str
    paid_on: str
    so_far: str
    nothing_to_pay: str
    nothing_credited: str
    not_collected: str
    credited_on: str
    description: str
    messages: str
    segments: str
    unit_price: str
    amount: str
    sms_to: str
    sms_to_nowhere: str
    sms_from: str
    sms_from_nowhere: str
    base_fee: str
    included: str
    minimum: str
    discount: str
    adjustment: str
    nothing_charged: str
    subtotal: str
    tax: str
    total: str
    total_credit: str
    payment: str
    payments: str
    credit: str
    credits: str
    amount_due: str
    page: str


def _load() -> dict[str, Words]:
    tables = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
    return msgspec.convert(tables, dict[str, Words])


LANGUAGES = _load()
"""By language tag: `fa`, and `fa-AF` where a region has its own."""


def find_words(language: str, region: str | None) -> Words | None:
    """Return a language's words, a region's own if there are any."""
    return LANGUAGES.get(f"{language}-{region}") or LANGUAGES.get(language)
