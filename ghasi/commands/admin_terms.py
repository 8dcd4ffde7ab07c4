"""`ghasi admin accounts billing-profile | taxes | discounts`: what an account's invoices are made with."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.billing.accounts import profiles
from ghasi.billing.invoices import terms
from ghasi.billing.invoices.model import Discount, Tax
from ghasi.billing.invoices.presenting import percent_of
from ghasi.commands.admin_accounts import do_billing
from ghasi.commands.amounts import Amount
from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import print_line, print_row, print_rows
from ghasi.contract.shapes import BillingProfileInput
from ghasi.contract.values import decimal_string
from ghasi.storage.pool import Pool

T = TypeVar("T")
HERE = Operator()
taxes = App(name="taxes")
discounts = App(name="discounts")
billing_profile = App(name="billing-profile")


def _of(operator: Operator, account: UUID, action: Callable[[Pool], Awaitable[T]]) -> T:
    """Do something of an account that there is."""
    return do_billing(operator, account, lambda it: action(it.pool))[1]


_PROFILE = ("legal_name", "address", "tax_id", "email", "locale", "updated_at")


@billing_profile.command(name="show")
def show_profile(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """Show what an account is called on its next invoices."""
    found = _of(operator, account, lambda pool: profiles.find_profile(pool, account))
    row = fields(found, *_PROFILE) if found else dict.fromkeys(_PROFILE)
    print_row({"account_id": account} | row, as_json=operator.json)


@billing_profile.command(name="set")
def set_profile(
    account: UUID,
    *,
    legal_name: str | None = None,
    address: Annotated[tuple[str, ...], Parameter(help="A line of it; up to 6 times", negative="")] = (),
    tax_id: str | None = None,
    email: str | None = None,
    locale: Annotated[str | None, Parameter(help="In whose language invoices are: BCP 47, such as de-AT")] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Set all of it: what is left out is taken away."""
    body = BillingProfileInput(legal_name=legal_name, address=list(address), tax_id=tax_id, email=email, locale=locale)
    done = _of(operator, account, lambda pool: profiles.set_profile(pool, account, body, operator.actor))
    print_line("set", {"account_id": account} | fields(done, *_PROFILE), as_json=operator.json)


def _tax(tax: Tax) -> dict[str, Any]:
    return {"name": tax.name, "percent": percent_of(tax.rate_ppm)}


@taxes.command(name="list")
def list_taxes(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """List an account's taxes."""
    found = _of(operator, account, lambda pool: terms.list_taxes(pool, account))
    print_rows([_tax(tax) for tax in found], as_json=operator.json, columns=("name", "percent"))


@taxes.command(name="set")
def set_taxes(
    account: UUID,
    *tax: Annotated[str, Parameter(help="NAME=PERCENT, such as VAT=19; none: no taxes")],
    operator: OperatorFlags = HERE,
) -> None:
    """Give an account these taxes and no others, on invoices that are opened from now on."""
    wanted = [_parse_tax(text) for text in tax]
    _of(operator, account, lambda pool: terms.set_taxes(pool, account, wanted, operator.actor))
    rows = [_tax(one) for one in wanted]
    said = ", ".join(f"{row['name']} {row['percent']} %" for row in rows) or "none"
    print_line(f"taxes: {said}", {"account_id": account, "taxes": rows}, as_json=operator.json)


def _parse_tax(text: str) -> Tax:
    name, _, percent = text.rpartition("=")
    return Tax(name, terms.parse_percent(percent))


def _discount(discount: Discount) -> dict[str, Any]:
    return fields(discount, "id", "name", "from_month", "until_month") | {
        "percent": None if discount.rate_ppm is None else percent_of(discount.rate_ppm),
        "amount": None if discount.amount_micros is None else decimal_string(discount.amount_micros, 2),
    }


@discounts.command(name="list")
def list_discounts(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """List an account's discounts, past ones too."""
    found = _of(operator, account, lambda pool: terms.list_discounts(pool, account))
    columns = ("id", "name", "percent", "amount", "from_month", "until_month")
    print_rows([_discount(one) for one in found], as_json=operator.json, columns=columns)


@discounts.command(name="add")
def add_discount(
    account: UUID,
    name: Annotated[str, Parameter(help="As the invoice has it")],
    *,
    percent: Annotated[str | None, Parameter(help="Of the sum before discounts")] = None,
    amount: Annotated[Amount | None, Parameter(help="In the account's currency, each month")] = None,
    from_month: Annotated[str, Parameter(name="--from", help="The first month: YYYY-MM")],
    until: Annotated[str | None, Parameter(help="The last month: YYYY-MM; by default for good")] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Give an account a discount: a percentage or an amount."""
    rate_ppm = None if percent is None else terms.parse_percent(percent)
    added = _of(
        operator, account,
        lambda pool: terms.add_discount(
            pool, account, name, operator.actor,
            rate_ppm=rate_ppm, amount_micros=amount, from_month=from_month, until_month=until,
        ),
    )  # fmt: skip
    print_line(f"{added.id} is {added.name}", _discount(added), as_json=operator.json)


@discounts.command(name="end")
def end_discount(
    discount: UUID,
    *,
    until: Annotated[str, Parameter(help="The last month that has it: YYYY-MM")],
    operator: OperatorFlags = HERE,
) -> None:
    """Let a discount end with a month."""
    do(operator, "billing", lambda it: terms.end_discount(it.pool, discount, until, operator.actor))
    print_line(f"ends with {until}", {"id": discount, "until_month": until}, as_json=operator.json)
