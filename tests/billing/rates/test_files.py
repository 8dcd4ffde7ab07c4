"""Rates as CSV: what is written is read again as the same, and every fault is named."""

import string
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.model import RatesError
from ghasi.billing.rates.changes import find_changes
from ghasi.billing.rates.files import COLUMNS, MOST_TIERS, parse_rates, write_rates
from ghasi.billing.rates.history import list_valid, list_versions
from ghasi.contract.pricing import Rate, RateKey, Tier, default_key
from ghasi.contract.values import new_id

ACCOUNT = UUID("0199f3a0-0000-7000-8000-000000000001")
NOW = datetime(2026, 11, 28, tzinfo=UTC)
names = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text.isprintable()
)
times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
amounts = st.integers(0, 999_999_999_999)
tiers = st.lists(st.builds(Tier, st.integers(1, 10**12), amounts), max_size=4, unique_by=lambda tier: tier[0]).map(
    lambda tiers: tuple(sorted(tiers))
)
scopes = st.one_of(
    st.just((None, None)), st.tuples(st.sampled_from((ACCOUNT, new_id())), st.none()), st.tuples(st.none(), names)
)
places = st.one_of(
    st.sampled_from((("*", ""), ("AF", ""), ("AF", "9"), ("AF", "9370"), ("US", "1"), ("US", "1242"), ("ZZ", "881"))),
    st.tuples(st.just("*"), st.text(string.digits, max_size=14).map(lambda rest: "4" + rest)),
)
keys = st.builds(
    lambda currency, direction, scope, place, kind, of: RateKey(currency, direction, *scope, *place, kind, of),
    st.sampled_from(("USD", "EUR", "JPY")),
    st.sampled_from(("outbound", "inbound")),
    scopes,
    places,
    st.sampled_from((None, "name", "short_code", "number")),
    st.none() | names,
)
rates = st.builds(Rate, st.integers(1, 10**6).map(lambda number: UUID(int=number)), keys, amounts, times, tiers)
defaults = [
    Rate(UUID(int=10**7 + number), default_key(currency), 7, NOW)
    for number, currency in enumerate(("USD", "EUR", "JPY"))
]
decks = st.lists(rates, max_size=12, unique_by=lambda rate: rate.id).map(lambda deck: deck + defaults)


@given(decks)
def test_what_is_exported_imports_again_without_a_change(deck: list[Rate]) -> None:
    text = write_rates(list_versions(deck))
    assert {change.kind for change in find_changes(parse_rates(text), deck, NOW)} == {"unchanged"}
    # and into nothing it is what counts: of one moment's rates the last, with all its tiers
    again = [change.rate for change in find_changes(parse_rates(text), [], NOW)]
    assert write_rates(list_versions(again)) == text


@given(decks, times)
def test_what_is_valid_at_a_moment_imports_again_without_a_change(deck: list[Rate], at: datetime) -> None:
    valid = list_valid(deck, at)
    assert {change.kind for change in find_changes(parse_rates(write_rates(valid)), deck, NOW)} == {"unchanged"}
    assert {rate.key for rate in valid} >= {default_key(currency) for currency in ("USD", "EUR", "JPY")}


def parse_one(header: str, values: str) -> tuple[RateKey, int, tuple[Tier, ...], datetime | None]:
    (line,) = parse_rates(f"{header}\n{values}\n")
    assert line.number == 2
    return line.key, line.amount_micros, line.tiers, line.valid_from


def test_every_column_is_read() -> None:
    assert parse_one(
        ",".join(COLUMNS),
        f"af,+9370,0.05,eur,2026-12-01,INBOUND,Short_Code, direct ,{str(ACCOUNT).upper()},,10000:0.04; 100000 : 0.035",
    ) == (
        RateKey("EUR", "inbound", ACCOUNT, None, "AF", "9370", "short_code", "direct"),
        50_000,
        (Tier(10_000, 40_000), Tier(100_000, 35_000)),
        datetime(2026, 12, 1, tzinfo=UTC),
    )
    key, *_ = parse_one("prefix,amount,plan", "49,0.1,Größer")
    assert key == RateKey("USD", "outbound", None, "Größer", "*", "49", None, None)
    assert parse_one("prefix,country,amount", "8816,zz,2")[0] == default_key("USD")._replace(
        country="ZZ", prefix="8816"
    )
    assert parse_one("country,amount", "*,0") == (default_key("USD"), 0, (), None)


FAULTS = [
    ("country,amount,prefix", ",1,", "'' is no country"),
    ("prefix,amount", "0093,1", "'0093' is no prefix"),
    ("prefix,amount", "++93,1", "'++93' is no prefix"),
    ("prefix,amount", "93a,1", "'93a' is no prefix"),
    ("prefix,amount", "٩٣,1", "is no prefix"),
    ("prefix,amount", "1234567890123456,1", "is no prefix"),
    ("prefix,country,amount", "49,AF,1", "numbers of AF begin with 93, and not with 49"),
    ("country,amount,direction", "AF,1,up", "'up' is no direction: write outbound or inbound"),
    ("country,amount,sender_kind", "AF,1,robot", "'robot' is no kind of sender: write name or short_code or number"),
    ("country,amount,account", "AF,1,acme", "'acme' is no account"),
    ("country,amount,account", "AF,1,{0199f3a0-0000-7000-8000-000000000001}", "is no account"),
    ("country,amount,account,plan", f"AF,1,{ACCOUNT},gold", "an account's or a plan's"),
    ("country,amount,plan", "AF,1,a\tb", "is no name"),
    ("country,amount,carrier_class", f"AF,1,{'x' * 101}", "is no name"),
    ("country,amount,tiers", "AF,1,10000", "'10000' is no tier"),
    ("country,amount,tiers", "AF,1,0:0.1", "'0:0.1' is no tier"),
    ("country,amount,tiers", "AF,1,9999999999999:1", "is no tier"),
    ("country,amount,tiers", "AF,1,10:x", "'x' is no amount"),
    ("country,amount,tiers", "AF,1,10:1;", "'' is no tier"),
    ("country,amount,tiers", "AF,1,10:1;10:2", "the tier from 10 segments must come before the one from 10"),
    ("country,amount,tiers", f"AF,1,{';'.join(f'{n}:1' for n in range(1, MOST_TIERS + 2))}", "21 tiers"),
    ("country,amount,valid_from", "AF,1,1969-12-31", "is no time"),
    ("country,amount,valid_from", "AF,1,2101-01-01", "is no time"),
]


@pytest.mark.parametrize(("header", "values", "said"), FAULTS)
def test_a_fault_is_named_with_its_line(header: str, values: str, said: str) -> None:
    with pytest.raises(RatesError) as raised:
        parse_rates(f"{header}\n{values}\n")
    assert "\nline 2: " in str(raised.value)
    assert said in str(raised.value)


def test_lines_of_the_same_conditions_and_moment_are_a_fault_and_of_others_none() -> None:
    header = "country,prefix,amount,valid_from,sender_kind\n"
    parse_rates(header + "AF,,1,,\nAF,93,1,,\nAF,,1,2026-01-01,\nAF,,1,,name\n*,93,1,,\n")
    with pytest.raises(RatesError, match="line 3: line 2 has these conditions"):
        parse_rates(header + ",93,1,,\n*,+93,2,,\n")
    with pytest.raises(RatesError, match="line 4: line 3 has these conditions"):
        parse_rates(header + "AF,,1,,\nAF,,1,2026-01-01,\nAF,,1,2026-01-01T04:30:00+04:30,\n")
