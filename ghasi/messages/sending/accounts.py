"""What accounts may send: auth-service's word on them, billing's on their money, and their senders' rules.

Owns how long a rule that has changed may go unheard of, and what a refusal says. Refuses nothing itself.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from ghasi.messages.senders.senders import NO_SENDERS, Owners, SenderRules, load_rules
from ghasi.messages.sending import queries
from ghasi.storage.events.outbox import Event, latest_of
from ghasi.storage.pool import Connection, Pool

ACCOUNT_CACHE_S = 0.4
_MOST_CACHED_ACCOUNTS = 10_000


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What an account may send; the default is everything. `held_back` is the code of what it has used up."""

    status: str = "active"
    countries: frozenset[str] | None = None
    daily_cap: int | None = None
    senders: SenderRules = NO_SENDERS
    held_back: str | None = None


_UNRESTRICTED = AccountRules()


@dataclass(slots=True)
class Accounts:
    """Accounts' rules of the last 0.4 s, so that they are not read for each message."""

    pool: Pool
    owners: Owners = field(default_factory=Owners)
    known: dict[UUID, tuple[float, AccountRules]] = field(default_factory=dict)

    async def rules_of(self, account_id: UUID, now: float) -> AccountRules:
        """Return what an account may send, as of 0.4 s ago at most; `now` is the event loop's clock."""
        cached = self.known.get(account_id)
        if cached is not None:
            if cached[0] > now:
                return cached[1]
            # one asks; the others go on with what they have for the moment that takes
            self.known[account_id] = (now + ACCOUNT_CACHE_S, cached[1])
        row, senders = await asyncio.gather(
            queries.find_account(self.pool, account_id), load_rules(self.pool, account_id)
        )
        rules = _UNRESTRICTED if senders is NO_SENDERS else AccountRules(senders=senders)
        if row is not None:
            countries = None if row["countries"] is None else frozenset(row["countries"])
            rules = AccountRules(row["status"], countries, row["daily_cap"], senders, row["held_back"])
        if len(self.known) >= _MOST_CACHED_ACCOUNTS:
            self.known.clear()
        self.known[account_id] = (now + ACCOUNT_CACHE_S, rules)
        return rules

    def forget(self, account_id: UUID) -> None:
        """Read an account's rules anew next time: something of them was changed by this process."""
        self.known.pop(account_id, None)

    async def list_taken(
        self, account_id: UUID, rules: AccountRules, senders: Collection[str | None], now: float
    ) -> Collection[str]:
        """Return which of these senders belong to another account, as of a second ago at most."""
        return await self.owners.list_taken(self.pool, account_id, rules.senders, senders, now)


def country_refusal(country: str | None) -> str:
    """Say why a number may not be sent to."""
    return f"the account may not send to {country or 'this number'}"


def cap_refusal(daily_cap: int) -> str:
    """Say why nothing more may be sent today."""
    return f"the account may send {daily_cap} messages a day"


class _AccountState(msgspec.Struct):
    """The data of account.updated, as far as sending needs it."""

    status: str
    countries: list[str] | None = None
    daily_cap: int | None = None


async def take_accounts(connection: Connection, events: Sequence[Event]) -> None:
    """Apply auth-service's account.updated events: each has the whole state, so the latest one counts."""
    rows: list[tuple[UUID, str, str | None, int | None, int]] = []
    for event in latest_of(events, "account.updated"):
        state = msgspec.json.decode(event.data, type=_AccountState)
        countries = None if state.countries is None else "{" + ",".join(state.countries) + "}"
        rows.append((event.subject_id, state.status, countries, state.daily_cap, event.sequence))
    if rows:
        await queries.upsert_accounts(connection, rows)


class _Spending(msgspec.Struct):
    """The data of account.spending."""

    status: str
    exhausted: bool
    until: datetime | None


async def take_spending(connection: Connection, events: Sequence[Event]) -> None:
    """Apply billing's account.spending events: each has the whole state, so the latest one counts."""
    rows: list[tuple[UUID, str, bool, datetime | None, int]] = []
    for event in latest_of(events, "account.spending"):
        state = msgspec.json.decode(event.data, type=_Spending)
        rows.append((event.subject_id, state.status, state.exhausted, state.until, event.sequence))
    if rows:
        await queries.upsert_spending(connection, rows)
