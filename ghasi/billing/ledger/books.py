"""Which books move when something happens to an account's money. Pure; every result adds up to zero."""

from ghasi.billing.ledger.model import Book, Credited, CreditNote, Entries, Opening, OverpaidError, Standing
from ghasi.contract.values import decimal_string


def top_up(amount_micros: int) -> Entries:
    """Put on the balance what was paid ahead; a negative amount takes it back."""
    return {"cash": amount_micros, "balance": -amount_micros}


def usage(amount_micros: int) -> Entries:
    """Take what messages cost from a prepaid balance; a negative amount gives it back."""
    return {"balance": amount_micros, "usage": -amount_micros}


def opening(invoice: Opening, balance_micros: int) -> Entries:
    """Bill an invoice: what usage has paid for already, then what stands in the customer's favour, then a receivable.

    A prepaid account owes nothing: its balance pays all of the rest and may be overdrawn by it. What an invoice is
    below zero is the customer's. Messages may have taken fractions of a unit from a balance: what is owed is whole
    units, and what that leaves of the balance stays there; what rounding leaves of the rest is the balance's, too.
    """
    rest = invoice.net_micros + invoice.tax_micros - invoice.usage_micros
    from_balance = rest
    if not invoice.prepaid and rest > 0:
        unit, owed = invoice.unit_micros, max(0, rest + min(0, balance_micros))
        from_balance = rest - min(-(-owed // unit), rest // unit) * unit
    return {
        "revenue": -invoice.net_micros,
        "tax": -invoice.tax_micros,
        "usage": invoice.usage_micros,
        "balance": from_balance,
        "receivable": rest - from_balance,
    }


def payment(standing: Standing, amount_micros: int) -> Entries:
    """Pay an invoice, though it was given up; raises OverpaidError beyond what is due."""
    due = standing.receivable_micros + standing.uncollectible_micros
    if amount_micros > due:
        raise OverpaidError(f"{decimal_string(amount_micros)} is more than the {decimal_string(due)} that is due")
    receivable = min(amount_micros, standing.receivable_micros)
    return {"cash": amount_micros, "receivable": -receivable, "uncollectible": receivable - amount_micros}


def void(standing: Standing) -> Entries:
    """Take back all that is left of an invoice: what was paid of it is the customer's."""
    net_micros, tax_micros = -standing.revenue_micros, -standing.tax_micros
    return {"revenue": net_micros, "tax": tax_micros, **_credit(standing, net_micros + tax_micros)}


def uncollectible(standing: Standing) -> Entries:
    """Give up what is due of an invoice."""
    return {"receivable": -standing.receivable_micros, "uncollectible": standing.receivable_micros}


def credit_note(standing: Standing, note: CreditNote) -> Entries:
    """Take back a part of an invoice: off what is due, and what was paid already goes to the balance."""
    return {
        "revenue": note.net_micros,
        "tax": note.tax_micros,
        **_credit(standing, note.net_micros + note.tax_micros),
    }


def credited(entries: Entries) -> Credited:
    """Return where a void or a credit note went."""
    due_micros = -entries.get("receivable", 0) - entries.get("uncollectible", 0)
    return Credited(due_micros, -entries.get("balance", 0))


def _credit(standing: Standing, amount_micros: int) -> dict[Book, int]:
    receivable = min(max(amount_micros, 0), standing.receivable_micros)
    given_up = min(max(amount_micros - receivable, 0), standing.uncollectible_micros)
    return {
        "receivable": -receivable,
        "uncollectible": -given_up,
        "balance": receivable + given_up - amount_micros,
    }
