"""Rounding: half-even, once, to what the currency can be paid in."""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.invoices.making import make_invoice
from ghasi.billing.model import Tally, TallyKey
from ghasi.billing.money import invoice_amount, minor_digits, round_to_minor
from ghasi.contract.values import new_id
from tests.billing.conftest import ACCOUNT

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "CLF", "AFN"])

RATE = new_id()


@given(st.integers(-(10**15), 10**15), CURRENCIES)
def test_rounding_is_that_of_decimal(amount_micros: int, currency: str) -> None:
    rounded = Decimal(amount_micros).scaleb(-6).quantize(Decimal(1).scaleb(-minor_digits(currency)), ROUND_HALF_EVEN)
    assert Decimal(round_to_minor(amount_micros, currency)).scaleb(-6) == rounded


def test_amounts_have_the_currencys_decimals() -> None:
    assert invoice_amount(round_to_minor(12_345_000, "USD"), "USD") == "12.34"
    assert invoice_amount(round_to_minor(12_355_000, "USD"), "USD") == "12.36"
    assert invoice_amount(round_to_minor(12_500_000, "JPY"), "JPY") == "12"
    assert invoice_amount(round_to_minor(13_500_000, "JPY"), "JPY") == "14"
    assert invoice_amount(round_to_minor(1_234_500, "KWD"), "KWD") == "1.234"
    assert invoice_amount(0, "USD") == "0.00"
    assert invoice_amount(-5_000_000, "JPY") == "-5"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 12), st.sampled_from(["AF", "DE", "ZZ"]), st.sampled_from([1, 4999, 5000, 45000]),
            st.integers(1, 10**6),
        ),
        max_size=12,
    ),
    CURRENCIES,
)  # fmt: skip
def test_each_line_is_rounded_once_from_its_exact_sum(kinds: list[tuple[int, str, int, int]], currency: str) -> None:
    tallies = [
        Tally(
            new_id(),
            TallyKey(ACCOUNT, date(2026, month, 1), "outbound", country, currency, "usage", RATE, unit),
            1,
            segments,
            segments * unit,
        )
        for month, country, unit, segments in kinds
    ]
    lines = make_invoice(tallies, month=date(2026, 12, 1), currency=currency).lines
    assert {(line.country or "ZZ", line.unit_micros) for line in lines} == {(kind[1], kind[2]) for kind in kinds}
    assert len({(line.country, line.unit_micros) for line in lines}) == len(lines)
    assert sum(line.segments for line in lines) == sum(kind[3] for kind in kinds)
    assert sum(line.messages for line in lines) == len(kinds)
    for line in lines:
        assert line.amount_micros == round_to_minor(line.segments * line.unit_micros, currency)
