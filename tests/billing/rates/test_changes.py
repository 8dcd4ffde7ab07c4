"""What a file would change, line by line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ghasi.billing.rates.changes import find_changes, rates_of
from ghasi.billing.rates.files import RateLine, parse_rates
from ghasi.contract.pricing import Question, Rate, RateBook, RateKey, Tier, default_key
from ghasi.contract.values import new_id

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DEFAULT = Rate(new_id(), default_key("USD"), 45_000, datetime(1970, 1, 1, tzinfo=UTC))
AFGHAN = default_key("USD")._replace(country="AF")
AF = Rate(new_id(), AFGHAN, 50_000, NOW - timedelta(days=9), (Tier(1000, 40_000),))


def kinds(text: str, *known: Rate) -> list[tuple[str, int | None]]:
    """What each line does, by its number, and the price before."""
    changes = find_changes(parse_rates(text), [DEFAULT, *known], NOW)
    changes.sort(key=lambda change: change.line)
    return [(change.kind, change.before and change.before.amount_micros) for change in changes]


def test_prices_are_added_raised_lowered_or_stay() -> None:
    for line, expected in (
        ("AF,0.05,1000:0.04", ("unchanged", 50_000)),
        ("AF,0.06,1000:0.04", ("raised", 50_000)),
        ("AF,0.05,", ("raised", 50_000)),
        ("AF,0.05,500:0.04", ("lowered", 50_000)),
        ("AF,0.05,1000:0.03;2000:0.02", ("lowered", 50_000)),
        ("AF,0.04,1000:0.05", ("mixed", 50_000)),
        ("AF,0.05,1000:0.04;2000:0.04", ("unchanged", 50_000)),  # which says the same
        ("DE,0.05,", ("added", 45_000)),
    ):
        assert kinds(f"country,amount,tiers\n{line}\n", AF) == [expected], line


def test_a_new_rate_stands_beside_the_less_particular_one_that_held() -> None:
    account = new_id()
    text = (
        "country,prefix,amount,sender_kind,account,direction\n"
        "AF,9370,1,,,\n"  # line 2: AF's before
        ",9370,1,,,\n"  # of any country, and so the default
        f"AF,,1,,{account},\n"
        "AF,,1,name,,\n"
        "AF,,1,,,inbound\n"  # free before
    )
    assert kinds(text, AF) == [
        ("added", 50_000), ("added", 45_000), ("added", 50_000), ("added", 50_000), ("added", None),
    ]  # fmt: skip


def test_lines_count_from_their_moment_on_and_not_before() -> None:
    header = "country,amount,valid_from\n"
    assert kinds(header + "AF,0.06,2026-11-20T00:00:00Z\nAF,0.05,\n", replace(AF, tiers=())) == [
        ("raised", 50_000), ("lowered", 60_000),
    ]  # fmt: skip
    assert kinds(header + "AF,0.07,\nAF,0.08,2027-01-01\n", replace(AF, tiers=())) == [
        ("raised", 50_000), ("raised", 70_000),
    ]  # fmt: skip
    assert kinds(header + "AF,0.05,2027-01-01\n", replace(AF, tiers=())) == [("repeated", 50_000)]
    assert kinds(header + "AF,0.05,2020-01-01\n", replace(AF, tiers=())) == [("added", 45_000)]


def test_a_correction_counts_even_where_the_clock_was_ahead() -> None:
    ahead = replace(AF, id=type(AF.id)(int=new_id().int + (1 << 90)), tiers=())
    line = RateLine(2, AFGHAN, 60_000, (), AF.valid_from)
    rates = [DEFAULT, ahead, *rates_of(find_changes([line], [DEFAULT, ahead], NOW))]
    question = Question("USD", "outbound", new_id(), None, "AF", "93", None, None)
    found = RateBook(rates).find(question, NOW)
    assert found is not None
    assert found.amount_micros == 60_000


days = st.integers(0, 3).map(lambda day: NOW + timedelta(days=day))
keys = st.sampled_from((default_key("USD"), AFGHAN, AFGHAN._replace(prefix="93"), RateKey(
    "USD", "outbound", None, "gold", "*", "", None, None
)))  # fmt: skip
decks = st.lists(
    st.builds(Rate, st.uuids(version=4), keys, st.integers(0, 3), days, st.sampled_from(((), (Tier(5, 1),)))),
    max_size=10,
)
lines = st.lists(
    st.builds(
        RateLine, st.integers(2, 99), keys, st.integers(0, 3), st.sampled_from(((), (Tier(5, 1),))), st.none() | days
    ),
    max_size=8,
    unique_by=lambda line: (line.key, line.valid_from),
)


@given(decks, lines)
def test_after_an_import_each_line_holds_at_its_moment_and_a_second_changes_nothing(
    deck: list[Rate], wanted: list[RateLine]
) -> None:
    now = NOW + timedelta(hours=12)  # of no other line's moment: two such lines would contradict each other
    known = [DEFAULT, *deck]
    after = known + rates_of(find_changes(wanted, known, now))
    assert {change.kind for change in find_changes(wanted, after, now)} <= {"unchanged"}
    for line in wanted:
        at = line.valid_from or now
        versions = [rate for rate in after if rate.key == line.key and rate.valid_from <= at]
        newest = max(versions, key=lambda rate: (rate.valid_from, rate.id))
        for segments in (0, 4, 5, 9):
            said = replace(newest, amount_micros=line.amount_micros, tiers=line.tiers)
            assert newest.price_after(segments) == said.price_after(segments)
