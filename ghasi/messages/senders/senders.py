"""Whom an account sends as: which sender a message gets, and what a customer may change of the account's senders.

Owns the rules of policy, country, default and pool. Adding and taking away senders is the operator's: sender_admin.
Never decides where an inbound message belongs, nor who has opted out.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec

from ghasi.contract.errors import Problem
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import Page, PageQuery, Sender, SenderInput, SenderKind
from ghasi.contract.values import decode_id_cursor, id_time, page_of, rfc3339
from ghasi.messages.numbers import Recipient
from ghasi.messages.senders import queries as sender_queries
from ghasi.messages.senders.queries import SenderPolicy, StoredSender
from ghasi.storage import audit
from ghasi.storage.pool import Pool

OWNERS_CACHE_S = 1.0
_UNHEARD_OF: tuple[float, UUID | None] = (float("-inf"), None)
_MOST_CACHED_OWNERS = 10_000


class ListedSender(msgspec.Struct, frozen=True):
    """A sender as far as sending goes; `countries` None means every country."""

    address: str
    countries: frozenset[str] | None = None
    is_default: bool = False
    in_pool: bool = False

    def may_be_used_in(self, country: str | None) -> bool:
        """Whether a number of the country may be written to from it; None stands for a number of no country."""
        return self.countries is None or country in self.countries


@dataclass(frozen=True, slots=True)
class SenderRules:
    """Whom an account may send as; the default is anybody. `has_opt_outs`: anybody opted out of its messages at all."""

    policy: SenderPolicy = "any"
    senders: Mapping[str, ListedSender] = field(default_factory=dict)
    default: ListedSender | None = None
    pool: tuple[ListedSender, ...] = ()
    has_opt_outs: bool = False


NO_SENDERS = SenderRules()


async def load_rules(pool: Pool, account_id: UUID) -> SenderRules:
    """Read an account's rules, in one query."""
    row = await sender_queries.find_sender_rules(pool, account_id)
    if row["policy"] is None and row["senders"] is None and not row["has_opt_outs"]:
        return NO_SENDERS
    return rules_of_senders(
        msgspec.json.decode(row["senders"] or "[]", type=list[ListedSender]), row["policy"] or "any",
        has_opt_outs=row["has_opt_outs"],
    )  # fmt: skip


def rules_of_senders(
    senders: Iterable[ListedSender], policy: SenderPolicy = "any", *, has_opt_outs: bool = False
) -> SenderRules:
    """Make rules of an account's senders."""
    listed = {sender.address: sender for sender in senders}
    return SenderRules(
        policy=policy,
        senders=listed,
        default=next((sender for sender in listed.values() if sender.is_default), None),
        pool=tuple(sender for sender in listed.values() if sender.in_pool),
        has_opt_outs=has_opt_outs,
    )


def kind_of(address: str) -> SenderKind:
    """Say what a sender is that `numbers.parse_sender` let pass."""
    if address.startswith("+"):
        return "number"
    return "short_code" if address.isdecimal() else "alphanumeric"


def resolve_sender(
    rules: SenderRules,
    sender: str | None,
    recipient: Recipient,
    sticky: str | None = None,
    taken: Collection[str] = (),
) -> str | None:
    """Return the sender a message gets, None for the carrier's default one; raises Problem sender_not_allowed.

    `sender` is what was asked for; `sticky` the sender of the pool that the recipient knows; `taken` what
    `Owners.list_taken` said of it. Without `sender` it is the account's default where that may be used, else one of
    the pool: the one the recipient knows if that still may be used, else one by rendezvous hashing, so that the pool
    is used evenly, and a sender that comes or goes changes the choice for its own share of recipients only.
    """
    country = recipient.country
    if sender is not None:
        if sender in taken:
            raise Problem("sender_not_allowed", f"{sender} belongs to another account")
        if rules.policy == "listed":
            listed = rules.senders.get(sender)
            if listed is None:
                raise Problem("sender_not_allowed", f"the account has no sender {sender}")
            if not listed.may_be_used_in(country):
                raise Problem("sender_not_allowed", f"{sender} may not be used for {country or 'this number'}")
        return sender
    if rules.default is not None and rules.default.may_be_used_in(country):
        return rules.default.address
    usable = [one.address for one in rules.pool if one.may_be_used_in(country)]
    if usable:
        return sticky if sticky in usable else _choose(usable, recipient.number)
    if rules.policy == "listed":
        raise Problem("sender_not_allowed", f"the account has no default sender for {country or 'this number'}")
    return None


def sticky_needed(rules: SenderRules, sender: str | None, country: str | None) -> bool:
    """Whether a message's sender comes from the pool, so that the recipient's own has to be read, and remembered."""
    if sender is not None or not rules.pool or (rules.default is not None and rules.default.may_be_used_in(country)):
        return False
    return any(one.may_be_used_in(country) for one in rules.pool)


def _choose(addresses: Iterable[str], recipient: str) -> str:
    """Choose by rendezvous hashing: each address is weighed with the recipient, the heaviest is taken."""
    return max(
        addresses, key=lambda address: hashlib.blake2b(f"{recipient} {address}".encode(), digest_size=8).digest()
    )


@dataclass(slots=True)
class Owners:
    """Whose numbers and short codes are, as of a second ago at most, so that a busy sender is not asked for each time.

    One that is asked for by its owner is not here: the account's own rules have it.
    """

    known: dict[str, tuple[float, UUID | None]] = field(default_factory=dict)

    async def list_taken(
        self, pool: Pool, account_id: UUID, rules: SenderRules, senders: Collection[str | None], now: float
    ) -> set[str]:
        """Return which of the senders belong to another account; at most one query. `now` is the event loop's clock."""
        taken: set[str] = set()
        unknown: set[str] = set()
        for sender in senders:
            if sender is None or sender in rules.senders or kind_of(sender) == "alphanumeric":
                continue
            until, owner = self.known.get(sender, _UNHEARD_OF)
            if until <= now:
                unknown.add(sender)
            elif owner not in (None, account_id):
                taken.add(sender)
        if unknown:
            found = await sender_queries.list_owners(pool, unknown)
            if len(self.known) + len(unknown) > _MOST_CACHED_OWNERS:
                self.known.clear()
            for sender in unknown:
                owner = found.get(sender)
                self.known[sender] = (now + OWNERS_CACHE_S, owner)
                if owner not in (None, account_id):
                    taken.add(sender)
        return taken


def shown(sender: StoredSender) -> Sender:
    """Return a sender as the API shows it."""
    return Sender(
        id=str(sender.id), address=sender.address, kind=sender.kind, countries=sender.countries,
        default=sender.is_default, pool=sender.in_pool, created_at=rfc3339(id_time(sender.id)),
    )  # fmt: skip


async def list_senders(pool: Pool, caller: Caller, query: PageQuery) -> Page[Sender]:
    """Return a page of the account's senders, newest first; raises Problem invalid_cursor."""
    before = decode_id_cursor(query.cursor)
    rows = await sender_queries.list_senders(pool, caller.account_id, before, query.limit + 1)
    return page_of(rows, query.limit, shown, lambda row: (row.id,))


async def update_sender(
    pool: Pool, caller: Caller, sender_id: UUID, body: SenderInput, *, request_id: str | None = None
) -> Sender:
    """Make a sender the account's default or not, put it in the pool or take it out; the default moves atomically.

    Raises Problem not_found, not_a_pool_sender.
    """
    async with pool.acquire() as connection, connection.transaction():
        rows = await sender_queries.lock_senders(connection, caller.account_id)
        sender = next((row for row in rows if row.id == sender_id), None)
        if sender is None:
            raise Problem("not_found")
        if body.pool and sender.kind == "alphanumeric":
            raise Problem("not_a_pool_sender", f"{sender.address} is a name")
        changed = replace(sender, is_default=body.default, in_pool=body.pool)
        if changed != sender:
            if body.default:
                await sender_queries.clear_default(connection, caller.account_id, sender_id)
            await sender_queries.update_sender(connection, changed)
            await audit.record(
                connection, actor=actor_of(caller), action="sender.updated", subject=str(sender_id),
                account_id=caller.account_id, request_id=request_id, address=sender.address, default=body.default,
                pool=body.pool,
            )  # fmt: skip
    return shown(changed)


def actor_of(caller: Caller) -> str:
    """Return who the audit log names."""
    return f"key:{caller.credential}" if caller.is_api_key else f"user:{caller.user_id}"
