"""What a segment costs at a carrier: by the longest prefix of the number, then by its country, then `*`.

Owns the prices of carriers.toml once they are read. They steer routing, and bill nobody.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

import phonenumbers

_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_PREFIX = re.compile(r"\+?([0-9]{1,15})")
COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)


class CostError(ValueError):
    """A table of costs can't be used; the text names the key."""


class CostTable:
    """The prices of one carrier, exact."""

    def __init__(self, costs: Mapping[str, str]) -> None:
        """Take decimal strings by prefix, ISO 3166 country or `*`; raises CostError."""
        self._by_prefix: dict[str, Decimal] = {}
        self._by_country: dict[str | None, Decimal] = {}
        self._other: Decimal | None = None
        for key, amount in costs.items():
            if not _AMOUNT.fullmatch(amount):
                raise CostError(f'`{key}`: must be a decimal string such as "0.0210"')
            if key == "*":
                self._other = Decimal(amount)
            elif key in COUNTRIES:
                self._by_country[key] = Decimal(amount)
            elif found := _PREFIX.fullmatch(key):
                if found[1] in self._by_prefix:
                    raise CostError(f"`{key}`: is there twice")
                self._by_prefix[found[1]] = Decimal(amount)
            else:
                raise CostError(f"`{key}`: is neither a prefix such as 9370, nor a country such as AF, nor *")
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix}, reverse=True)

    def of(self, number: str, country: str | None) -> Decimal | None:
        """Return the price of a segment to a number (E.164 with +), None where the table has none."""
        for length in self._lengths:
            found = self._by_prefix.get(number[1 : length + 1])
            if found is not None:
                return found
        return self._by_country.get(country, self._other)
