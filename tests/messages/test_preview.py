"""What a preview says of a text, of a number being typed, and of what the account may send; it writes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.carriers.segmentation import count_forcing, count_segments, measure
from ghasi.contract.shapes import Preview
from ghasi.contract.values import new_id
from ghasi.messages.sending.look_alikes import _LOOK_ALIKES, describe, suggest
from ghasi.messages.sending.preview import forcing_characters
from ghasi.storage.pool import Pool
from tests.messages.conftest import Customer

AFGHAN, SWEDISH = "+93701234567", "+46700000010"


async def preview(customer: Customer, body: str = "Hello", **fields: Any) -> dict[str, Any]:
    answer = await customer.call("POST", "/v1/messages/preview", {"body": body, **fields})
    assert answer.status == 200, answer.body
    msgspec.json.decode(answer.body, type=Preview)
    return answer.json


def errors_of(previewed: dict[str, Any]) -> list[tuple[str, str]]:
    return [(error["field"], error["message"]) for error in previewed["errors"]]


async def test_a_plain_text_to_a_number(customer: Customer) -> None:
    assert await preview(customer, to=AFGHAN, **{"from": "Bakery"}) == {
        "body": "Hello", "encoding": "gsm7", "segments": 1, "characters": 5, "units": 5, "units_per_segment": 160,
        "left": 155, "forcing": [], "country": "AF", "price": {"amount": "0.0450", "currency": "USD"}, "errors": [],
    }  # fmt: skip


async def test_what_forces_ucs2_is_named_with_what_to_write_instead(customer: Customer) -> None:
    previewed = await preview(customer, "It\u2019s \u201cready\u201d \u2014 it\u2019s\u00a0hot\u2026 \U0001f600")
    assert (previewed["encoding"], previewed["units_per_segment"]) == ("ucs2", 70)
    assert previewed["units"] == previewed["characters"] + 1, "an emoji is two UTF-16 units"
    assert [tuple(one.values()) for one in previewed["forcing"]] == [
        ("\u2019", "U+2019", "RIGHT SINGLE QUOTATION MARK", 2, "'"),
        ("\u201c", "U+201C", "LEFT DOUBLE QUOTATION MARK", 1, '"'),
        ("\u201d", "U+201D", "RIGHT DOUBLE QUOTATION MARK", 1, '"'),
        ("\u2014", "U+2014", "EM DASH", 1, "-"),
        ("\u00a0", "U+00A0", "NO-BREAK SPACE", 1, " "),
        ("\u2026", "U+2026", "HORIZONTAL ELLIPSIS", 1, "..."),
        ("\U0001f600", "U+1F600", "GRINNING FACE", 1, None),
    ]


async def test_all_that_is_sent_may_be_previewed(customer: Customer) -> None:
    message = {"to": AFGHAN, "body": "Hello", "from": "Bakery", "reference": "order-1", "validity_s": 600}
    in_time = (datetime.now(UTC) + timedelta(minutes=6)).isoformat()
    assert await preview(customer, **message, send_at=in_time) == await preview(customer, **message)
    too_soon = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    assert errors_of(await preview(customer, **message, send_at=too_soon)) == [
        ("send_at", "must be 5 minutes to 30 days from now")
    ]


async def test_with_smart_encoding_all_is_told_of_what_would_be_sent(customer: Customer) -> None:
    typographic = "It\u2019s ready\u2026"
    smart = await preview(customer, typographic, smart_encoding=True)
    sent = await customer.send(body=typographic, smart_encoding=True)
    assert smart == await preview(customer, "It's ready...")
    assert (smart["body"], smart["encoding"], smart["characters"], smart["forcing"]) == (
        "It's ready...",
        "gsm7",
        13,
        [],
    )
    assert sent["body"] == smart["body"]
    other_script = typographic + "\u0416"
    assert await preview(customer, other_script, smart_encoding=True) == await preview(customer, other_script)


async def test_a_sender_and_a_recipient_that_sending_would_refuse_are_told(
    customer: Customer, other: Customer, pool: Pool
) -> None:
    await pool.execute(
        "INSERT INTO messages.senders (id, account_id, address, kind, in_pool, countries) "
        "VALUES (gen_random_uuid(), $1, '+46700000099', 'number', true, '{SE}')",
        customer.account_id,
    )
    await pool.execute(
        "INSERT INTO messages.sender_policies (account_id, policy) VALUES ($1, 'listed')", customer.account_id
    )
    assert (await customer.call("POST", "/v1/opt-outs", {"to": "+46700000011"})).status == 201
    for one, fields, field in (
        (other, {"to": SWEDISH, "from": "+46700000099"}, "from"),
        (customer, {"to": SWEDISH, "from": "Bakery"}, "from"),
        (customer, {"to": AFGHAN}, "from"),
        (customer, {"to": "+46700000011"}, "to"),
        (customer, {"to": SWEDISH}, None),
        (other, {"to": "+46700000011"}, None),
    ):
        told = errors_of(await preview(one, **fields))
        refused = await one.call("POST", "/v1/messages", {"body": "Hello"} | fields)
        assert [name for name, _ in told] == ([] if field is None else [field])
        assert (refused.status == 202) == (field is None)
        if field is not None:
            assert told[0][1] == refused.json["detail"], "as sending says it"


async def test_a_text_in_another_script_names_fifty_characters(customer: Customer) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    forcing = (await preview(customer, text))["forcing"]
    assert [one["character"] for one in forcing] == list(text[:50])


@pytest.mark.parametrize(("text", "expected"), [
    ("", ("gsm7", 0, 0, 160, 160)),
    ("x" * 160, ("gsm7", 1, 160, 160, 0)),
    ("x" * 161, ("gsm7", 2, 161, 153, 145)),
    ("x" * 152 + "[" + "x" * 10, ("gsm7", 2, 164, 153, 141)),  # no escape ends a part: one septet is lost
    ("€" * 80, ("gsm7", 1, 160, 160, 0)),
    ("\u0416" * 70, ("ucs2", 1, 70, 70, 0)),
    ("\u0416" * 71, ("ucs2", 2, 71, 67, 63)),
    ("\u0416" * 66 + "\U0001f600" + "\u0416" * 5, ("ucs2", 2, 73, 67, 60)),
    ("\U0001f600" * 10_000, ("ucs2", 304, 20_000, 67, 65)),
])  # fmt: skip
def test_sizes(text: str, expected: tuple[Any, ...]) -> None:
    size = measure(text)
    assert (size.encoding, size.segments, size.units, size.units_per_segment, size.left) == expected


gsm7_and_others = st.text(st.sampled_from("aZ 1@\n[]€\u0416\u2019\U0001f600"), max_size=400)


@given(gsm7_and_others)
def test_a_measure_is_what_sending_counts(text: str) -> None:
    size = measure(text)
    assert (size.encoding, size.segments or 1) == count_segments(text)
    assert bool(count_forcing(text)) == (size.encoding == "ucs2")
    filled = "a" if size.encoding == "gsm7" else "\u0416"
    assert count_segments(text + filled * size.left)[1] == (size.segments or 1), "what is left fits"
    assert measure(text + filled * (size.left + 1)).segments == (size.segments or 1) + 1, "and no more"


def test_every_suggestion_is_gsm7_and_for_what_is_not() -> None:
    for character, plain in _LOOK_ALIKES.items():
        assert count_segments(character)[0] == "ucs2", character
        assert count_segments(plain)[0] == "gsm7", (character, plain)
    assert suggest("\u200b") == "", "an invisible one is left out"
    assert [suggest(letter) for letter in "\u00e1\u00e7\u0416\u0622\U0001f600"] == [None] * 5, "letters stay"


@given(st.text(max_size=200))
def test_what_is_suggested_everywhere_makes_gsm7_of_a_text(text: str) -> None:
    forcing = count_forcing(text)
    if all(suggest(character) is not None for character in forcing):
        plain = "".join(suggest(character) or "" if character in forcing else character for character in text)
        assert count_segments(plain)[0] == "gsm7"
    for one in forcing_characters(text):
        assert one.name
        assert chr(int(one.code_point.removeprefix("U+"), 16)) == one.character
        assert text.count(one.character) == one.count


def test_characters_without_a_name_have_a_label() -> None:
    assert [describe(one) for one in "\x07\ue000\u0378"] == [
        "<control-0007>",
        "<private-use-E000>",
        "<unassigned-0378>",
    ]


async def test_a_number_being_typed_is_no_fault_of_the_request(customer: Customer) -> None:
    for to in ("", "+", "+9", "+9370", "0701234567", "hello", "+937012345678901"):
        previewed = await preview(customer, to=to)
        [(field, message)] = errors_of(previewed)
        assert (field, previewed["country"], previewed["price"]) == ("to", None, None)
        refused = await customer.call("POST", "/v1/messages", {"to": to, "body": "Hello"})
        assert refused.status == 422
        if to:
            assert message == refused.json["errors"][0]["message"], "as sending says it"


async def test_without_a_number_there_is_nothing_to_say_of_one(customer: Customer) -> None:
    for fields in ({}, {"to": None}):
        previewed = await preview(customer, **fields)
        assert (previewed["errors"], previewed["country"], previewed["price"]) == ([], None, None)


async def test_each_fault_is_beside_its_field(customer: Customer) -> None:
    for field, value in (("body", ""), ("body", "x" * 1531), ("from", "much too long a name"), ("from", "")):
        fields = {"to": SWEDISH, "body": "Hello"} | {field: value}
        [(named, message)] = errors_of(await preview(customer, **fields))
        assert named == field
        refused = await customer.call("POST", "/v1/messages", fields)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, field)
        if value:
            assert message == refused.json["errors"][0]["message"]


async def test_all_faults_are_named_at_once(customer: Customer, pool: Pool) -> None:
    await restrict(pool, customer, status="suspended", countries=["AF"])
    previewed = await preview(customer, "", to=SWEDISH, **{"from": "?"})
    assert [field for field, _ in errors_of(previewed)] == ["from", "body", "account", "to"]


async def restrict(
    pool: Pool, customer: Customer, *, status: str = "active", countries: list[str] | None = None,
    daily_cap: int | None = None,
) -> None:  # fmt: skip
    await pool.execute(
        "INSERT INTO messages.accounts (account_id, status, countries, daily_cap, sequence) VALUES ($1, $2, $3, $4, 1)",
        customer.account_id, status, countries, daily_cap,
    )  # fmt: skip


async def test_what_the_account_may_not_is_said(customer: Customer, other: Customer, pool: Pool) -> None:
    await restrict(pool, customer, status="suspended")
    await restrict(pool, other, countries=["AF"])
    for one, field in ((customer, "account"), (other, "to")):
        previewed = await preview(one, to=SWEDISH)
        assert [name for name, _ in errors_of(previewed)] == [field]
        assert (previewed["country"], previewed["price"]["amount"]) == ("SE", "0.0450"), "the rest is there"
        assert (await one.call("POST", "/v1/messages", {"to": SWEDISH, "body": "Hello"})).status == 403


async def test_a_reached_cap_is_said(customer: Customer, other: Customer, pool: Pool) -> None:
    for one in (customer, other):
        await one.send()  # before there was a cap, and counted all the same
        await restrict(pool, one, daily_cap=2)
    async with asyncio.timeout(5):  # a cap is heard of within 0.4 s
        while (await customer.call("POST", "/v1/messages", {"to": SWEDISH, "body": "Hello"})).status == 202:
            await asyncio.sleep(0.05)
    assert [field for field, _ in errors_of(await preview(customer, to=SWEDISH))] == ["account"]
    assert errors_of(await preview(other, to=SWEDISH)) == []


async def test_a_preview_writes_nothing(customer: Customer, pool: Pool) -> None:
    def counts() -> Any:
        return pool.fetchrow(
            "SELECT (SELECT count(*) FROM messages.messages), (SELECT count(*) FROM messages.outbox), "
            "(SELECT count(*) FROM messages.dispatch), (SELECT count(*) FROM messages.daily_counts)"
        )

    await restrict(pool, customer, daily_cap=1)
    before = await counts()
    for _ in range(3):
        await preview(customer, to=SWEDISH)
    assert await counts() == before


async def test_a_body_is_needed_and_bounded(customer: Customer) -> None:
    for body in ({}, {"body": None}, {"body": "x" * 20_001}, {"body": "x", "surprise": 1}):
        assert (await customer.call("POST", "/v1/messages/preview", body)).status == 422
    assert (await preview(customer, "x" * 20_000, to=SWEDISH))["segments"] == 131


async def test_price_is_of_all_segments_and_of_the_countrys_rate(customer: Customer, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO messages.rates (id, currency, country, amount_micros, valid_from) "
        "VALUES ($1, 'USD', 'AF', 26500, now() - interval '1 day'), ($2, 'USD', 'AF', 1, now() + interval '1 hour')",
        new_id(), new_id(),
    )  # fmt: skip
    assert (await preview(customer, "x" * 161, to=AFGHAN))["price"] == {"amount": "0.0530", "currency": "USD"}
    assert (await preview(customer, "x" * 161, to=SWEDISH))["price"] == {"amount": "0.0900", "currency": "USD"}
