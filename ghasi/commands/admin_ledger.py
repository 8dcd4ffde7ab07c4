"""`ghasi admin ledger`, and what `ghasi admin accounts` does with accounts' money: top-ups and spending limits."""

from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.billing.ledger import admin
from ghasi.billing.ledger.model import TopUp, Written
from ghasi.commands.admin_accounts import HERE, accounts, do_billing
from ghasi.commands.failures import FAILED
from ghasi.commands.operator import OperatorFlags, do, fields
from ghasi.commands.output import RowLimit, count, print_line, print_rows
from ghasi.contract.values import decimal_string
from ghasi.storage.resources import Resources

ledger = App(name="ledger")
Amount = Annotated[str, Parameter(help="In the account's currency; negative: a correction", allow_leading_hyphen=True)]


@accounts.command(name="top-up")
def top_up(
    account: UUID,
    amount: Amount,
    *,
    reference: Annotated[str, Parameter(help="What it is known by, as the bank has it; counts once")],
    note: Annotated[str | None, Parameter(help="Shown to the customer; a correction needs one")] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Put money that a customer has paid ahead on their balance; with the same reference it is done once."""

    async def put(it: Resources) -> tuple[TopUp, int, bool]:
        return await admin.top_up(it.pool, account, amount, reference=reference, note=note, actor=operator.actor)

    _, (one, balance_micros, fresh) = do_billing(operator, account, put)
    balance = decimal_string(balance_micros, 2)
    done = "" if fresh else f"{reference} was done before; "
    row = {"id": account, "reference": reference, "done": fresh, "balance": balance, "currency": one.currency}
    print_line(f"{done}the balance is {balance} {one.currency}", row, as_json=operator.json)


@accounts.command(name="spending-limit")
def set_spending_limit(
    account: UUID,
    amount: Annotated[str, Parameter(help="In the account's currency, or `none`")],
    *,
    operator: OperatorFlags = HERE,
) -> None:
    """Let an account spend so much in a UTC month, or with `none` any amount; within a second it holds."""
    limit = None if amount.lower() == "none" else amount
    _, (limit_micros, currency) = do_billing(
        operator, account, lambda it: admin.set_spending_limit(it.pool, account, limit, operator.actor)
    )
    text = "any amount" if limit_micros is None else f"{decimal_string(limit_micros, 2)} {currency}"
    row = {"id": account, "spending_limit": limit, "currency": currency}
    print_line(f"the account may spend {text} a month", row, as_json=operator.json)


@ledger.command(name="list")
def list_transactions(*, account: UUID | None = None, limit: RowLimit = 50, operator: OperatorFlags = HERE) -> None:
    """List what moved, newest first, of one account or of all; debits are positive, credits negative."""
    found = do(operator, "billing", lambda it: admin.list_transactions(it.pool, account_id=account, limit=limit))
    columns = ("at", "account_id", "kind", "reference", "currency", "entries", "note", "actor")
    print_rows([_transaction(one) for one in found], as_json=operator.json, columns=columns)


def _transaction(one: Written) -> dict[str, Any]:
    known = fields(one, "id", "at", "account_id", "kind", "reference", "invoice_id", "currency", "note", "actor")
    return known | {"entries": {book: decimal_string(micros, 2) for book, micros in one.entries.items()}}


@ledger.command(name="verify")
def verify(*, operator: OperatorFlags = HERE) -> int:
    """Recount the books from their entries, and what was spent and is held from messages; fails on any difference."""
    found = do(operator, "billing", lambda it: admin.verify(it.pool))
    rows = [
        fields(one, "what", "account_id", "subject")
        | {"kept": decimal_string(one.kept_micros, 2), "counted": decimal_string(one.counted_micros, 2)}
        for one in found
    ]
    if operator.json or rows:
        print_rows(rows, as_json=operator.json, columns=("what", "account_id", "subject", "kept", "counted"))
    if not operator.json:
        print_line(f"{count(len(rows), 'difference')}" if rows else "the books are right", {}, as_json=False)
    return FAILED if rows else 0
