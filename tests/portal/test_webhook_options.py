"""What an endpoint may have beside its address and events: typed, read back, refused beside its field, and shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi.contract import shapes
from ghasi.portal.pages.webhook_options import FILTERS, STATUSES, find_faults, options_of
from tests.client.fake_api import FakeApi, Given
from tests.portal.conftest import Browser
from tests.portal.test_webhooks import HOOK_PATH, HOSTILE, SCRIPT, form, hook, named, refused, visitor

__all__ = ["visitor"]
FILTER = shapes.EventFilter(country=["AF", "TJ"], status=["failed"], reference=["order-*", "a, b"], sender=['"Bakery"'])
FIFO = shapes.Fifo(by="to", hold_s=600, after_hold="drop")
METADATA = {"team": "orders", "odd": HOSTILE}


async def test_what_is_typed_is_asked_for(visitor: Browser, api: FakeApi) -> None:
    typed = {
        "countries": " af, TJ ,af,", "statuses": "Failed", "references": 'order-*, "a, b"', "senders": '"""Bakery"""',
        "rate": "20", "order": "to", "hold": "600", "after_hold": "drop",
    }  # fmt: skip
    rows = [("team", "orders"), ("", ""), ("odd", HOSTILE)]
    pairs = [pair for name, value in rows for pair in (("metadata_name", name), ("metadata_value", value))]
    for path, operation in (("/webhooks/new", "create_webhook"), (f"{HOOK_PATH}/edit", "update_webhook")):
        await visitor.post(path, [*form(**typed), *pairs], **SCRIPT)
        (call,) = api.calls(operation)
        assert (call.body.filter, call.body.rate_per_s, call.body.fifo) == (FILTER, 20, FIFO)
        assert call.body.metadata == METADATA


async def test_what_is_emptied_is_taken_away(visitor: Browser, api: FakeApi) -> None:
    empty = dict.fromkeys((*FILTERS, "rate", "order"), " ")
    await visitor.post(f"{HOOK_PATH}/edit", [*form(hold="nonsense", **empty), ("metadata_name", "")], **SCRIPT)
    (call,) = api.calls("update_webhook")
    assert (call.body.filter, call.body.rate_per_s, call.body.fifo, call.body.metadata) == (None, None, None, {})


async def test_the_form_holds_what_there_is(visitor: Browser, api: FakeApi) -> None:
    endpoint = hook(filter=FILTER, fifo=FIFO, rate_per_s=20, metadata=METADATA)
    api.answers["get_webhook"] = Given(200, endpoint)
    shown = await visitor.get(f"{HOOK_PATH}/edit")
    values = {name: shown.input(name)["value"] for name in (*FILTERS, "rate", "hold")}
    assert values == {
        "countries": "AF, TJ", "statuses": "failed", "references": 'order-*, "a, b"', "senders": '"""Bakery"""',
        "rate": "20", "hold": "600",
    }  # fmt: skip
    assert [one["value"] for tag, one in shown.tags if tag == "option" and "selected" in one] == ["to", "drop"]
    notes = [one.get("value") for one in named(shown, "metadata_value")]
    assert notes[:3] == ["orders", HOSTILE, None]
    # sent as it stands, it changes nothing
    typed = [(str(one["name"]), str(one.get("value") or "")) for tag, one in shown.tags if tag == "input"]
    kept = [pair for pair in typed if pair[0] in {*values, "metadata_name", "metadata_value"}]
    await visitor.post(f"{HOOK_PATH}/edit", [*form(order="to", after_hold="drop"), *kept], **SCRIPT)
    body = api.calls("update_webhook")[0].body
    assert (body.filter, body.fifo, body.rate_per_s, body.metadata) == (FILTER, FIFO, 20, METADATA)


VALUES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(st.lists(VALUES, min_size=1, max_size=5, unique=True), st.lists(st.sampled_from(STATUSES), unique=True))
def test_lists_are_read_as_they_were_written(values: list[str], statuses: list[Any]) -> None:
    wanted = shapes.EventFilter(reference=values, sender=values, status=statuses or None)
    options = options_of(hook(filter=wanted))
    assert options.inputs["filter"] == wanted
    assert find_faults(options) == {}


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"countries": "AF, Germany"}, "GERMANY is no country code such as AF."),
        ({"countries": "AF, ÖÖ"}, "ÖÖ is no country code such as AF."),
        ({"statuses": "delivered, lost"}, "lost is no status. There are scheduled,"),
        ({"references": "x" * 256}, "A value has at most 255 characters."),
        ({"senders": ",".join(str(number) for number in range(101))}, "At most 100."),
        ({"rate": "0"}, "Enter a whole number from 1 to 1,000, or nothing for no limit."),
        ({"rate": "1001"}, "Enter a whole number from 1 to 1,000"),
        ({"rate": "٢"}, "Enter a whole number from 1 to 1,000"),
        ({"order": "to", "hold": "86401"}, "Enter a whole number of seconds from 0 to 86,400."),
        ({"order": "to", "hold": ""}, "Enter a whole number of seconds"),
        ({"order": HOSTILE}, "Choose one of these."),
        ({"order": "to", "after_hold": HOSTILE}, "Choose one of these."),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_what_the_api_need_not_be_asked(
    visitor: Browser, api: FakeApi, *, typed: dict[str, str], text: str
) -> None:
    shown = await visitor.post("/webhooks/new", form(**typed), **SCRIPT)
    assert (shown.status, text in shown.text, api.seen) == (422, True, [])
    name, value = next((one for one in typed.items() if one[0] != "order"), ("order", ""))
    if name in {"order", "after_hold"}:
        assert next(one for tag, one in shown.tags if tag == "select" and one["name"] == name)["aria-invalid"] == "true"
    else:
        assert (shown.input(name)["aria-invalid"], shown.input(name).get("value") or "") == ("true", value)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([("", "lonely")], "A value lacks its name."),
        ([("a", "1"), ("a", "2")], "A name is there twice."),
        ([(f"n{number}", "") for number in range(51)], "At most 50."),
        ([("n" * 41, "")], "A name has at most 40 characters, a value 500."),
        ([("n", "v" * 501)], "A name has at most 40 characters, a value 500."),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_metadata_that_is_refused_is_still_there(
    visitor: Browser, api: FakeApi, *, rows: list[tuple[str, str]], text: str
) -> None:
    pairs = [pair for name, value in rows for pair in (("metadata_name", name), ("metadata_value", value))]
    shown = await visitor.post("/webhooks/new", [*form(), *pairs], **SCRIPT)
    assert (shown.status, text in shown.text, api.seen) == (422, True, [])
    held = [(one.get("value") or "", two.get("value") or "") for one, two in zip(
        named(shown, "metadata_name"), named(shown, "metadata_value"), strict=True
    )]  # fmt: skip
    assert held[: len(rows)] == rows


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("filter.country[]", "countries"), ("filter.status", "statuses"), ("filter.reference[]", "references"),
        ("filter.sender[]", "senders"), ("rate_per_s", "rate"), ("fifo.hold_s", "hold"),
    ],
)  # fmt: skip
async def test_objections_of_the_api_stand_beside_their_field(
    visitor: Browser, api: FakeApi, *, field: str, name: str
) -> None:
    api.answers["update_webhook"] = refused("invalid_request", (field, "is odd"))
    shown = await visitor.post(f"{HOOK_PATH}/edit", form(order="to"), **SCRIPT)
    assert (shown.status, shown.text.count("Is odd.")) == (422, 1)
    assert shown.input(name)["aria-invalid"] == "true"


async def test_the_page_of_an_endpoint_shows_what_it_has_and_no_header_value(visitor: Browser, api: FakeApi) -> None:
    endpoint = hook(filter=FILTER, fifo=FIFO, rate_per_s=20, metadata=METADATA, header_names=["X-Token", HOSTILE])
    api.answers["get_webhook"] = Given(200, endpoint)
    shown = await visitor.get(f"{HOOK_PATH}/endpoint", **SCRIPT)
    text = " ".join(shown.text.split())
    for words in (
        "CountryAFTJ", "Statusfailed", "Referenceorder-*a, b", "In order for each recipient",
        "holds the others for 600 s and is then given up.", "At most 20 attempts a second",
        "X-Token: ••••", f"{HOSTILE}: ••••", "team: orders", f"odd: {HOSTILE}",
    ):  # fmt: skip
        assert words in text, words
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    api.answers["get_webhook"] = Given(200, hook())
    plain = (await visitor.get(f"{HOOK_PATH}/endpoint", **SCRIPT)).text
    assert not [words for words in ("In order for", "a second", "Metadata", "••••") if words in plain]
