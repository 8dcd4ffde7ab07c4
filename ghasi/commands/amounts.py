"""How operators write money: a decimal number in the currency of what it is about."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ghasi.billing.model import SettlementError
from ghasi.contract.values import micros


def read_amount(text: str) -> int:
    """Read an amount as micros; raises SettlementError."""
    try:
        return micros(text)
    except ValueError:
        raise SettlementError(f"{text!r} is no amount: write a decimal number such as 12.50") from None


def _convert(of: Any, tokens: Sequence[Token]) -> int:
    del of
    return read_amount(tokens[0].value)


Amount = Annotated[int, Parameter(converter=_convert)]
"""Micros, written as a decimal number."""
