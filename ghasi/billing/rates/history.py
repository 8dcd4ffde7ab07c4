"""Rates as they follow each other in time: those of a moment, and all that ever count. Pure: knows no database."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ghasi.contract.pricing import Rate, RateKey, default_key


@dataclass(frozen=True, slots=True)
class RateFilter:
    """Which rates are asked for; None is all. `prefix` is what a rate's own begins with."""

    country: str | None = None
    prefix: str | None = None
    account_id: UUID | None = None
    plan: str | None = None
    currency: str | None = None

    def passes(self, key: RateKey) -> bool:
        """Whether rates of a key are asked for."""
        return (
            self.country in (None, key.country)
            and key.prefix.startswith(self.prefix or "")
            and self.account_id in (None, key.account_id)
            and self.plan in (None, key.plan)
            and self.currency in (None, key.currency)
        )


ALL_RATES = RateFilter()


def list_versions(rates: Iterable[Rate]) -> list[Rate]:
    """Return all rates that count at some time, by their conditions and then by time: of one moment's the last."""
    versions: dict[tuple[RateKey, datetime], Rate] = {}
    for rate in rates:
        known = versions.get((rate.key, rate.valid_from))
        if known is None or known.id < rate.id:
            versions[rate.key, rate.valid_from] = rate
    return sorted(versions.values(), key=order_of)


def list_valid(rates: Iterable[Rate], at: datetime) -> list[Rate]:
    """Return the rates of a moment by their conditions; before a currency's first default rate that one, too."""
    valid: dict[RateKey, Rate] = {}
    for rate in list_versions(rates):
        if rate.valid_from <= at or (rate.key == default_key(rate.key.currency) and rate.key not in valid):
            valid[rate.key] = rate
    return list(valid.values())


def order_of(rate: Rate) -> tuple[str | datetime | UUID, ...]:
    """Return what lists of rates are ordered by."""
    key = rate.key
    account = "" if key.account_id is None else str(key.account_id)
    return (
        key.currency, key.direction, key.country, key.prefix, account, key.plan or "", key.sender_kind or "",
        key.carrier_class or "", rate.valid_from, rate.id,
    )  # fmt: skip
