"""Settings as the server makes them: who sees what, what is refused in which words, and when the session is renewed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from starlette.requests import Request

from ghasi.client.api import Ghasi
from ghasi.contract import shapes
from ghasi.portal.pages.preferences import LOCALES, locale_options, write_offset, zone_groups
from ghasi.portal.sessions import Portal, get_visit
from ghasi.settings import Settings
from tests.client.fake_api import AT, ID, INVITATION, MEMBER, FakeApi, Given, Seen
from tests.portal.conftest import Browser, Place, Shown, session, token, until

OTHER = "0199f3a0-0000-7000-8000-000000000002"
DETAIL = shapes.AccountDetail(ID, "Acme Ltd", "active", "owner", AT)
HX = {"HX_Request": "true", "Sec_Fetch_Site": "same-origin"}
HOSTILE = "<script>alert(1)</script>"


def refused(status: int, code: str, *errors: tuple[str, str]) -> Given:
    faults = [{"field": field, "message": message} for field, message in errors]
    return Given(status, {"code": code, "title": "Refused", "detail": f"why: {code}", "errors": faults})


def triggers(shown: Shown) -> Any:
    return json.loads(shown.headers["hx-trigger"])


def flash(browser: Browser) -> str:
    return str(json.loads(unquote(browser.cookies["ghasi_flash"]))["text"])


@pytest.fixture
async def owner(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(sub=ID, account_name="Acme Ltd", name="Ann"), ghasi_refresh="grt_0")
    api.answers["refresh_session"] = lambda _: session(token(sub=ID, account_name="Acme Group"), "grt_1")
    return browser


@pytest.fixture
def member(owner: Browser, api: FakeApi) -> Browser:
    api.answers["get_account"] = Given(200, msgspec.structs.replace(DETAIL, role="member"))
    return owner


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/settings", ["/settings/account"]),
        ("/settings/people", ["/settings/people/list", "/settings/people/invitations"]),
        ("/settings/preferences", ["/settings/preferences/form"]),
    ],
)
async def test_each_page_is_there_before_the_api_answers(
    owner: Browser, api: FakeApi, path: str, parts: list[str]
) -> None:
    shown = await owner.get(path)
    assert (shown.status, api.seen) == (200, [])
    assert [found["hx-get"] for _, found in shown.tags if found.get("hx-trigger") == "load"] == parts
    current = [found.get("href") for _, found in shown.tags if found.get("aria-current") == "page"]
    assert current == ["/settings", path]


# ---- the account's name


async def test_owners_are_offered_the_name_and_members_told_why_not(owner: Browser, api: FakeApi) -> None:
    shown = await owner.get("/settings/account", **HX)
    assert shown.input("account-name")["value"] == "Acme Ltd"
    assert ID in shown.text
    api.answers["get_account"] = Given(
        200, msgspec.structs.replace(DETAIL, role="member", status="suspended", name=HOSTILE)
    )
    shown = await owner.get("/settings/account", **HX)
    assert "input" not in [tag for tag, _ in shown.tags]
    assert "Only owners can rename the account. You are a member." in shown.text
    assert "This account is suspended" in shown.text
    assert "<script" not in shown.raw


async def test_a_new_name_is_in_the_sidebar_at_once(owner: Browser, api: FakeApi) -> None:
    shown = await owner.post("/settings/account", {"name": " Acme Group "}, **HX)
    assert (shown.status, shown.headers["hx-redirect"]) == (200, "/settings")
    (asked,) = api.calls("update_account")
    assert asked.body == shapes.AccountInput(name="Acme Group")
    assert [seen.row.operation for seen in api.seen] == ["update_account", "refresh_session"]
    assert owner.cookies["ghasi_refresh"] == "grt_1"
    assert flash(owner) == "The account is renamed."
    assert "Acme Group" in (await owner.get("/settings")).text


async def test_a_name_is_saved_though_the_session_cannot_be_renewed_now(owner: Browser, api: FakeApi) -> None:
    for given in (Given(429, {}, {"Retry-After": "17"}), Given(401, {"code": "invalid_refresh_token"}), Given(503)):
        api.answers["refresh_session"] = given
        shown = await owner.post("/settings/account", {"name": "Acme Group"}, **HX)
        assert shown.headers["hx-redirect"] == "/settings"
        assert "within 15 minutes" in flash(owner)
        assert owner.cookies["ghasi_refresh"] == "grt_0"


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("  ", None, "Enter a name."),
        ("x" * 101, None, "Use a name of at most 100 characters."),
        (HOSTILE, refused(422, "invalid_request", ("name", "must have something to read")), "must have something"),
    ],
)
async def test_a_name_that_is_refused_stays_in_the_field(
    owner: Browser, api: FakeApi, name: str, given: Given | None, text: str
) -> None:
    if given is not None:
        api.answers["update_account"] = given
    shown = await owner.post("/settings/account", {"name": name}, **HX)
    assert shown.status == 422
    field = shown.input("account-name")
    assert (field["value"], field["aria-invalid"]) == (name, "true")
    assert text in shown.text
    assert len(api.calls("update_account")) == (given is not None)
    assert api.calls("refresh_session") == []


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [(refused(403, "owner_required"), 403, "why: owner_required"), (Given(503), 503, "cannot be reached")],
)
async def test_a_name_that_cannot_be_saved_is_left_in_the_form(
    owner: Browser, api: FakeApi, given: Given, status: int, text: str
) -> None:
    api.answers["update_account"] = given
    shown = await owner.post("/settings/account", {"name": "Acme"}, **HX)
    assert (shown.status, shown.raw, shown.headers["hx-reswap"]) == (status, "", "none")
    assert text in triggers(shown)["toast"]["text"]


# ---- renewing the session


async def test_a_renewal_under_way_is_followed_by_one_that_knows_the_change(
    owner: Browser, place: Place, api: FakeApi
) -> None:
    async def late(_: Seen) -> Given:
        await api.released.wait()
        return session(token(sub=ID, account_name="Acme Ltd"), "grt_1")

    api.answers["refresh_session"] = late
    async with Browser(place.url) as other_tab:
        other_tab.set(ghasi_refresh="grt_0")
        opening = asyncio.create_task(other_tab.get("/settings"))
        await until(lambda: len(api.calls("refresh_session")) == 1)
        renaming = asyncio.create_task(owner.post("/settings/account", {"name": "Acme Group"}, **HX))
        await until(lambda: len(api.calls("update_account")) == 1)
        api.answers["refresh_session"] = lambda _: session(token(sub=ID, account_name="Acme Group"), "grt_1")
        api.released.set()
        assert (await opening).status == 200
        assert (await renaming).status == 200
    assert len(api.calls("refresh_session")) == 2
    assert "Acme Group" in (await owner.get("/settings")).text


async def test_calls_beside_each_other_renew_the_session_once(place: Place, api: FakeApi) -> None:
    """The slower one of the two is refused with the old token when the other has renewed it already."""
    old, renewed = token(), asyncio.Event()

    async def account(seen: Seen) -> Given:
        if seen.header("authorization") == f"Bearer {old}":
            await renewed.wait()
            return Given(401, {"exp": "token expired"})
        return Given(200, DETAIL)

    api.answers["get_account"] = account
    api.answers["list_users"] = lambda seen: (
        Given(401, {"exp": "token expired"})
        if seen.header("authorization") == f"Bearer {old}"
        else Given(200, shapes.Page([MEMBER], None))
    )
    api.answers["refresh_session"] = lambda _: session(token(sub="renewed"))
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        portal = Portal.open(Settings(api_internal_url=api_url(place)), http)
        request = Request(
            {
                "type": "http", "method": "GET", "path": "/", "query_string": b"", "client": ("127.0.0.1", 1),
                "headers": [(b"cookie", f"ghasi_access={old}; ghasi_refresh=grt_0".encode())],
                "app": SimpleNamespace(state=SimpleNamespace(portal=portal)), "state": {"set_cookies": []},
            }
        )  # fmt: skip
        visit = await get_visit(request)

        async def list_users(client: Ghasi) -> Any:
            return await client.list_users()

        async def quick() -> Any:
            found = await visit.ask(list_users)
            renewed.set()
            return found

        people, found = await asyncio.gather(quick(), visit.ask(lambda client: client.get_account()))
    assert (people.data, found) == ([MEMBER], DETAIL)
    assert len(api.calls("refresh_session")) == 1


def api_url(place: Place) -> str:
    return str(place.counted.app.state.portal.settings.internal_api_url)  # type: ignore[attr-defined]


# ---- people


async def test_owners_are_offered_what_they_may_do(owner: Browser, api: FakeApi) -> None:
    omid = msgspec.structs.replace(MEMBER, id=OTHER, email="omid@example.com", name=HOSTILE, role="member")
    api.answers["list_users"] = Given(200, shapes.Page([omid, MEMBER], "next one"))
    shown = await owner.get("/settings/people/list", **HX)
    assert {seen.row.operation for seen in api.seen} == {"get_account", "list_users"}
    posts = [found["hx-post"] for _, found in shown.tags if "hx-post" in found]
    assert posts == [
        f"/settings/people/{OTHER}/remove", f"/settings/people/{OTHER}/role", "/settings/people/leave",
        f"/settings/people/{ID}/role",
    ]  # fmt: skip
    roles = [found["value"] for tag, found in shown.tags if tag == "input" and found["name"] == "role"]
    assert roles == ["owner", "member"]
    assert "Ann you" in shown.text
    assert shown.raw.count(">you<") == 1
    assert "/settings/people?cursor=next+one" in [found.get("href") for _, found in shown.tags]
    assert HOSTILE in shown.text
    assert "<script" not in shown.raw


async def test_members_are_offered_to_leave_and_nothing_else(member: Browser) -> None:
    shown = await member.get("/settings/people/list", **HX)
    assert "Only owners can change roles, invite and remove. You are a member." in shown.text
    assert [found["hx-post"] for _, found in shown.tags if "hx-post" in found] == ["/settings/people/leave"]
    shown = await member.get("/settings/people/invitations", **HX)
    assert "omid@example.com" in shown.text
    assert [found for tag, found in shown.tags if tag in {"button", "form"}] == []


async def test_a_later_page_of_the_people_is_linked_and_one_that_is_none_says_so(owner: Browser, api: FakeApi) -> None:
    shown = await owner.get("/settings/people?cursor=a%26b")
    assert "/settings/people/list?cursor=a%26b" in [found.get("hx-get") for _, found in shown.tags]
    shown = await owner.get("/settings/people/list?cursor=a%26b", **HX)
    assert api.calls("list_users")[0].query.cursor == "a&b"
    assert "/settings/people" in [found.get("href") for _, found in shown.tags]
    api.answers["list_users"] = refused(422, "invalid_cursor")
    shown = await owner.get("/settings/people/list?cursor=a%26b", **HX)
    assert (shown.status, "This page of the list does not exist" in shown.text) == (422, True)


async def test_a_role_is_changed_and_both_lists_follow(owner: Browser, api: FakeApi) -> None:
    api.answers["update_user"] = Given(200, msgspec.structs.replace(MEMBER, id=OTHER, email="omid@example.com"))
    shown = await owner.post(f"/settings/people/{OTHER}/role", {"role": "owner"}, **HX)
    assert shown.status == 204
    assert triggers(shown)["toast"]["text"] == "omid@example.com is an owner now."
    assert triggers(shown)["refresh"] == "#people, #invitations"
    await owner.post(f"/settings/people/{OTHER}/role", {"role": "root"}, **HX)
    assert [(seen.path["userId"], seen.body.role) for seen in api.calls("update_user")] == [
        (OTHER, "owner"),
        (OTHER, "member"),
    ]


CHANGES = [
    ("update_user", f"/settings/people/{OTHER}/role"),
    ("remove_user", f"/settings/people/{OTHER}/remove"),
    ("remove_user", "/settings/people/leave"),
    ("revoke_invitation", f"/settings/people/invitations/{OTHER}/revoke"),
]


@pytest.mark.parametrize(("operation", "path"), CHANGES)
async def test_a_change_that_is_refused_says_why(owner: Browser, api: FakeApi, operation: str, path: str) -> None:
    api.answers[operation] = refused(409, "last_owner")
    shown = await owner.post(path, {"role": "member"}, **HX)
    assert (shown.status, "hx-trigger" in shown.headers) == (422, False)
    assert "An account keeps at least one owner. Make somebody else an owner first." in shown.text
    assert any(found.get("role") == "alert" for _, found in shown.tags)
    for given, text in (
        (refused(403, "owner_required"), "Only an owner"),
        (refused(404, "not_found"), "done already"),
    ):
        api.answers[operation] = given
        shown = await owner.post(path, {"role": "member"}, **HX)
        assert shown.status == 204
        assert text in triggers(shown)["toast"]["text"]
        assert triggers(shown)["refresh"] == "#people, #invitations"
    assert "ghasi_access" in owner.cookies


async def test_a_person_is_removed(owner: Browser, api: FakeApi) -> None:
    shown = await owner.post(f"/settings/people/{OTHER}/remove", None, **HX)
    assert (shown.status, "closeDialog" in triggers(shown)) == (204, True)
    assert [seen.path["userId"] for seen in api.calls("remove_user")] == [OTHER]


async def test_who_leaves_is_signed_out(owner: Browser, api: FakeApi) -> None:
    shown = await owner.post("/settings/people/leave", None, **HX)
    assert shown.headers["hx-redirect"] == "/sign-in?notice=left"
    assert [seen.path["userId"] for seen in api.calls("remove_user")] == [ID]
    assert len(api.calls("sign_out")) == 1
    assert {"ghasi_access", "ghasi_refresh"}.isdisjoint(owner.cookies)
    assert "You have left the account" in (await owner.get("/sign-in?notice=left")).text


# ---- invitations


async def test_an_invitation_is_shown_once_as_a_link(owner: Browser, api: FakeApi) -> None:
    shown = await owner.post("/settings/people/invitations", {"email": " omid@example.com ", "role": "owner"}, **HX)
    assert shown.status == 200
    (asked,) = api.calls("create_invitation")
    assert asked.body == shapes.NewInvitation(email="omid@example.com", role="owner")
    assert "http://portal.example.com/join#ghi_abcdef" in shown.text
    assert "Ghasi sends no mail" in shown.text
    assert "valid for 7 days" in shown.text
    assert triggers(shown)["refresh"] == "#invitations"
    assert "ghi_" not in str(shown.headers)
    fresh = await owner.get("/settings/people/invite", **HX)
    assert "ghi_" not in fresh.raw
    assert fresh.input("invite-email").get("value") is None


@pytest.mark.parametrize(
    ("email", "given", "text", "is_beside"),
    [
        ("", None, "Enter an email address", True),
        (HOSTILE, None, "Enter an email address", True),
        (f"{'x' * 250}@example.com", None, "Enter an email address", True),
        ("omid@example.com", refused(409, "already_member"), "This person is in the account already", True),
        ("omid@example.com", refused(422, "invalid_request", ("email", "not so")), "not so", True),
        ("omid@example.com", refused(409, "too_many_invitations"), "as many invitations as an account may", False),
        ("omid@example.com", refused(403, "owner_required"), "Only an owner of the account may do this", False),
    ],
)
async def test_an_invitation_that_is_refused_keeps_what_was_typed(
    owner: Browser, api: FakeApi, email: str, given: Given | None, *, text: str, is_beside: bool
) -> None:
    if given is not None:
        api.answers["create_invitation"] = given
    shown = await owner.post("/settings/people/invitations", {"email": email, "role": "owner"}, **HX)
    assert shown.status == 422
    assert text in shown.text
    field = shown.input("invite-email")
    assert (field.get("value") or "", "aria-invalid" in field) == (email, is_beside)
    assert "checked" in shown.input("role-2")
    assert len(api.calls("create_invitation")) == (given is not None)


async def test_invitations_that_ran_out_say_so(owner: Browser, api: FakeApi) -> None:
    later = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    for expires_at, is_over in ((later, False), (over, True)):
        invitation = msgspec.structs.replace(INVITATION, expires_at=expires_at)
        api.answers["list_invitations"] = Given(200, shapes.Page([invitation], None))
        shown = await owner.get("/settings/people/invitations", **HX)
        assert ("expired" in shown.text, "until" in shown.text) == (is_over, not is_over)
    api.answers["list_invitations"] = Given(200, shapes.Page([], None))
    assert "Nobody is invited" in (await owner.get("/settings/people/invitations", **HX)).text


# ---- preferences


def chosen(shown: Shown) -> list[str | None]:
    return [found["value"] for tag, found in shown.tags if tag == "option" and "selected" in found]


async def test_without_a_choice_it_is_as_the_browser_has_it(owner: Browser) -> None:
    owner.set(ghasi_zone="Asia/Kabul")
    shown = await owner.get("/settings/preferences/form", Accept_Language="de-AT", **HX)
    assert chosen(shown) == ["", ""]
    assert "As the browser: Asia/Kabul" in shown.text
    assert "As the browser: Deutsch (Österreich)" in shown.text
    assert "$ 1.284,60" in shown.text.replace("\N{NO-BREAK SPACE}", " ")


async def test_what_was_chosen_is_selected_though_it_is_not_of_the_list(owner: Browser, api: FakeApi) -> None:
    api.answers["get_preferences"] = Given(200, shapes.Preferences("US/Eastern", "de-LI"))
    shown = await owner.get("/settings/preferences/form", **HX)
    assert chosen(shown) == ["US/Eastern", "de-LI"]
    assert "US/Eastern (UTC-0" in shown.text


async def test_a_choice_is_saved_and_followed_at_once(owner: Browser, api: FakeApi) -> None:
    api.answers["refresh_session"] = lambda _: session(token(sub=ID, locale="de", zoneinfo="Asia/Tokyo"), "grt_1")
    shown = await owner.post("/settings/preferences", {"time_zone": "Asia/Tokyo", "locale": "de"}, **HX)
    assert shown.headers["hx-redirect"] == "/settings/preferences"
    assert api.calls("update_preferences")[0].body == shapes.PreferencesInput(time_zone="Asia/Tokyo", locale="de")
    # 2026-11-22T18:00Z
    assert "23.11.2026, 03:00" in (await owner.get("/settings/account", **HX)).text
    await owner.post("/settings/preferences", {"time_zone": "", "locale": ""}, **HX)
    assert api.calls("update_preferences")[1].body == shapes.PreferencesInput(time_zone=None, locale=None)


async def test_a_choice_that_is_refused_is_said_beside_its_field(owner: Browser, api: FakeApi) -> None:
    api.answers["update_preferences"] = refused(
        422, "invalid_request", ("time_zone", "must be an IANA time zone"), ("locale", "must be a tag")
    )
    shown = await owner.post("/settings/preferences", {"time_zone": HOSTILE, "locale": "de"}, **HX)
    assert shown.status == 422
    for name, text in (("time_zone", "must be an IANA time zone"), ("locale", "must be a tag")):
        field = shown.input(name)
        assert (field["aria-invalid"], field["aria-describedby"]) == ("true", f"{name}-error")
        assert text in shown.text
    assert "<script" not in shown.raw


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("time_zone=Asia/Kabul&locale=en-US", "$1,284.60"),
        ("time_zone=Asia/Kabul&locale=fr", "1\N{NARROW NO-BREAK SPACE}284,60\N{NO-BREAK SPACE}$US"),
        ("time_zone=&locale=", "$1,284.60"),
        ("time_zone=../../etc/passwd&locale=%3Cscript%3E", "$1,284.60"),
        ("", "$1,284.60"),
    ],
)
async def test_an_example_shows_a_choice_without_asking_the_api(
    owner: Browser, api: FakeApi, query: str, text: str
) -> None:
    async with owner.http.get(f"{owner.url}/settings/preferences/example?{query}") as response:
        assert response.status == 200
        assert text in await response.text()
    assert api.seen == []


def test_time_zones_stand_by_region_with_their_offsets() -> None:
    groups = dict(zone_groups())
    assert next(iter(groups)) == "World"
    assert ("Asia/Kabul", "Kabul (UTC+04:30)") in groups["Asia"]
    assert "America/Argentina/Buenos_Aires" in dict(groups["America"])
    assert dict(groups["America"])["America/Argentina/Buenos_Aires"] == "Argentina, Buenos Aires (UTC-03:00)"
    assert "Other" not in groups
    assert "Other" not in dict(zone_groups("Asia/Kabul"))
    assert "Other" not in dict(zone_groups("Mars/Olympus"))
    assert [name for name, _ in dict(zone_groups("Etc/GMT+3"))["Other"]] == ["Etc/GMT+3"]
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    assert write_offset(ZoneInfo("Europe/Berlin"), winter) == "UTC+01:00"
    assert write_offset(ZoneInfo("Europe/Berlin"), summer) == "UTC+02:00"
    assert write_offset(ZoneInfo("America/St_Johns"), winter) == "UTC-03:30"


def test_locales_are_named_in_their_own_language() -> None:
    names = dict(locale_options())
    assert list(names) == list(LOCALES)
    assert names["fa-AF"] == "دری (Dari)"
    assert names["de"] == "Deutsch (German)"
    assert names["en-GB"] == "British English"
    assert names["pt-BR"].startswith("Português (Brasil)")
    assert "de-LI" in dict(locale_options("de-LI"))
    assert locale_options("x" * 40) == locale_options()
