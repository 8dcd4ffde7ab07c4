"""How money is rounded: kept in integer micros, rounded half-even once, to what the currency can be paid in.

Pure functions. Knows nothing of invoices or rates.
"""

from ghasi.billing.model import AmountError
from ghasi.contract.values import decimal_string, micros

MICRO_DIGITS = 6
MOST_MICROS = 10**18
"""What operators may write: sums of some of them are still a bigint."""
MINOR_DIGITS: dict[str, int] = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}  # fmt: skip
"""Decimals of the minor unit where they are not two (ISO 4217, list one)."""


def read_amount(text: str) -> int:
    """Read an amount that somebody wrote as micros; raises AmountError."""
    try:
        amount_micros = micros(text)
    except ValueError:
        amount_micros = MOST_MICROS
    if abs(amount_micros) >= MOST_MICROS:
        raise AmountError(f"{text!r} is no amount: write a decimal number such as 12.50")
    return amount_micros


def minor_digits(currency: str) -> int:
    """Return how many decimals amounts of a currency have when they are paid."""
    return MINOR_DIGITS.get(currency, 2)


def minor_unit(currency: str) -> int:
    """Return the smallest amount of a currency that can be paid, in micros."""
    unit: int = 10 ** (MICRO_DIGITS - minor_digits(currency))
    return unit


def round_to_minor(amount_micros: int, currency: str) -> int:
    """Round micros half-even to the currency's minor unit; the result is micros again."""
    return portion(amount_micros, 1, 1, currency)


def portion(amount_micros: int, part: int, whole: int, currency: str) -> int:
    """Return `part` of `whole` (above 0) of an amount, rounded once, half-even, to the currency's minor unit."""
    unit = minor_unit(currency)
    count, rest = divmod(amount_micros * part, whole * unit)
    if 2 * rest > whole * unit or (2 * rest == whole * unit and count % 2):
        count += 1
    return count * unit


def invoice_amount(amount_micros: int, currency: str) -> str:
    """Write an amount on an invoice: a decimal string with the currency's own decimals."""
    return decimal_string(amount_micros, minor_digits(currency))
