"""The form that replays the events of a time: what it asks for, what is wrong with it, and how it goes on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ghasi.contract import shapes
from tests.client.fake_api import FakeApi, Given
from tests.portal.conftest import Browser
from tests.portal.test_webhooks import HOOK_PATH, HOSTILE, KABUL, SCRIPT, named, refused, trigger, visitor

__all__ = ["visitor"]
PATH = f"{HOOK_PATH}/replay"


def replayed(count: int, cursor: str | None = None) -> Given:
    return Given(202, shapes.Replayed(count, cursor))


async def test_what_is_asked_for(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post(PATH, {"since": "24", "kind": "all", "types": "message.sent"}, **SCRIPT)
    assert trigger(shown)["toast"]["text"] == "3 deliveries are sent"
    assert trigger(shown) | {"refresh": "#deliveries", "closeDialog": {}} == trigger(shown)
    asked = api.calls("replay_events")[0].body
    assert abs(asked.since - (datetime.now(UTC) - timedelta(days=1))) < timedelta(seconds=30)
    assert (asked.until, asked.event_types, asked.cursor) == (None, None, None)
    typed = [
        ("since", "custom"), ("at", "2026-03-01T08:15"), ("until", "2026-03-02T00:00"), ("kind", "chosen"),
        ("types", "message.sent"), ("types", "message.failed"),
    ]  # fmt: skip
    await visitor.post(PATH, typed, **SCRIPT)
    assert api.calls("replay_events")[1].body == shapes.Replay(
        since=datetime(2026, 3, 1, 8, 15, tzinfo=KABUL).astimezone(UTC),
        until=datetime(2026, 3, 2, tzinfo=KABUL).astimezone(UTC),
        event_types=["message.sent", "message.failed"],
    )
    for count, words in ((0, "There was nothing to send"), (1, "1 delivery is sent")):
        api.answers["replay_events"] = replayed(count)
        assert trigger(await visitor.post(PATH, typed, **SCRIPT))["toast"]["text"] == words


async def test_more_events_than_one_request_looks_at(visitor: Browser, api: FakeApi) -> None:
    typed = {"since": "custom", "at": "2026-03-01T08:15", "until": "", "kind": "chosen", "types": "message.sent"}
    api.answers["replay_events"] = replayed(9000, "more")
    shown = await visitor.post(PATH, typed, **SCRIPT)
    assert "9,000 deliveries are sent. There are more events in this time." in shown.text
    assert "closeDialog" not in trigger(shown)
    assert "Go on" in shown.text
    held = {name: named(shown, name)[0]["value"] for name in ("cursor", "cursor_of")}
    assert shown.input("replay-at")["value"] == typed["at"]
    assert [one["value"] for one in named(shown, "types") if "checked" in one] == ["message.sent"]
    api.answers["replay_events"] = replayed(3)
    over = await visitor.post(PATH, typed | held, **SCRIPT)
    assert api.calls("replay_events")[1].body.cursor == "more"
    assert (trigger(over)["closeDialog"], named(over, "cursor")) == ({}, [])
    # another range begins at its beginning
    await visitor.post(PATH, typed | held | {"at": "2026-02-01T08:15"}, **SCRIPT)
    assert api.calls("replay_events")[2].body.cursor is None


@pytest.mark.parametrize(
    ("typed", "field", "text"),
    [
        ({"since": "custom", "at": ""}, "replay-at", "Choose a day and a time."),
        ({"since": "custom", "at": HOSTILE}, "replay-at", "Choose a day and a time."),
        ({"since": "custom", "at": "2999-01-01T00:00"}, "replay-at", "This is still to come."),
        ({"since": "custom", "at": "2026-03-01T08:15", "until": HOSTILE}, "replay-until", "Choose a day and a time."),
        (
            {"since": "custom", "at": "2026-03-01T08:15", "until": "2026-03-01T08:15"}, "replay-until",
            "This is not later than the beginning.",
        ),
        ({"since": "24", "kind": "chosen"}, None, "Choose at least one type."),
    ],
)  # fmt: skip
async def test_a_range_that_is_none(
    visitor: Browser, api: FakeApi, *, typed: dict[str, str], field: str | None, text: str
) -> None:
    shown = await visitor.post(PATH, typed, **SCRIPT)
    assert (shown.status, text in shown.text, api.seen) == (422, True, [])
    if field:
        assert shown.input(field)["aria-invalid"] == "true"
    for name in ("at", "until"):
        assert (shown.input(f"replay-{name}").get("value") or "") == typed.get(name, "")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (refused("invalid_request", ("until", "must be later than since")), "Must be later than since."),
        (refused("invalid_request", ("event_types[0]", "must be one of these")), "Must be one of these."),
        (refused("invalid_cursor"), "x"),
        (Given(409, {"code": "webhook_disabled", "detail": "It is disabled."}), "It is disabled."),
    ],
)
async def test_objections_of_the_api(visitor: Browser, api: FakeApi, answer: Given, text: Any) -> None:
    api.answers["replay_events"] = answer
    shown = await visitor.post(PATH, {"since": "1", "kind": "chosen", "types": "message.sent"}, **SCRIPT)
    assert (shown.status, text in shown.text) == (422, True)
    assert [one["value"] for one in named(shown, "types") if "checked" in one] == ["message.sent"]
