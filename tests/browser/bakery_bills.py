"""What the customer of the pictures pays: the rates, what is on the invoices, and what was paid and taken back."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import Deployment

OTHER_RATES = (
    ("PK", "", "outbound", "0.0385", ""), ("IR", "", "outbound", "0.0920", ""), ("TR", "", "outbound", "0.0118", ""),
    ("IN", "", "outbound", "0.0062", "10000:0.0058;100000:0.0051"), ("PK", "92300", "outbound", "0.0360", ""),
    ("AF", "", "inbound", "0.0050", ""),
)  # fmt: skip
"""What is charged where the customer seldom sends: country, prefix, direction, price, tiers."""
PROFILE = {
    "legal_name": "Kabul Bakery Ltd", "address": ["Shahr-e Naw, Street 7", "Kabul 1003", "Afghanistan"],
    "tax_id": "AF-9017 441", "email": "accounts@kabulbakery.example",
}  # fmt: skip
USED_OF_LIMIT = Decimal("0.62")
STEP = 50
"""A limit is a multiple of it."""


def import_rates(deployment: Deployment, countries: Mapping[str, int]) -> None:
    """Set what messages cost: a segment to each country in millionths, and OTHER_RATES."""
    file = deployment.folder / "rates.csv"
    priced = [f"{country},,outbound,{Decimal(micros).scaleb(-6)}," for country, micros in countries.items()]
    priced += [",".join(rate) for rate in OTHER_RATES]
    file.write_text("\n".join(["country,prefix,direction,amount,tiers", *priced, ""]))
    deployment.run("admin", "rates", "import", str(file))


async def bill(customer: Customer) -> dict[str, str]:
    """Close the months that are over, let one be paid and something of both be taken back, and limit this month's.

    Return the ids of an invoice and of a credit note.
    """
    deployment, account = customer.deployment, customer.session["account"]["id"]
    await customer.good("PUT", "/v1/billing/profile", PROFILE)
    deployment.run("admin", "accounts", "taxes", "set", account, "BRT=4", "VAT=10")
    deployment.run("admin", "accounts", "top-up", account, "150", "--reference", "bank 2041")
    now = datetime.now(UTC)
    for month in sorted({(now.replace(day=1) - timedelta(days=back)).strftime("%Y-%m") for back in (1, 40)}):
        deployment.admin("invoices", "close", "--period", month)
    newest, *_, oldest = (await customer.good("GET", "/v1/billing/invoices"))["data"]
    deployment.run("admin", "invoices", "pay", oldest["number"], "--reference", "bank 2077")
    for invoice, amount, reason in (
        (oldest, "6.20", "200 messages went out twice"),
        (newest, "15.50", "Late receipts"),
    ):
        deployment.run("admin", "invoices", "credit", invoice["number"], "--line", f"0={amount}", "--reason", reason)
    note, *_ = (await customer.good("GET", "/v1/billing/credit-notes"))["data"]
    spent = Decimal((await customer.good("GET", "/v1/billing/balance"))["spent"])
    limit = (spent / USED_OF_LIMIT // STEP + 1) * STEP
    await customer.good("PUT", "/v1/billing/spending-limit", {"spending_limit": f"{limit:f}"})
    return {"invoice": newest["id"], "note": note["id"]}
