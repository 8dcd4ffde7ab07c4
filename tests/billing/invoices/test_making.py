"""What an invoice says: for any usage, rates, plan, discounts and taxes it adds up, and each line is rounded once."""

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.invoices.making import make_invoice
from ghasi.billing.invoices.model import Discount, Tax
from ghasi.billing.model import Line, Tally, TallyKey
from ghasi.billing.money import minor_digits, portion
from ghasi.billing.plans.model import Plan
from ghasi.contract.values import new_id
from tests.billing.conftest import ACCOUNT

SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)
RATES = [new_id() for _ in range(3)]
CURRENCIES = st.sampled_from(["JPY", "USD", "KWD", "CLF"])  # 0, 2, 3 and 4 decimals


def tally(  # noqa: PLR0917 - as a key has it
    country: str, unit_micros: int, segments: int, month: date = OCTOBER, kind: str = "usage",
    direction: str = "outbound", currency: str = "USD", rate_id: UUID = RATES[0], messages: int | None = None,
) -> Tally:  # fmt: skip
    key = TallyKey(ACCOUNT, month, direction, country, currency, kind, rate_id, unit_micros)  # type: ignore[arg-type]
    return Tally(new_id(), key, segments if messages is None else messages, segments, segments * unit_micros)


def plan(fee_micros: int = 0, minimum_micros: int = 0, currency: str = "USD") -> Plan:
    return Plan("gold", OCTOBER, currency, base_fee_micros=fee_micros, minimum_micros=minimum_micros)


def share(name: str, rate_ppm: int, *months: date) -> Discount:
    return Discount(new_id(), name, rate_ppm, None, *(months or (OCTOBER, None)))  # type: ignore[arg-type]


def amount(name: str, micros: int) -> Discount:
    return Discount(new_id(), name, None, micros, OCTOBER, None)


def said(lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    return [(line.kind, line.description, line.amount_micros) for line in lines]


def test_lines_stand_in_their_order() -> None:
    made = make_invoice(
        [
            tally("DE", 45_000, 10), tally("AF", 55_000, 2), tally("AF", 0, 3, kind="included"),
            tally("AF", 10_000, 1, direction="inbound"), tally("ZZ", 45_000, 1),
            tally("AF", 45_000, -2, SEPTEMBER, messages=-1), tally("DE", 45_000, 4, SEPTEMBER),
        ],
        month=OCTOBER, currency="USD", closed={SEPTEMBER}, plan=plan(5_000_000, 10_000_000),
        discounts=[amount("Voucher", 1_000_000), share("Partner", 100_000)],
        taxes=[Tax("VAT", 190_000), Tax("Levy", 5_000)],
    )  # fmt: skip
    assert said(made.lines) == [
        ("included", "SMS to AF, included", 0),
        ("usage", "SMS to AF", 110_000),
        ("usage", "SMS to DE", 450_000),
        ("usage", "SMS to numbers of no country", 40_000),
        ("usage", "SMS from AF", 10_000),
        ("adjustment", "SMS to AF, adjustment for September 2026", -90_000),
        ("adjustment", "SMS to DE, adjustment for September 2026", 180_000),
        ("base_fee", "Base fee of the plan gold", 5_000_000),
        ("minimum", "Up to the minimum of the plan gold", 4_390_000),  # what September was is not October's
        ("discount", "Partner", -1_010_000),  # 10 % of 10.09, half-even to 1.01
        ("discount", "Voucher", -1_000_000),
    ]
    assert made.subtotal_micros == 8_080_000
    assert [(tax.name, tax.base_micros, tax.amount_micros) for tax in made.taxes] == [
        ("VAT", 8_080_000, 1_540_000), ("Levy", 8_080_000, 40_000),  # 1.5352 and 0.0404
    ]  # fmt: skip
    assert made.total_micros == 9_660_000


def test_a_month_that_was_not_closed_is_no_adjustment() -> None:
    made = make_invoice([tally("AF", 45_000, 1), tally("AF", 45_000, 2, SEPTEMBER)], month=OCTOBER, currency="USD")
    assert [(line.kind, line.month, line.segments) for line in made.lines] == [("usage", None, 3)]
    assert set(made.line_of.values()) == {0}


def test_differences_that_came_to_nothing_are_on_no_line() -> None:
    gone = [tally("AF", 45_000, 2, SEPTEMBER), tally("AF", 45_000, -2, SEPTEMBER)]
    made = make_invoice(gone, month=OCTOBER, currency="USD", closed={SEPTEMBER}, taxes=[Tax("VAT", 190_000)])
    assert made == ([], [], {})
    # but one that only changes what a message is counted as does
    made = make_invoice([tally("AF", 0, 2, SEPTEMBER)], month=OCTOBER, currency="USD", closed={SEPTEMBER})
    assert said(made.lines) == [("adjustment", "SMS to AF, adjustment for September 2026", 0)]


def test_a_plan_without_a_fee_makes_no_invoice() -> None:
    assert make_invoice([], month=OCTOBER, currency="USD", plan=plan()).lines == []
    fee = make_invoice([], month=OCTOBER, currency="JPY", plan=plan(999_500_000, currency="JPY"))
    assert said(fee.lines) == [("base_fee", "Base fee of the plan gold", 1_000_000_000)]  # 999.5 half-even is 1000
    minimum = make_invoice([], month=OCTOBER, currency="USD", plan=plan(0, 7_000_000))
    assert said(minimum.lines) == [("minimum", "Up to the minimum of the plan gold", 7_000_000)]


def test_discounts_take_no_more_than_there_is_and_hold_in_their_months() -> None:
    november = date(2026, 11, 1)
    made = make_invoice(
        [tally("AF", 1_000_000, 10)], month=OCTOBER, currency="USD",
        discounts=[
            share("Past", 500_000, date(2026, 8, 1), SEPTEMBER), share("To come", 500_000, november, november),
            share("This month's", 800_000, OCTOBER, OCTOBER), share("More", 300_000), amount("Voucher", 1_000_000),
        ],
    )  # fmt: skip
    assert said(made.lines)[1:] == [("discount", "This month's", -8_000_000), ("discount", "More", -2_000_000)]
    assert made.subtotal_micros == 0
    below = make_invoice(
        [tally("AF", 1_000_000, -1, SEPTEMBER)], month=OCTOBER, currency="USD", closed={SEPTEMBER},
        discounts=[share("None of less than nothing", 500_000)], taxes=[Tax("VAT", 200_000)],
    )  # fmt: skip
    assert (len(below.lines), below.total_micros) == (1, -1_200_000)


TALLIES = st.lists(
    st.builds(
        tally, st.sampled_from(["AF", "DE", "ZZ"]), st.sampled_from([0, 1, 4_999, 5_000, 45_000, 1_234_567]),
        st.integers(-(10**6), 10**6), st.sampled_from([SEPTEMBER, OCTOBER, date(2026, 8, 1)]),
        st.sampled_from(["usage", "included"]), st.sampled_from(["outbound", "inbound"]),
        rate_id=st.sampled_from(RATES),
    ),
    max_size=15,
)  # fmt: skip
DISCOUNTS = st.lists(
    st.builds(share, st.just("share"), st.integers(1, 1_000_000))
    | st.builds(amount, st.just("amount"), st.integers(1, 10**10)),
    max_size=4,
)  # fmt: skip
TAXES = st.lists(st.builds(Tax, st.text(max_size=3), st.integers(0, 1_000_000)), max_size=4)


@given(
    tallies=TALLIES, currency=CURRENCIES, closed=st.sets(st.sampled_from([SEPTEMBER, date(2026, 8, 1)])),
    fee=st.integers(0, 10**10), minimum=st.integers(0, 10**10), planned=st.booleans(), discounts=DISCOUNTS, taxes=TAXES,
)  # fmt: skip
def test_totals_are_the_sum_of_the_lines(  # noqa: PLR0917 - what is drawn
    tallies: list[Tally], currency: str, closed: set[date], fee: int, minimum: int, planned: bool,
    discounts: list[Discount], taxes: list[Tax],
) -> None:  # fmt: skip
    made = make_invoice(
        tallies, month=OCTOBER, currency=currency, closed=closed,
        plan=plan(fee, minimum, currency) if planned else None, discounts=discounts, taxes=taxes,
    )  # fmt: skip
    unit = 10 ** (6 - minor_digits(currency))
    assert made.subtotal_micros == sum(line.amount_micros for line in made.lines)
    assert made.tax_micros == sum(tax.amount_micros for tax in made.taxes)
    assert made.total_micros == made.subtotal_micros + made.tax_micros
    for money in [line.amount_micros for line in made.lines] + [tax.amount_micros for tax in made.taxes]:
        assert money % unit == 0
    # every tally is on the line that says so, or on none because nothing came of its kind
    by_line: dict[int | None, list[Tally]] = {}
    for one in tallies:
        by_line.setdefault(made.line_of.get(one.id), []).append(one)
    assert sum(one.amount_micros for one in by_line.pop(None, [])) == 0
    for position, line in enumerate(made.lines):
        own = by_line.pop(position, [])
        assert bool(own) == (line.kind in ("usage", "included", "adjustment"))
        if own:
            exact = sum(one.amount_micros for one in own)
            digits = Decimal(1).scaleb(-minor_digits(currency))
            rounded = Decimal(exact).scaleb(-6).quantize(digits, ROUND_HALF_EVEN)
            assert Decimal(line.amount_micros).scaleb(-6) == rounded
            assert line.segments == sum(one.segments for one in own)
            assert {one.key.month for one in own} <= closed if line.kind == "adjustment" else True
    assert not by_line
    # a tax is of the subtotal, whatever other taxes there are
    if made.lines:
        assert [tax.amount_micros for tax in made.taxes] == [
            portion(made.subtotal_micros, tax.rate_ppm, 1_000_000, currency) for tax in taxes
        ]
    # discounts never turn an invoice round
    before = sum(line.amount_micros for line in made.lines if line.kind != "discount")
    assert min(before, 0) <= made.subtotal_micros <= before
    assert made.subtotal_micros == before or made.subtotal_micros >= 0
    if planned and not discounts:
        own_month = sum(line.amount_micros for line in made.lines if line.kind != "adjustment")
        assert own_month >= portion(minimum, 1, 1, currency)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**6), st.integers(1, 10**6), CURRENCIES)
def test_a_portion_is_rounded_once(micros: int, part: int, whole: int, currency: str) -> None:
    unit = 10 ** (6 - minor_digits(currency))
    count, rest = divmod(micros * part, whole * unit)
    got = portion(micros, part, whole, currency)
    assert got % unit == 0
    assert 2 * abs(got * whole - micros * part) <= unit * whole
    if 2 * rest == whole * unit:
        assert (got // unit) % 2 == 0
        assert got // unit in (count, count + 1)
