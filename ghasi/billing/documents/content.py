"""What a document says: every value ready to be shown, in words and figures of its locale.

Names are hostile text: each becomes one line without control characters, and goes to the template as JSON, never as
markup.
"""

from typing import Any

from ghasi.billing.documents.document import Document, DocumentLine, Party
from ghasi.billing.documents.formats import Formats, decimals_of, find_formats
from ghasi.contract.values import decimal_string

_BLANKS = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")
_TURNS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF])
"""What would turn the text around it, or end our own isolation of it."""
_LOOKS = {"draft": "quiet", "paid": "good", "overdue": "bad", "void": "quiet", "uncollectible": "bad"}


def describe(document: Document) -> dict[str, Any]:
    """Return what the template shows of a document."""
    formats = find_formats(document.locale)
    words = formats.words
    kind = words.invoice if document.kind == "invoice" else words.credit_note
    state = _state(document)
    mark: str | None = getattr(words, state) if state != "open" else None
    headline = _headline(document, formats)
    number = formats.piece(document.number or words.draft)
    return {
        "language": formats.language,
        "region": formats.region,
        "direction": "rtl" if formats.right_to_left else "ltr",
        "digits": formats.digits,
        "title": f"{kind} {document.number or f'({words.draft})'}",
        "author": text_of(document.seller.name),
        "heading": kind,
        "mark": None if mark is None else {"text": mark, "look": _LOOKS[state]},
        "seller": _party(document.seller, words.seller, formats),
        "customer": _party(document.customer, words.bill_to if document.kind == "invoice" else words.customer, formats),
        "facts": _facts(document, formats),
        "headline": headline,
        "footer": f"{number} · {headline}",
        "page": words.page,
        "columns": [words.description, words.messages, words.segments, words.unit_price, words.amount],
        "lines": _lines(document, formats),
        "nothing": words.nothing_charged,
        "sums": _sums(document, formats),
    }


def text_of(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join(text.translate(_BLANKS).translate(_TURNS).split())


def _piece(text: str, formats: Formats) -> str:
    return formats.piece(text_of(text))


def _state(document: Document) -> str:
    return "overdue" if document.overdue and document.status == "open" else document.status


def _party(party: Party, label: str, formats: Formats) -> dict[str, Any]:
    lines = [_piece(line, formats) for line in party.address]
    if party.tax_id is not None:
        lines.append(f"{formats.words.tax_id}: {_piece(party.tax_id, formats)}")
    if party.email is not None:
        lines.append(_piece(party.email, formats))
    return {"label": label, "name": _piece(party.name, formats), "lines": [line for line in lines if line]}


def _facts(document: Document, formats: Formats) -> list[tuple[str, str]]:
    words = formats.words
    of_invoice = document.kind == "invoice"
    numbers = [
        (words.invoice_number if of_invoice else words.credit_note_number, document.number),
        (words.invoice_number, None if of_invoice else document.invoice_number),
    ]
    days = [
        (words.date_issued, document.issued_at),
        (words.date_due, document.due_at),
        (words.date_paid, document.paid_at),
    ]
    return [
        *((name, formats.piece(number)) for name, number in numbers if number is not None),
        *((name, formats.day(at)) for name, at in days if at is not None),
        (words.period, formats.period(document.period_start, document.period_end)),
        (words.currency, formats.piece(document.currency)),
        *([(words.reason, _piece(document.reason, formats))] if document.reason else []),
    ]


def _headline(document: Document, formats: Formats) -> str:
    words = formats.words
    state = _state(document)
    total, due = (formats.money(of, document.currency) for of in (document.total_micros, document.amount_due_micros))
    if document.kind == "credit_note":
        texts = {"void": words.nothing_credited, "draft": words.so_far}
        text, amount, at = texts.get(state, words.credited_on), total, document.issued_at
    elif state in {"open", "overdue"}:
        text, amount, at = words.due if state == "open" else words.due_since, due, document.due_at
    else:
        texts = {"draft": words.so_far, "paid": words.paid_on, "void": words.nothing_to_pay}
        text, at = texts.get(state, words.not_collected), document.paid_at
        amount = due if document.amount_due_micros else total
    if at is None and "{date}" in text:
        return f"{words.amount_due}: {due}" if state in {"open", "overdue"} else f"{words.total}: {total}"
    return text.format(amount=amount, date="" if at is None else formats.day(at))


def _lines(document: Document, formats: Formats) -> list[dict[str, str]]:
    prices = [decimal_string(line.unit_micros, 2) for line in document.lines if line.unit_micros is not None]
    decimals = max(map(decimals_of, prices), default=0)
    return [
        {
            "description": _description(line, formats),
            "detail": _detail(line, formats),
            "messages": "" if line.messages is None else formats.count(line.messages),
            "segments": "" if line.segments is None else formats.count(line.segments),
            "unit_price": "" if line.unit_micros is None else formats.price(line.unit_micros, decimals),
            "amount": formats.amount(line.amount_micros, document.currency),
        }
        for line in document.lines
    ]


def _description(line: DocumentLine, formats: Formats) -> str:
    if line.kind == "usage":
        return _other_end(line, formats)
    kind: str = getattr(formats.words, line.kind)
    return kind


def _other_end(line: DocumentLine, formats: Formats) -> str:
    words, country = formats.words, formats.country(line.country)
    if country is None:
        return words.sms_from_nowhere if line.inbound else words.sms_to_nowhere
    return (words.sms_from if line.inbound else words.sms_to).format(country=country)


def _detail(line: DocumentLine, formats: Formats) -> str:
    parts = [
        _other_end(line, formats) if line.country is not None and line.kind != "usage" else "",
        "" if line.month is None else formats.month(line.month),
        "" if line.detail is None else _piece(line.detail, formats),
    ]
    return " · ".join(part for part in parts if part)


def _sums(document: Document, formats: Formats) -> list[dict[str, Any]]:
    words, currency = formats.words, document.currency

    def summed(name: str, amount_micros: int, *, strong: bool = False) -> dict[str, Any]:
        return {"name": name, "amount": formats.money(amount_micros, currency), "strong": strong}

    taxes = [
        summed(
            words.tax.format(
                name=_piece(tax.name, formats),
                percent=formats.percent(tax.percent),
                base=formats.money(tax.base_micros, currency),
            ),
            tax.amount_micros,
        )
        for tax in document.taxes
    ]
    before = [summed(words.subtotal, document.subtotal_micros), *taxes]
    if document.kind == "credit_note":
        return [*before, summed(words.total_credit, document.total_micros, strong=True)]
    return [
        *before,
        summed(words.total, document.total_micros),
        *(summed(name, -amount_micros) for name, amount_micros in _settled(document, formats)),
        summed(words.amount_due, document.amount_due_micros, strong=True),
    ]


def _settled(document: Document, formats: Formats) -> list[tuple[str, int]]:
    """Return what has been paid or credited, one by one, or their sums where the single ones are not known."""
    words = formats.words
    payments = []
    for payment in document.payments:
        name = words.payment.format(date=formats.day(payment.at))
        method = f" ({_piece(payment.method, formats)})" if payment.method else ""
        payments.append((name + method, payment.amount_micros))
    credits_ = [
        (words.credit.format(number=formats.piece(credit.number), date=formats.day(credit.at)), credit.amount_micros)
        for credit in document.credits
    ]
    if not payments and document.paid_micros:
        payments = [(words.payments, document.paid_micros)]
    if not credits_ and document.credited_micros:
        credits_ = [(words.credits, document.credited_micros)]
    return [*credits_, *payments]
