"""What operators do with accounts' money: what is refused, and what the audit log has of it."""

import pytest

from ghasi.billing.accounts import admin as accounts_admin
from ghasi.billing.ledger import admin
from ghasi.billing.ledger.model import LedgerError
from ghasi.billing.model import BillingError
from ghasi.billing.rates import admin as rates_admin
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool

ANN = "operator:ann"


@pytest.mark.parametrize(
    ("amount", "note", "why"),
    [
        ("0", None, "not nothing"), ("-5", None, "--note"), ("-5", "", "--note"), ("5,00", None, "no amount"),
        ("1e400", None, "no amount"), ("nan", None, "no amount"), ("0.001", None, "at most 2 decimals"),
        ("0.0000001", None, "no amount"),
    ],
)  # fmt: skip
async def test_what_is_no_top_up_is_refused(pool: Pool, amount: str, note: str | None, why: str) -> None:
    account_id = new_id()
    with pytest.raises(BillingError, match=why):
        await admin.top_up(pool, account_id, amount, reference="1", note=note, actor=ANN)
    assert await admin.list_transactions(pool) == []
    assert await audit.list_entries(pool) == []


async def test_a_top_up_fixes_the_currency_and_is_audited_once(pool: Pool) -> None:
    account_id = new_id()
    for fresh in (True, False):
        _, balance_micros, done = await admin.top_up(
            pool, account_id, "50.00", reference="bank 1", note="Thank you", actor=ANN
        )
        assert (balance_micros, done) == (50_000_000, fresh)
    await admin.top_up(pool, account_id, "-20", reference="bank 1b", note="a typing error", actor=ANN)
    entries = await audit.list_entries(pool, account_id=account_id)
    assert [(one.action, one.actor) for one in entries] == [
        ("balance.corrected", ANN), ("balance.topped_up", ANN), ("account.currency_set", ANN),
    ]  # fmt: skip
    correction, first = await admin.list_transactions(pool, account_id=account_id)
    assert (correction.kind, correction.note, correction.entries) == (
        "correction", "a typing error", {"cash": -20_000_000, "balance": 20_000_000},
    )  # fmt: skip
    assert (first.kind, first.reference, first.actor, first.currency) == ("top_up", "bank 1", ANN, "USD")
    assert await admin.list_transactions(pool, account_id=new_id()) == []


async def test_amounts_are_of_the_accounts_currency(pool: Pool) -> None:
    account_id = new_id()
    await rates_admin.import_rates(pool, "country,amount,currency,valid_from\n*,5,JPY,2020-01-01\n", ANN)
    await accounts_admin.set_currency(pool, account_id, "JPY", ANN)
    with pytest.raises(LedgerError, match="JPY is paid in amounts of at most 0 decimals"):
        await admin.top_up(pool, account_id, "50.5", reference="1", note=None, actor=ANN)
    one, _, _ = await admin.top_up(pool, account_id, "50", reference="1", note=None, actor=ANN)
    assert one.currency == "JPY"
    assert await admin.set_spending_limit(pool, account_id, "7.5", ANN) == (7_500_000, "JPY")
    with pytest.raises(LedgerError, match="not below 0"):
        await admin.set_spending_limit(pool, account_id, "-1", ANN)
    assert await admin.set_spending_limit(pool, account_id, None, ANN) == (None, "JPY")
