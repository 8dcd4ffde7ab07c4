"""The pages of senders and opt-outs as a browser gets them, before an API that answers as a test says."""

import json
from typing import Any

import msgspec
import pytest

from ghasi.contract import shapes
from ghasi.portal.failures import RATE_LIMITED
from tests.client.fake_api import AT, ID, OPT_OUT, SENDER, FakeApi, Given
from tests.portal.conftest import Browser, Shown, token
from tests.portal.test_sessions import LIMITED

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
GONE = Given(404, {"code": "not_found", "detail": "no"})
EMPTY: Given = Given(200, shapes.Page[Any]([], None))


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token(), ghasi_zone="Asia/Kabul")
    return browser


def events(shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown.headers["hx-trigger"])
    return found


def sender(**changes: Any) -> shapes.Sender:
    return msgspec.structs.replace(SENDER, **changes)


def changes_of(shown: Shown) -> dict[str, dict[str, str]]:
    """What each button of the list would send, by its id."""
    return {
        str(attributes["id"]): json.loads(str(attributes["hx-vals"]))
        for _, attributes in shown.tags
        if "hx-vals" in attributes
    }


# ---- senders


async def test_senders_are_listed_with_what_they_are_for(visitor: Browser, api: FakeApi) -> None:
    rows = [
        sender(),
        sender(id=ID[:-1] + "2", address="4321", kind="short_code", countries=None, default=False, pool=True),
        sender(id=ID[:-1] + "3", address=HOSTILE, kind="alphanumeric", countries=list("AB"), default=False),
    ]
    api.answers["list_senders"] = Given(200, shapes.Page(rows, "c1"))
    page = await visitor.get("/senders")
    assert (page.status, api.seen) == (200, [])
    assert page.input("senders")["hx-get"] == "/senders/list"
    shown = await visitor.get("/senders/list", HX_Request="true")
    for text in (
        "+93799000001",
        "Number",
        "Afghanistan",
        "default",
        "4321",
        "Short code",
        "All",
        "pool",
        HOSTILE,
        "Name",
    ):
        assert text in shown.text
    assert not {"script"} & {tag for tag, _ in shown.tags}
    assert "/senders?cursor=c1" in [attributes.get("href") for _, attributes in shown.tags]
    # one thing is changed, the other stays; a name cannot be in the pool
    assert changes_of(shown) == {
        f"default-{ID}": {"about": "default", "default": "", "pool": ""},
        f"pool-{ID}": {"about": "pool", "default": "on", "pool": "on"},
        f"default-{ID[:-1]}2": {"about": "default", "default": "on", "pool": "on"},
        f"pool-{ID[:-1]}2": {"about": "pool", "default": "", "pool": ""},
        f"default-{ID[:-1]}3": {"about": "default", "default": "on", "pool": ""},
    }


async def test_without_senders_the_page_says_who_gives_them_out(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_senders"] = EMPTY
    shown = await visitor.get("/senders/list", HX_Request="true")
    assert "given out by the operator" in shown.text


async def test_a_sender_becomes_the_default_and_joins_the_pool(visitor: Browser, api: FakeApi) -> None:
    for form, body, said in (
        ({"about": "default", "default": "on", "pool": ""}, (True, False), "Sender is the default now"),
        ({"about": "pool", "default": "on", "pool": "on"}, (True, True), "Sender is in the pool now"),
        ({"about": "default", "default": "", "pool": "on"}, (False, True), "Sender is not the default any more"),
        ({"about": "pool", "default": "", "pool": ""}, (False, False), "Sender is not in the pool any more"),
    ):
        done = await visitor.post(f"/senders/{ID}", form, HX_Request="true")
        call = api.calls("update_sender")[-1]
        assert (call.path["senderId"], call.body.default, call.body.pool) == (ID, *body)
        assert (done.status, events(done)["toast"]["text"], events(done)["refresh"]) == (204, said, "#senders")


async def test_a_sender_that_cannot_be_changed_says_why(visitor: Browser, api: FakeApi) -> None:
    for given, text in (
        (Given(409, {"code": "not_a_pool_sender", "detail": "no"}), "A name cannot be in the pool."),
        (GONE, "does not exist any more"),
    ):
        api.answers["update_sender"] = given
        refused = await visitor.post(f"/senders/{ID}", {"about": "pool", "pool": "on"}, HX_Request="true")
        assert (refused.status, text in events(refused)["toast"]["text"]) == (204, True)
        assert events(refused)["refresh"] == "#senders"
    assert (await visitor.post("/senders/..%2f..", {}, HX_Request="true")).status == 404
    assert (await visitor.post(f"/senders/{ID}", {}, Sec_Fetch_Site="cross-site")).status == 403


# ---- opt-outs


async def test_opt_outs_are_listed_and_filtered_by_number(visitor: Browser, api: FakeApi) -> None:
    rows = [OPT_OUT, shapes.OptOut(ID[:-1] + "2", "+93701234568", None, "api", AT)]
    api.answers["list_opt_outs"] = Given(200, shapes.Page(rows, "c1"))
    page = await visitor.get("/senders/opt-outs?to=0093+70+123")
    assert (page.status, api.seen) == (200, [])
    assert page.input("filter-to")["value"] == "0093 70 123"
    assert page.input("opt-outs")["hx-get"] == "/senders/opt-outs/list?to=0093+70+123"
    shown = await visitor.get("/senders/opt-outs/list?to=0093+70+123", HX_Request="true")
    assert api.calls("list_opt_outs")[0].query.to == "+9370123"
    for text in ("+93701234567", "+93799000001", "Answered STOP", "+93701234568", "All", "Added by you"):
        assert text in shown.text
    hrefs = [attributes.get("href") for _, attributes in shown.tags]
    assert "/senders/opt-outs?to=0093+70+123&cursor=c1" in hrefs
    assert (await visitor.get("/senders/opt-outs?to=")).headers["location"] == "/senders/opt-outs"


async def test_empty_lists_of_opt_outs_say_why(visitor: Browser, api: FakeApi) -> None:
    api.answers["list_opt_outs"] = EMPTY
    assert "Who answers STOP" in (await visitor.get("/senders/opt-outs/list", HX_Request="true")).text
    assert "not on the list" in (await visitor.get("/senders/opt-outs/list?to=%2B1", HX_Request="true")).text


async def test_a_filter_that_is_none_is_said_beside_its_field(visitor: Browser, api: FakeApi) -> None:
    for query in ("to=%00", "to=" + "9" * 33):
        page = await visitor.get(f"/senders/opt-outs?{query}")
        assert page.input("filter-to")["aria-invalid"] == "true"
        assert (await visitor.get(f"/senders/opt-outs/list?{query}", HX_Request="true")).status == 422
    assert api.seen == []


async def test_a_number_is_added(visitor: Browser, api: FakeApi) -> None:
    done = await visitor.post("/senders/opt-outs", {"to": "0093 70 1234567", "from": " Acme "}, HX_Request="true")
    (call,) = api.calls("create_opt_out")
    assert call.body == shapes.NewOptOut(to="+93701234567", sender="Acme")
    assert (events(done)["refresh"], "closeDialog" in events(done)) == ("#opt-outs", True)
    assert "value" not in done.input("opt-out-to")
    plain = await visitor.post("/senders/opt-outs", {"to": "+93701234567"})
    assert (plain.status, plain.headers["location"]) == (303, "/senders/opt-outs")
    assert api.calls("create_opt_out")[1].body.sender is None


@pytest.mark.parametrize(
    ("form", "given", "field"),
    [
        ({"to": " "}, None, "to"),
        ({"to": "9" * 33}, None, "to"),
        ({"from": "\0"}, None, "from"),
        ({"to": HOSTILE[:30]}, ("invalid_number", "to"), "to"),
        ({"from": "!"}, ("invalid_sender", "from"), "from"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_number_is_said_beside_its_field(
    visitor: Browser, api: FakeApi, *, form: dict[str, str], given: tuple[str, str] | None, field: str
) -> None:
    if given is not None:
        problem = {"code": given[0], "detail": "D", "errors": [{"field": given[1], "message": "must be another"}]}
        api.answers["create_opt_out"] = Given(422, problem)
    typed = {"to": "+93701234567", "from": "Acme"} | form
    for headers in ({"HX_Request": "true"}, {"Sec_Fetch_Site": "same-origin"}):
        shown = await visitor.post("/senders/opt-outs", typed, **headers)
        assert shown.status == 422
        assert shown.input(f"opt-out-{field}")["aria-invalid"] == "true"
        assert shown.input("opt-out-to").get("value", "") == typed["to"].strip()
        assert given is None or "Must be another." in shown.text
    assert len(api.seen) == (0 if given is None else 2)


async def test_an_opt_out_is_removed(visitor: Browser, api: FakeApi) -> None:
    done = await visitor.post(f"/senders/opt-outs/{ID}/remove", {}, HX_Request="true")
    assert api.calls("delete_opt_out")[0].path == {"optOutId": ID}
    assert (done.status, events(done)["refresh"]) == (204, "#opt-outs")
    api.answers["delete_opt_out"] = GONE
    gone = await visitor.post(f"/senders/opt-outs/{ID}/remove", {}, HX_Request="true")
    assert (gone.status, "any more" in events(gone)["toast"]["text"]) == (204, True)


# ---- what goes wrong, and who asks


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/senders/list", "list_senders"),
        ("GET", "/senders/opt-outs/list", "list_opt_outs"),
        ("POST", f"/senders/{ID}", "update_sender"),
        ("POST", "/senders/opt-outs", "create_opt_out"),
        ("POST", f"/senders/opt-outs/{ID}/remove", "delete_opt_out"),
    ],
)
async def test_a_part_that_fails_says_so_and_a_form_stays(
    visitor: Browser, api: FakeApi, *, method: str, path: str, operation: str
) -> None:
    for given, status in ((LIMITED, 429), (Given(503, b"no"), 503), (Given(504, b"no"), 503)):
        api.answers[operation] = given
        if method == "GET":
            shown = await visitor.get(path, HX_Request="true")
            assert any("data-retry" in attributes for _, attributes in shown.tags)
        else:
            shown = await visitor.post(path, {"to": "+93701234567"}, HX_Request="true")
            assert (shown.raw, shown.headers["hx-reswap"]) == ("", "none")
        assert shown.status == status
        assert (events(shown)["toast"]["text"] == RATE_LIMITED) is (given is LIMITED)


async def test_a_page_of_a_list_that_does_not_exist(visitor: Browser, api: FakeApi) -> None:
    for path, operation in (("/senders", "list_senders"), ("/senders/opt-outs", "list_opt_outs")):
        api.answers[operation] = Given(422, {"code": "invalid_cursor", "detail": "not ours"})
        shown = await visitor.get(f"{path}/list?cursor=forged", HX_Request="true")
        assert (shown.status, "This page of the list does not exist." in shown.text) == (422, True)


@pytest.mark.parametrize("path", ["/senders", "/senders/list", "/senders/opt-outs", "/senders/opt-outs/list"])
async def test_only_customers_get_in(browser: Browser, api: FakeApi, path: str) -> None:
    assert (await browser.get(path)).headers["location"].startswith("/sign-in?next=%2Fsenders")
    browser.set(ghasi_access=token(roles=("admin",)))
    assert (await browser.get(path)).status == 403
    assert api.seen == []
