"""The one rule by which a rate is chosen, beside the plainest way to say it."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ghasi.contract.pricing import (
    EVERY_COUNTRY,
    Question,
    Rate,
    RateBook,
    RateKey,
    Tier,
    _Series,
    default_key,
    pricing_country,
    sender_kind,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNTS = (UUID(int=1), UUID(int=2))
days = st.integers(0, 4).map(lambda day: BEGIN + timedelta(days=day))
digits = st.text("12", max_size=3)
kinds = st.sampled_from((None, "name", "short_code", "number"))
classes = st.sampled_from((None, "direct", "grey"))
scopes = st.sampled_from(((None, None), (ACCOUNTS[0], None), (ACCOUNTS[1], None), (None, "gold"), (None, "basic")))
# few values of each, so that conditions hold often and rates compete
keys = st.builds(
    lambda currency, direction, scope, country, prefix, kind, of: RateKey(
        currency, direction, *scope, country, prefix, kind, of
    ),
    st.sampled_from(("USD", "USD", "EUR")),
    st.sampled_from(("outbound", "outbound", "inbound")),
    scopes,
    st.sampled_from((EVERY_COUNTRY, "AF", "DE")),
    digits,
    kinds,
    classes,
) | st.just(default_key("USD"))
rates = st.builds(Rate, st.integers(1, 1000).map(lambda number: UUID(int=number)), keys, st.integers(0, 9), days)
decks = st.lists(rates, max_size=30, unique_by=lambda rate: rate.id)
questions = st.builds(
    Question,
    st.sampled_from(("USD", "EUR")),
    st.sampled_from(("outbound", "inbound")),
    st.sampled_from(ACCOUNTS),
    st.sampled_from((None, "gold")),
    st.sampled_from(("AF", "DE", "ZZ")),
    st.text("12", max_size=5),
    kinds,
    classes,
)


def holds(key: RateKey, question: Question) -> bool:
    """Whether every condition of a rate is met."""
    return (
        key.currency == question.currency
        and key.direction == question.direction
        and key.account_id in (None, question.account_id)
        and (key.plan is None or key.plan == question.plan)
        and key.country in (EVERY_COUNTRY, question.country)
        and question.number.startswith(key.prefix)
        and (key.sender_kind is None or key.sender_kind == question.sender_kind)
        and (key.carrier_class is None or key.carrier_class == question.carrier_class)
    )


def weight(rate: Rate) -> tuple[object, ...]:
    key = rate.key
    scope = 2 if key.account_id else 1 if key.plan else 0
    return (
        scope, len(key.prefix), key.country != EVERY_COUNTRY, key.sender_kind is not None,
        key.carrier_class is not None, rate.valid_from, rate.id,
    )  # fmt: skip


def plainest(deck: list[Rate], question: Question, at: datetime) -> Rate | None:
    holding = [rate for rate in deck if holds(rate.key, question) and rate.valid_from <= at]
    if holding:
        return max(holding, key=weight)
    defaults = [
        rate for rate in deck if rate.key == default_key(question.currency) and question.direction == "outbound"
    ]
    return min(defaults, key=lambda rate: (rate.valid_from, -rate.id.int), default=None)


def every_series(book: RateBook) -> Iterator[_Series]:
    for market in book._markets.values():
        for deck in (*market._accounts.values(), *market._plans.values(), market._everybody):
            for countries in deck.series.values():
                yield from itertools.chain.from_iterable(countries.values())


@given(decks, questions, days)
def test_the_most_particular_rate_counts(deck: list[Rate], question: Question, at: datetime) -> None:
    assert RateBook(deck).find(question, at) == plainest(deck, question, at)


@given(decks, st.data(), questions, days)
def test_rates_may_come_in_any_order_in_pieces_and_again(
    deck: list[Rate], data: st.DataObject, question: Question, at: datetime
) -> None:
    book = RateBook()
    for rate in data.draw(st.permutations(deck + deck[:5])):
        book.add([rate])
    assert book.find(question, at) == plainest(deck, question, at)


@given(decks, st.data(), questions, days, days)
def test_what_is_over_may_be_forgotten(
    deck: list[Rate], data: st.DataObject, question: Question, one: datetime, another: datetime
) -> None:
    since, at = min(one, another), max(one, another)
    book = RateBook()
    for rate in data.draw(st.permutations(deck)):
        book.add([rate], since)
    assert book.find(question, at) == plainest(deck, question, at)
    book.add(deck, since=BEGIN + timedelta(days=9))
    assert sum(len(series.rates) for series in every_series(book)) == len({rate.key for rate in deck})


@given(decks, questions, days)
def test_those_that_hold_are_listed_by_what_counts_first(deck: list[Rate], question: Question, at: datetime) -> None:
    listed = list(RateBook(deck).list_holding(question, at))
    newest: dict[RateKey, Rate] = {}
    for rate in sorted((rate for rate in deck if rate.valid_from <= at), key=weight):
        newest[rate.key] = rate
    expected = sorted((rate for rate in newest.values() if holds(rate.key, question)), key=weight, reverse=True)
    assert listed == expected or (not expected and listed == [plainest(deck, question, at)])


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 9)), max_size=4, unique_by=lambda tier: tier[0]), st.data()
)
def test_a_tier_leads_on_from_the_one_before(tiers: list[tuple[int, int]], data: st.DataObject) -> None:
    rate = Rate(UUID(int=1), default_key("USD"), 7, BEGIN, tuple(Tier(*tier) for tier in sorted(tiers)))
    segments = data.draw(st.integers(0, 25))
    reached = [tier for tier in tiers if tier[0] <= segments]
    assert rate.price_after(segments) == (max(reached)[1] if reached else 7)


def test_before_the_first_default_rate_that_one_holds_as_it_was_corrected() -> None:
    later = BEGIN + timedelta(days=9)
    deck = [Rate(UUID(int=number), default_key("USD"), number, later) for number in (2, 3)]
    question = Question("USD", "outbound", ACCOUNTS[0], None, "AF", "93", None, None)
    assert RateBook(deck).find(question, BEGIN) == deck[1]
    assert RateBook(deck).find(question._replace(direction="inbound"), BEGIN) is None, "what arrives is free"
    assert RateBook(deck).find(question._replace(currency="EUR"), BEGIN) is None


def test_senders_are_of_a_kind() -> None:
    for sender, kind in (
        (None, None), ("", None), ("Bakery", "name"), ("4U", "name"), ("72100", "short_code"),
        ("12345678", "short_code"), ("123456789", "number"), ("+93701234567", "number"), ("+1234567", "number"),
    ):  # fmt: skip
        assert sender_kind(sender) == kind, sender
    assert [pricing_country(country) for country in ("AF", None, "001")] == ["AF", "ZZ", "ZZ"]
