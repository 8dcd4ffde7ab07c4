"""What the pages say of rates is so."""

import re
from datetime import UTC, datetime
from pathlib import Path

from ghasi.billing.rates.changes import find_changes, rates_of
from ghasi.billing.rates.files import parse_rates
from ghasi.contract.pricing import Question, Rate, RateBook, RateKey, default_key, sender_kind
from ghasi.contract.values import micros, new_id

DOCS = Path(__file__).parents[3] / "docs"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
YOU = new_id()


def test_the_operators_file_imports() -> None:
    example = re.search(r"```csv\n(.*?)```", (DOCS / "operating.md").read_text(), re.DOTALL)
    assert example is not None
    lines = parse_rates(example[1])
    assert len(rates_of(find_changes(lines, [], NOW))) == len(lines) == 6


def test_the_customers_example_is_priced_as_it_says() -> None:
    rows = re.findall(r"^\| ([A-E]) +\|(.*)\|$", (DOCS / "billing.md").read_text(), re.MULTILINE)
    rates: dict[str, Rate] = {}
    for name, rest in rows:
        scope, prefix, country, sender, amount = (cell.strip() for cell in rest.split("|"))
        key = default_key("USD")._replace(
            account_id=YOU if scope == "your account" else None, prefix=prefix, country=country or "*",
            sender_kind="name" if sender == "name" else None,
        )  # fmt: skip
        rates[name] = Rate(new_id(), RateKey(*key), micros(amount), NOW)
    assert len(rates) == 5
    book = RateBook(rates.values())
    for account_id, number, country, sender, expected in (
        (new_id(), "93701234567", "AF", "72100", "C"),
        (new_id(), "93701234567", "AF", "Bakery", "D"),
        (new_id(), "93791234567", "AF", "Bakery", "B"),
        (YOU, "93701234567", "AF", "72100", "E"),
        (YOU, "93701234567", "AF", "Bakery", "E"),
        (YOU, "93791234567", "AF", "Bakery", "E"),
        (YOU, "46700000010", "SE", "Bakery", "A"),
    ):
        question = Question("USD", "outbound", account_id, None, country, number, sender_kind(sender), None)
        assert book.find(question, NOW) == rates[expected], (number, sender)
