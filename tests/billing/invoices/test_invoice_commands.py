"""`ghasi admin invoices` and what their accounts' invoices are made with, as an operator types and reads it."""

from datetime import UTC, datetime

from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms
from tests.processes.test_commands import Commands, commands, shell  # noqa: F401 - fixtures

YEAR = datetime.now(UTC).year
FIRST = f"GH-{YEAR}-000001"


def say(commands: Commands, *arguments: str, expect: int = 0) -> str:  # noqa: F811
    done = commands.run("admin", *arguments, expect=expect)
    return done.stdout + done.stderr


async def test_an_invoice_from_its_taxes_to_its_last_credit_note(
    commands: Commands, pool: Pool, messages: Messages  # noqa: F811
) -> None:  # fmt: skip
    account = str(ACCOUNT)
    assert "no account" in say(commands, "accounts", "taxes", "set", account, "VAT=19", expect=1)
    await pool.execute("INSERT INTO auth.accounts (id, name, created_at) VALUES ($1, 'Bakery', now())", ACCOUNT)
    profile = ("--legal-name", "Kabul Bakery Ltd", "--address", "12 Flower Street", "--address", "Kabul")
    assert say(commands, "accounts", "billing-profile", "set", account, *profile, "--locale", "fa-AF") == "set\n"
    assert "12 Flower Street, Kabul" in say(commands, "accounts", "billing-profile", "show", account)
    said = say(commands, "accounts", "billing-profile", "set", account, "--locale", "english please", expect=2)
    assert "BCP 47" in said
    assert (
        say(commands, "accounts", "taxes", "set", account, "VAT=19", "Levy=1.2345")
        == "taxes: VAT 19 %, Levy 1.2345 %\n"
    )
    for wrong in ("VAT", "VAT=x", "VAT=101", "VAT=0.00001", "=19"):
        say(commands, "accounts", "taxes", "set", account, wrong, expect=1)
    assert commands.json("admin", "accounts", "taxes", "list", account) == [
        {"name": "Levy", "percent": "1.2345"}, {"name": "VAT", "percent": "19"},
    ]  # fmt: skip
    added = commands.json(
        "admin", "accounts", "discounts", "add", account, "Partner", "--percent", "10", "--from", "2026-10"
    )
    assert (added["percent"], added["amount"], added["until_month"]) == ("10", None, None)
    say(commands, "accounts", "discounts", "add", account, "Voucher", "--amount", "0.25", "--from", "2026-10")
    for wrong in ((), ("--percent", "5", "--amount", "1"), ("--percent", "0"), ("--amount", "0"), ("--amount", "x")):
        say(commands, "accounts", "discounts", "add", account, "No", "--from", "2026-10", *wrong, expect=1)
    assert say(commands, "accounts", "discounts", "end", added["id"], "--until", "2026-10") == "ends with 2026-10\n"
    discounts = commands.json("admin", "accounts", "discounts", "list", account)
    assert [(one["name"], one["until_month"]) for one in discounts] == [("Partner", "2026-10-01"), ("Voucher", None)]

    await messages.happen(Sms(segments=100))
    assert say(commands, "invoices", "close", "--period", "2026-10").startswith("1 invoice made, 0 were there\n")
    shown = commands.json("admin", "invoices", "show", FIRST)
    assert [(line["line"], line["kind"], line["amount"]) for line in shown["line_items"]] == [
        (0, "usage", "4.50"), (1, "discount", "-0.45"), (2, "discount", "-0.25"),
    ]  # fmt: skip
    assert [tax["amount"] for tax in shown["taxes"]] == ["0.05", "0.72"]
    assert (shown["total"], shown["amount_due"], shown["overdue"]) == ("4.57", "4.57", False)

    part = ("--amount", "1.50", "--method", "card", "--reference", "TX-1", "--at", "2026-11-05")
    assert say(commands, "invoices", "pay", FIRST, *part) == f"{FIRST} is open, USD 3.07 due\n"
    assert say(commands, "invoices", "pay", FIRST, *part) == f"{FIRST} is open, USD 3.07 due\n"
    assert "no more than 3.07 USD" in say(commands, "invoices", "pay", FIRST, "--amount", "3.08", expect=1)
    assert "is no amount" in say(commands, "invoices", "pay", FIRST, "--amount", "much", expect=1)
    assert "credit note" in say(commands, "invoices", "void", FIRST, expect=1)
    note = f"CN-{YEAR}-000001"
    said = say(commands, "invoices", "credit", FIRST, "--reason", "came late", "--line", "0=0.50")
    assert said == f"{note} credits USD 0.60 of {FIRST}\n"
    both = ("--reason", "x", "--line", "0", "--amount", "1")
    assert "not both" in say(commands, "invoices", "credit", FIRST, *both, expect=1)
    assert "is no line" in say(commands, "invoices", "credit", FIRST, "--reason", "x", "--line", "first", expect=1)
    assert say(commands, "invoices", "uncollectible", FIRST) == f"{FIRST} is uncollectible\n"
    assert say(commands, "invoices", "pay", FIRST) == f"{FIRST} is paid\n"
    table = say(commands, "invoices", "show", FIRST)
    for text in ("SMS to AF", "VAT", "TX-1", "2026-11-05 00:00:00", note, "came late"):
        assert text in table
    assert [one["number"] for one in commands.json("admin", "invoices", "list", "--status", "paid")] == [FIRST]
    assert commands.json("admin", "invoices", "list", "--overdue") == []
    assert len(commands.json("admin", "invoices", "list", "--period", "2026-10", "--no-overdue")) == 1
    assert "not a month" in say(commands, "invoices", "list", "--period", "2026-1", expect=2)
    actions = {entry.action for entry in await audit.list_entries(pool, account_id=ACCOUNT)}
    assert actions == {
        "billing_profile.set", "account.taxes_set", "account.discount_added", "account.discount_ended", "invoice.paid",
        "invoice.credited", "invoice.uncollectible",
    }  # fmt: skip
