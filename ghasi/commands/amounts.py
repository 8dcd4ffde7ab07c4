"""How operators write money: a decimal number in the currency of what it is about."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from ghasi.billing.money import read_amount


def _convert(of: Any, tokens: Sequence[Token]) -> int:
    del of
    return read_amount(tokens[0].value)


Amount = Annotated[int, Parameter(converter=_convert, metavar="AMOUNT")]
"""Micros, written as a decimal number."""
