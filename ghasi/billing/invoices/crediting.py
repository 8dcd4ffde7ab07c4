"""How a credit note shares what it takes back over net and taxes. Pure.

All credit notes of an invoice together never take back more than it has, of the whole and of each tax; the one that
takes the last takes the exact rest of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ghasi.billing.invoices.model import TaxLine
from ghasi.billing.money import portion


@dataclass(frozen=True, slots=True)
class Creditable:
    """What an invoice is made of, and what was taken back of it before; taxes in the invoice's order."""

    currency: str
    subtotal_micros: int
    taxes: Sequence[TaxLine]
    credited_subtotal_micros: int
    credited_taxes_micros: Sequence[int]

    @property
    def left_net_micros(self) -> int:
        """What may still be taken back before taxes."""
        return self.subtotal_micros - self.credited_subtotal_micros

    @property
    def left_micros(self) -> int:
        """What may still be taken back."""
        return self.left_net_micros + sum(self.left_taxes())

    def left_taxes(self) -> list[int]:
        """Return what may still be taken back of each tax."""
        return [
            tax.amount_micros - credited for tax, credited in zip(self.taxes, self.credited_taxes_micros, strict=True)
        ]


def share_net(of: Creditable, net_micros: int) -> list[TaxLine]:
    """Return the taxes that go back with a net amount, of which so much is left."""
    return _lines(of, net_micros, _shares(of, of.credited_subtotal_micros + net_micros, of.subtotal_micros))


def share_gross(of: Creditable, gross_micros: int) -> tuple[int, list[TaxLine]]:
    """Return net and taxes of an amount that has its taxes in it, of which so much is left."""
    whole = of.subtotal_micros + sum(tax.amount_micros for tax in of.taxes)
    credited = of.credited_subtotal_micros + sum(of.credited_taxes_micros)
    amounts = _shares(of, credited + gross_micros, whole)
    # rounding may have given the taxes some units of the currency too many, or the net more than is left of it
    net = gross_micros - sum(amounts)
    for place, left in enumerate(of.left_taxes()):
        moved = min(amounts[place], -net) if net < 0 else -min(left - amounts[place], max(0, net - of.left_net_micros))
        amounts[place] -= moved
        net += moved
    return net, _lines(of, net, amounts)


def _shares(of: Creditable, part: int, whole: int) -> list[int]:
    """Return of each tax what is to go back by now, less what went back: rounded errors do not add up so."""
    return [
        min(max(portion(tax.amount_micros, part, whole, of.currency) - credited, 0), tax.amount_micros - credited)
        for tax, credited in zip(of.taxes, of.credited_taxes_micros, strict=True)
    ]


def _lines(of: Creditable, net_micros: int, amounts: Sequence[int]) -> list[TaxLine]:
    return [TaxLine(tax.name, tax.rate_ppm, net_micros, amount) for tax, amount in zip(of.taxes, amounts, strict=True)]
