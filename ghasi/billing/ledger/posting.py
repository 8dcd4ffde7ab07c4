"""Posts to accounts' books what happens to their money: the seam for invoices, top-ups and rating.

Every function works in the caller's transaction, on a batch; it locks the books of all its accounts at once and in one
order until the transaction ends. So call each with all there is, and only one with several accounts in a transaction:
two locking by turns could wait for each other. What was posted under a reference before (an invoice's, a payment's or a
credit note's id, an operator's own) is not posted again: each is idempotent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from ghasi.billing.ledger import books, queries, spending_queries, states
from ghasi.billing.ledger.model import (
    Book,
    Credited,
    CreditNote,
    Ending,
    Entries,
    Kind,
    LedgerError,
    OfAccount,
    Opening,
    Payment,
    Posting,
    Standing,
    TopUp,
    Usage,
)
from ghasi.contract.values import new_id
from ghasi.storage.pool import Connection

Posted = TypeVar("Posted", bound=OfAccount)


async def post_openings(connection: Connection, openings: Sequence[Opening]) -> dict[UUID, int]:
    """Bill invoices that are opened; return how much of each is settled already, by invoice.

    A postpaid account's is settled as far as its balance was in its favour, a prepaid one's in full. An invoice below
    zero is settled in full too: what it is below goes to the balance.
    """
    ledger = await _open(connection, "invoice", [(one, str(one.invoice_id)) for one in openings])
    settled: dict[UUID, int] = {}
    for one in openings:
        entries = ledger.known(one, str(one.invoice_id))
        if entries is None:
            entries = books.opening(one, ledger.balances[one.account_id]["balance"])
            ledger.post(one, str(one.invoice_id), entries, invoice_id=one.invoice_id)
        settled[one.invoice_id] = one.net_micros + one.tax_micros - entries.get("receivable", 0)
    await ledger.finish()
    return settled


async def post_payments(connection: Connection, payments: Sequence[Payment]) -> None:
    """Take in what was paid for invoices, a part or all; raises OverpaidError beyond what is due.

    What is paid of an invoice that was given up as uncollectible is not lost any more.
    """
    ledger = await _open(connection, "payment", [(one, str(one.payment_id)) for one in payments])
    await ledger.read_standings({one.invoice_id for one in payments})
    for one in payments:
        if ledger.known(one, str(one.payment_id)) is None:
            entries = books.payment(ledger.standing(one.invoice_id), one.amount_micros)
            ledger.post(one, str(one.payment_id), entries, invoice_id=one.invoice_id, actor=one.actor)
    await ledger.finish()


async def post_voids(connection: Connection, voids: Sequence[Ending]) -> dict[UUID, Credited]:
    """Take back invoices, less what credit notes took back; return by invoice where that went.

    What was paid, by the balance or otherwise, is on the balance then. The messages stay billed: their usage does not
    come back.
    """
    ledger = await _open(connection, "void", [(one, str(one.invoice_id)) for one in voids])
    await ledger.read_standings({one.invoice_id for one in voids})
    where: dict[UUID, Credited] = {}
    for one in voids:
        entries = ledger.known(one, str(one.invoice_id))
        if entries is None:
            entries = books.void(ledger.standing(one.invoice_id))
            ledger.post(one, str(one.invoice_id), entries, invoice_id=one.invoice_id, actor=one.actor)
        where[one.invoice_id] = books.credited(entries)
    await ledger.finish()
    return where


async def post_uncollectible(connection: Connection, given_up: Sequence[Ending]) -> None:
    """Give up what is due of invoices."""
    ledger = await _open(connection, "uncollectible", [(one, str(one.invoice_id)) for one in given_up])
    await ledger.read_standings({one.invoice_id for one in given_up})
    for one in given_up:
        if ledger.known(one, str(one.invoice_id)) is None:
            entries = books.uncollectible(ledger.standing(one.invoice_id))
            ledger.post(one, str(one.invoice_id), entries, invoice_id=one.invoice_id, actor=one.actor)
    await ledger.finish()


async def post_credit_notes(connection: Connection, notes: Sequence[CreditNote]) -> dict[UUID, Credited]:
    """Take back parts of invoices; return by credit note where that went: off what is due first, then to the balance.

    That no more is taken back than was billed is the caller's to see to.
    """
    ledger = await _open(connection, "credit_note", [(one, str(one.credit_note_id)) for one in notes])
    await ledger.read_standings({one.invoice_id for one in notes})
    where: dict[UUID, Credited] = {}
    for one in notes:
        entries = ledger.known(one, str(one.credit_note_id))
        if entries is None:
            entries = books.credit_note(ledger.standing(one.invoice_id), one)
            ledger.post(one, str(one.credit_note_id), entries, invoice_id=one.invoice_id, actor=one.actor)
        where[one.credit_note_id] = books.credited(entries)
    await ledger.finish()
    return where


async def post_top_up(connection: Connection, top_up: TopUp) -> bool:
    """Put on a balance what a customer paid ahead, or take it back; whether that was not done before.

    Raises LedgerError where the reference was used with another amount.
    """
    kind: Kind = "top_up" if top_up.amount_micros > 0 else "correction"
    ledger = await _open(connection, kind, [(top_up, top_up.reference)], ("top_up", "correction"))
    entries = books.top_up(top_up.amount_micros)
    known = ledger.known(top_up, top_up.reference)
    if known is None:
        ledger.post(top_up, top_up.reference, entries, note=top_up.note, actor=top_up.actor)
        await ledger.write()
        await _keep_top_up(ledger, top_up)
    elif known != entries:
        raise LedgerError(f"reference {top_up.reference} was used with another amount")
    return known is None


async def post_usage(connection: Connection, usages: Sequence[Usage]) -> None:
    """Take from prepaid balances what their messages cost; for rating, which judges the accounts itself.

    Has no reference: a charge is made once.
    """
    ledger = await _open(connection, "usage", [(one, None) for one in usages])
    for one in usages:
        if one.amount_micros:
            ledger.post(one, None, books.usage(one.amount_micros))
    await ledger.write()


async def _keep_top_up(ledger: "_Ledger", top_up: TopUp) -> None:
    """Count alerts from the balance as it stands after a top-up."""
    account_id = top_up.account_id
    if top_up.amount_micros > 0:
        [posting] = ledger.postings
        await spending_queries.insert_accounts(ledger.connection, [account_id])
        await spending_queries.set_top_up(
            ledger.connection, account_id, posting.id, -ledger.balances[account_id]["balance"]
        )
    await states.refresh(ledger.connection, [account_id], ledger.now)


@dataclass(slots=True)
class _Ledger:
    """Some accounts' books while they are locked, for posting transactions of one kind."""

    connection: Connection
    kind: Kind
    balances: dict[UUID, dict[Book, int]]
    written_before: dict[tuple[UUID, str], Entries]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    standings: dict[UUID, Standing] = field(default_factory=dict)
    postings: list[Posting] = field(default_factory=list)
    entries: list[tuple[UUID, UUID, Book, int, int]] = field(default_factory=list)

    def known(self, one: OfAccount, reference: str) -> Entries | None:
        """Return the entries under a reference, of before or of this batch."""
        return self.written_before.get((one.account_id, reference))

    async def read_standings(self, invoice_ids: set[UUID]) -> None:
        """Learn what the books have of invoices."""
        self.standings = await queries.list_standings(self.connection, invoice_ids)

    def standing(self, invoice_id: UUID) -> Standing:
        """Return what the books have of an invoice; raises LedgerError where it was never opened."""
        if invoice_id not in self.standings:
            raise LedgerError(f"invoice {invoice_id} is not in the books")
        return self.standings[invoice_id]

    def post(
        self, one: OfAccount, reference: str | None, moved: Entries, *,
        invoice_id: UUID | None = None, note: str | None = None, actor: str | None = None,
    ) -> None:  # fmt: skip
        """Move books; nothing is written yet."""
        entries = {book: amount_micros for book, amount_micros in moved.items() if amount_micros}
        posting = Posting(
            new_id(), one.account_id, one.currency, self.kind, reference, invoice_id, note, actor, entries
        )
        self.postings.append(posting)
        balances = self.balances[one.account_id]
        for book, amount_micros in entries.items():
            balances[book] += amount_micros
            self.entries.append((posting.id, one.account_id, book, amount_micros, balances[book]))
        if reference is not None:
            self.written_before[one.account_id, reference] = entries
        if invoice_id in self.standings:
            standing = self.standings[invoice_id]
            self.standings[invoice_id] = Standing(
                standing.receivable_micros + entries.get("receivable", 0),
                standing.uncollectible_micros + entries.get("uncollectible", 0),
                standing.revenue_micros + entries.get("revenue", 0),
                standing.tax_micros + entries.get("tax", 0),
            )

    async def finish(self) -> None:
        """Write what was posted, and judge anew what accounts may send whose balance it moved."""
        await self.write()
        moved = {account_id for _, account_id, book, _, _ in self.entries if book == "balance"}
        await states.refresh(self.connection, moved, self.now)

    async def write(self) -> None:
        """Write what was posted."""
        if not self.postings:
            return
        await queries.insert_postings(self.connection, self.postings, self.entries, self.now)
        moved = {(account_id, book) for _, account_id, book, _, _ in self.entries}
        if moved:
            await queries.set_balances(
                self.connection, [(account_id, book, self.balances[account_id][book]) for account_id, book in moved]
            )


async def _open(
    connection: Connection, kind: Kind, asked: Sequence[tuple[OfAccount, str | None]], same: Sequence[Kind] = ()
) -> _Ledger:
    """Lock the books of all accounts, and find what was posted before; raises LedgerError for another currency.

    `same` are the kinds that share their references with each other.
    """
    locked = await queries.lock_books(connection, {one.account_id: one.currency for one, _ in asked})
    for one, _ in asked:
        if (currency := locked[one.account_id][0]) != one.currency:
            raise LedgerError(f"the books of account {one.account_id} are in {currency}, not {one.currency}")
    references = [
        (one.account_id, of, reference) for one, reference in asked if reference is not None for of in same or (kind,)
    ]
    known = await queries.list_known(connection, references) if references else {}
    return _Ledger(connection, kind, {account_id: books_ for account_id, (_, books_) in locked.items()}, known)
