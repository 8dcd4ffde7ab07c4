"""API keys: what the list says, what the form asks for, and that a secret is shown once and nowhere else."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from structlog.testing import capture_logs

from ghasi.contract import shapes
from ghasi.portal.pages.api_keys import ALREADY_CREATED, SENT_BEFORE, sample_request
from tests.client.fake_api import ID, KEY, FakeApi, Given
from tests.portal.conftest import Browser, Shown, token
from tests.portal.test_sessions import LIMITED

KABUL = ZoneInfo("Asia/Kabul")
SECRET = "ghk_abcdefghijklmnopqrstuvwxyz0123456789AB"
HOSTILE = "<script>alert(1)</script>"
FORM_KEY = "5f0c3c6e-8c1b-4a53-9d0a-5a9f3e6a1a11"
SCRIPT = {"HX_Request": "true", "Sec_Fetch_Site": "same-origin"}


@pytest.fixture
def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia%2FKabul")
    return browser


def listed(*keys: shapes.ApiKey, next_cursor: str | None = None) -> Given:
    return Given(200, shapes.Page(list(keys), next_cursor))


def key(**changes: Any) -> shapes.ApiKey:
    return msgspec.structs.replace(KEY, **changes)


def created(**changes: Any) -> Given:
    return Given(201, shapes.CreatedApiKey(**msgspec.structs.asdict(key(**changes)), key=SECRET))


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def form(*scopes: str, **fields: str) -> Any:
    given = {"idempotency_key": FORM_KEY, "name": "ci", "expiry": "never", "day": ""} | fields
    return [*given.items(), *(("scopes", scope) for scope in scopes or shapes.SCOPES)]


def trigger(shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown.headers["hx-trigger"])
    return found


def hidden_key(shown: Shown) -> str | None:
    return next(one["value"] for _, one in shown.tags if one.get("name") == "idempotency_key")


async def test_the_page_asks_the_api_nothing(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/api-keys?cursor=abc&trail=x.y")
    assert (shown.status, api.seen) == (200, [])
    parts = [one["hx-get"] for _, one in shown.tags if "hx-get" in one]
    assert parts == ["/api-keys/list?cursor=abc&trail=x.y"]
    ticked = [one["value"] for _, one in shown.tags if one.get("name") == "scopes" and "checked" in one]
    assert ticked == list(shapes.SCOPES)
    assert hidden_key(shown) != hidden_key(await visitor.get("/api-keys/new"))
    assert "Asia/Kabul" in shown.text


async def test_the_list_says_what_a_key_is(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_api_keys"] = listed(
        key(name=HOSTILE, scopes=list(shapes.SCOPES)),
        key(expires_at=in_days(3.1), last_used_at=in_days(-2)),
        key(expires_at=in_days(-1)),
        key(expires_at="2099-12-24T19:29:59.000Z"),
    )
    shown = await visitor.get("/api-keys/list", **SCRIPT)
    assert HOSTILE in shown.text
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    assert "ghk_abcd…" in shown.text
    assert "all scopes" in shown.text
    assert "messages:send" in shown.text
    for words in ("never", "in 3 days", "2 days ago", "expired", "Dec 24, 2099"):
        assert words in shown.text
    assert f"{HOSTILE} (ghk_abcd…) stops working at once." in shown.text
    assert f"/api-keys/{ID}/revoke" in [one.get("hx-post") for _, one in shown.tags]


async def test_pages_of_the_list_lead_to_each_other(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_api_keys"] = listed(KEY, next_cursor="third")
    shown = await visitor.get("/api-keys/list?cursor=second", **SCRIPT)
    links = [one["href"] for tag, one in shown.tags if tag == "a"]
    assert links == ["/api-keys", "/api-keys?cursor=third&trail=second"]
    shown = await visitor.get("/api-keys/list?cursor=third&trail=second", **SCRIPT)
    assert next(one["href"] for tag, one in shown.tags if tag == "a") == "/api-keys?cursor=second"
    assert [seen.query.cursor for seen in api.calls("list_api_keys")] == ["second", "third"]


async def test_lists_without_anything(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_api_keys"] = listed()
    assert "No API keys yet" in (await visitor.get("/api-keys/list", **SCRIPT)).text
    assert "No older keys" in (await visitor.get("/api-keys/list?cursor=x", **SCRIPT)).text
    problem = {"code": "invalid_cursor", "detail": "Pass `next_cursor`."}
    api.answers["list_api_keys"] = Given(422, problem)
    shown = await visitor.get("/api-keys/list?cursor=x", **SCRIPT)
    assert (shown.status, "This page of the list does not exist." in shown.text) == (422, True)


@pytest.mark.parametrize(
    ("expiry", "days"), [("never", None), ("30", 30), ("90", 90), ("365", 365), ("custom", 10)], ids=str
)
async def test_what_is_asked_for(visitor: Browser, api: FakeApi, expiry: str, days: int | None) -> None:
    api.answers["create_api_key"] = created()
    today = datetime.now(KABUL).date()
    day = (today + timedelta(days=days or 0)).isoformat()
    shown = await visitor.post(
        "/api-keys", form("messages:read", "billing:read", expiry=expiry, day=day, name=" ci "), **SCRIPT
    )
    assert shown.status == 200
    (call,) = api.calls("create_api_key")
    assert (call.body.name, call.body.scopes) == ("ci", ["messages:read", "billing:read"])
    assert call.header("idempotency-key") == FORM_KEY
    if days is None:
        assert call.body.expires_at is None
    else:
        local = call.body.expires_at.astimezone(KABUL)
        assert (local.date(), local.strftime("%H:%M:%S")) in {
            (today + timedelta(days=days), "23:59:59"),
            (datetime.now(KABUL).date() + timedelta(days=days), "23:59:59"),
        }


async def test_a_form_sent_again_asks_for_the_very_same_key(visitor: Browser, api: FakeApi) -> None:
    for _ in range(2):
        await visitor.post("/api-keys", form(expiry="90"), **SCRIPT)
    first, second = (call.body for call in api.calls("create_api_key"))
    assert first == second


async def test_the_secret_is_in_its_answer_alone(visitor: Browser, api: FakeApi) -> None:
    api.answers["create_api_key"] = created(name=HOSTILE)
    with capture_logs() as logs:
        shown = await visitor.post("/api-keys", form(), **SCRIPT)
    assert SECRET in shown.text
    assert HOSTILE in shown.text
    assert any("data-once" in one for _, one in shown.tags)
    assert not [one for _, one in shown.tags if SECRET in str([one.get(name) for name in ("href", "hx-get", "id")])]
    assert SECRET not in str(shown.headers) + str(logs) + str(visitor.cookies)
    assert shown.headers["cache-control"] == "no-store"
    assert trigger(shown) == {"refresh": "#api-keys"}
    assert 'Bearer $GHASI_API_KEY" \\' in shown.raw.replace("&#34;", '"')
    assert "https://api.example.com/v1/messages" in shown.text
    assert SECRET not in (await visitor.get("/api-keys")).raw
    assert SECRET not in (await visitor.get("/api-keys/list", **SCRIPT)).raw


async def test_without_the_pages_script(visitor: Browser, api: FakeApi) -> None:
    api.answers["create_api_key"] = created()
    shown = await visitor.post("/api-keys", form())
    assert (shown.status, "<html" in shown.raw, SECRET in shown.text) == (200, True, True)
    shown = await visitor.post("/api-keys", form(name=""))
    assert (shown.status, "Give the key a name." in shown.text) == (422, True)
    assert "data-dialog-open" in next(one for tag, one in shown.tags if one.get("id") == "create-key")


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"name": "  "}, "name", "Give the key a name."),
        ({"expiry": "custom"}, "day", "Choose the last day on which the key works."),
        ({"expiry": "custom", "day": "2026-02-31"}, "day", "Choose the last day on which the key works."),
        ({"expiry": "custom", "day": "9999-12-31"}, "day", "Choose the last day on which the key works."),
        ({"expiry": "custom", "day": "2020-01-01"}, "day", "This day is over."),
        ({"expiry": HOSTILE}, "day", "Choose the last day on which the key works."),
    ],
    ids=str,
)
async def test_what_is_wrong_stands_beside_its_field(
    visitor: Browser, api: FakeApi, *, fields: dict[str, str], field: str, text: str
) -> None:
    shown = await visitor.post("/api-keys", form("messages:read", **fields), **SCRIPT)
    assert (shown.status, api.seen) == (422, [])
    beside = shown.input(field)
    assert beside["aria-invalid"] == "true"
    assert str(beside["aria-describedby"]).startswith(f"{field}-error")
    assert text in shown.text
    assert hidden_key(shown) == FORM_KEY
    ticked = [one["value"] for _, one in shown.tags if one.get("name") == "scopes" and "checked" in one]
    assert ticked == ["messages:read"]


async def test_a_key_without_scopes_is_not_one_with_all(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post("/api-keys", form("everything"), **SCRIPT)
    assert (shown.status, "Choose at least one." in shown.text, api.seen) == (422, True, [])


@pytest.mark.parametrize(
    ("problem", "text", "is_over"),
    [
        ({"code": "already_created", "detail": f"Created {ID}."}, ALREADY_CREATED, True),
        ({"code": "idempotency_key_reused", "detail": "x"}, SENT_BEFORE, True),
        ({"code": "too_many_api_keys", "detail": "An account may have 100 API keys."}, "Revoke keys that", False),
    ],
    ids=lambda given: given["code"] if isinstance(given, dict) else "",
)
async def test_conflicts_are_explained(
    visitor: Browser, api: FakeApi, *, problem: dict[str, str], text: str, is_over: bool
) -> None:
    api.answers["create_api_key"] = Given(409, problem)
    shown = await visitor.post("/api-keys", form(name="ci <b>"), **SCRIPT)
    assert (shown.status, text in shown.text) == (422, True)
    assert shown.input("name")["value"] == "ci <b>"
    assert (hidden_key(shown) != FORM_KEY) is is_over
    assert ("hx-trigger" in shown.headers) is is_over


async def test_the_apis_own_objections(visitor: Browser, api: FakeApi) -> None:
    errors = [{"field": "expires_at", "message": "must be in the future"}, {"field": "name", "message": "is odd"}]
    api.answers["create_api_key"] = Given(422, {"code": "invalid_request", "detail": "x", "errors": errors})
    shown = await visitor.post("/api-keys", form(), **SCRIPT)
    assert "Must be in the future." in shown.text
    assert shown.input("name")["aria-invalid"] == "true"


@pytest.mark.parametrize("given", [LIMITED, Given(504, b"slow"), Given(500, {"code": "internal_error"})], ids=str)
async def test_a_form_that_could_not_be_sent_stays(visitor: Browser, api: FakeApi, given: Given) -> None:
    api.answers["create_api_key"] = given
    shown = await visitor.post("/api-keys", form(), **SCRIPT)
    assert (shown.raw, shown.headers["hx-reswap"]) == ("", "none")
    assert trigger(shown)["toast"]["retry"] is (given.status != 429)


async def test_revoking(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.post(f"/api-keys/{ID}/revoke", **SCRIPT)
    assert (shown.status, api.seen[0].path) == (204, {"keyId": ID})
    assert trigger(shown) == {
        "toast": {"text": "API key revoked", "tone": "good", "retry": False},
        "refresh": "#api-keys",
        "closeDialog": {},
    }
    api.answers["revoke_api_key"] = Given(404, {"code": "not_found", "detail": "x"})
    shown = await visitor.post(f"/api-keys/{ID}/revoke", **SCRIPT)
    assert trigger(shown)["toast"]["text"] == "This key does not exist any more."
    assert trigger(shown)["refresh"] == "#api-keys"


@pytest.mark.parametrize("odd", ["x", "..%2F..%2Fmessages", ID.upper(), "%00", f"%7B{ID}%7D"])
async def test_ids_that_are_none_never_reach_the_api(visitor: Browser, api: FakeApi, odd: str) -> None:
    shown = await visitor.post(f"/api-keys/{odd}/revoke", **SCRIPT)
    assert (shown.status, api.seen, api.unrouted) == (404, [], [])


async def test_forms_of_other_sites_make_and_revoke_nothing(visitor: Browser, api: FakeApi) -> None:
    for path in ("/api-keys", f"/api-keys/{ID}/revoke"):
        assert (await visitor.post(path, form(), Sec_Fetch_Site="cross-site")).status == 403
    assert api.seen == []


@pytest.mark.parametrize("scope", shapes.SCOPES)
def test_the_first_request_is_one_that_the_key_may_make(scope: shapes.Scope) -> None:
    text = sample_request("https://api.example.com", [scope])
    assert text.startswith("curl https://api.example.com/v1/")
    assert ("-d '{" in text) is (scope in {"messages:send", "webhooks:write"})
