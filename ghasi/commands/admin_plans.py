"""`ghasi admin plans`: what accounts pay besides the price of a segment, and how."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from ghasi.billing.model import BilledOn
from ghasi.billing.plans import admin
from ghasi.billing.plans.model import Payment, Plan, PlanError, PlanTier
from ghasi.commands.amounts import Amount
from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import print_line, print_row, print_rows
from ghasi.contract.values import decimal_string, micros

plans = App(name="plans")

HERE = Operator()
COLUMNS = (
    "name", "from", "currency", "base_fee", "included_segments", "tiers", "minimum", "billed_on", "payment",
)  # fmt: skip


def _plan(plan: Plan) -> dict[str, Any]:
    return (
        {"name": plan.name, "from": f"{plan.valid_from:%Y-%m}", "currency": plan.currency}
        | {"base_fee": decimal_string(plan.base_fee_micros, 2), "included_segments": plan.included_segments}
        | {"tiers": [f"{tier.from_segments}={_percent(tier.off_ppm)}" for tier in plan.tiers]}
        | {"minimum": decimal_string(plan.minimum_micros, 2)}
        | fields(plan, "billed_on", "payment")
    )


@plans.command(name="set")
def set_plan(
    name: str,
    *,
    currency: Annotated[str | None, Parameter(help="ISO 4217; of a new plan, by default USD")] = None,
    base_fee: Annotated[Amount | None, Parameter(help="A month, as 25.00")] = None,
    included: Annotated[int | None, Parameter(help="Segments a month that the base fee pays for")] = None,
    tier: Annotated[
        list[str] | None, Parameter(help="SEGMENTS=PERCENT off, from so many of a month on; several times", negative="")
    ] = None,
    no_tiers: Annotated[bool, Parameter(help="Take the tiers away", negative="")] = False,
    minimum: Annotated[Amount | None, Parameter(help="What a month costs at least, as 50.00")] = None,
    billed_on: Annotated[BilledOn | None, Parameter(help="What a message is billed on; by default sent")] = None,
    payment: Annotated[Payment | None, Parameter(help="By default postpaid")] = None,
    from_: Annotated[
        str | None, Parameter(name="--from", help="A month: YYYY-MM; by default the next possible")
    ] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Make a plan, or say what it is from a month on; what is not given stays as it is."""
    if no_tiers and tier:
        raise PlanError("give tiers, or take them away: not both")
    terms = admin.PlanTerms(
        currency=currency.upper() if currency else None,
        base_fee_micros=base_fee,
        included_segments=included,
        tiers=() if no_tiers else tuple(map(_tier, tier)) if tier else None,
        minimum_micros=minimum,
        billed_on=billed_on,
        payment=payment,
    )
    plan = do(operator, "billing", lambda it: admin.set_plan(it.pool, name, terms, operator.actor, from_))
    print_row(_plan(plan), as_json=operator.json)


@plans.command(name="list")
def list_plans(*, operator: OperatorFlags = HERE) -> None:
    """List plans as they are this month, or will be once they begin."""
    found = do(operator, "billing", lambda it: admin.list_current(it.pool))
    print_rows([_plan(plan) for plan in found], as_json=operator.json, columns=COLUMNS)


@plans.command(name="show")
def show_plan(name: str, *, operator: OperatorFlags = HERE) -> None:
    """Show all that a plan was and will be, in the order in which it was said, and the accounts that have it."""
    found, accounts = do(operator, "billing", lambda it: admin.get_plan(it.pool, name))
    rows = [_plan(plan) for plan in found]
    if operator.json:
        print_row({"name": name, "terms": rows, "accounts": accounts}, as_json=True)
        return
    print_rows(rows, as_json=False, columns=COLUMNS)
    print_line("", {}, as_json=False)
    print_rows([{"account": account} for account in accounts], as_json=False, columns=("account",))


def _percent(ppm: int) -> str:
    return f"{decimal_string(ppm * 100, 0)}%"


def _tier(text: str) -> PlanTier:
    segments, _, percent = text.partition("=")
    try:
        ppm, rest = divmod(micros(percent), 100)
        if rest or not segments.isdecimal():
            raise ValueError(text)  # noqa: TRY301 - the same fault as one that is no number
    except ValueError:
        raise PlanError(
            f"{text!r} is no tier: write SEGMENTS=PERCENT, at most 4 decimals, as 10000=5 or 50000=12.5"
        ) from None
    return PlanTier(int(segments), ppm)
