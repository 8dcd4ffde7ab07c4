"""What invoices call the account, as a browser gets and changes it."""

import json

import pytest

from ghasi.contract import shapes
from tests.client.fake_api import AT, ID, FakeApi, Given
from tests.portal.conftest import Browser, token
from tests.portal.test_dashboard import HOSTILE, parts

PATH = "/settings/billing/profile"
TYPED = {
    "legal_name": " Kabul Bakery Ltd ", "address": "Street 12\r\n\r\n Kabul \r\n", "tax_id": "AF-1041",
    "email": "accounts@example.com", "locale": "fa-AF",
}  # fmt: skip


@pytest.fixture
async def visitor(browser: Browser, api: FakeApi) -> Browser:
    browser.set(ghasi_access=token())
    return browser


def profile(name: str | None, address: list[str]) -> Given:
    return Given(200, shapes.BillingProfile("Acme", name, address, None, None, None, AT))


async def test_the_page_asks_nothing(visitor: Browser, api: FakeApi) -> None:
    shown = await visitor.get("/settings/billing")
    assert (shown.status, api.seen, list(parts(shown))) == (200, [], [PATH])


async def test_owners_change_it(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_billing_profile"] = profile(HOSTILE, [HOSTILE, "Kabul"])
    shown = await visitor.get(PATH, HX_Request="true")
    assert shown.input("legal_name")["value"] == HOSTILE
    assert (HOSTILE in shown.text, "<script>" in shown.raw) == (True, False)
    saved = await visitor.post(PATH, TYPED, HX_Request="true")
    (call,) = api.calls("update_billing_profile")
    assert call.body == shapes.BillingProfileInput(
        legal_name="Kabul Bakery Ltd", address=["Street 12", "Kabul"], tax_id="AF-1041",
        email="accounts@example.com", locale="fa-AF",
    )  # fmt: skip
    assert json.loads(saved.headers["hx-trigger"])["toast"]["text"] == "Billing details saved"
    await visitor.post(PATH, {}, HX_Request="true")
    assert api.calls("update_billing_profile")[1].body == shapes.BillingProfileInput()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("legal_name", "x" * 201, "Use at most 200 characters."),
        ("address", "\n".join("1234567"), "Use at most 6 lines."),
        ("address", "x" * 101, "Use at most 100 characters a line."),
        ("tax_id", "x" * 51, "Use at most 50 characters."),
        ("email", "ann", "Enter an email address"),
    ],
)
async def test_faults_are_told_beside_their_fields(
    visitor: Browser, api: FakeApi, name: str, value: str, text: str
) -> None:
    refused = await visitor.post(PATH, {**TYPED, name: value}, HX_Request="true")
    assert (refused.status, api.calls("update_billing_profile")) == (422, [])
    assert refused.input(name)["aria-invalid"] == "true"
    assert text in refused.text


async def test_what_the_api_refuses_stands_beside_its_field(visitor: Browser, api: FakeApi) -> None:
    errors = [{"field": "address[0]", "message": "is odd"}, {"field": "locale", "message": "must be a tag"}]
    problem = {"code": "invalid_request", "title": "x", "detail": "x", "errors": errors}
    api.answers["update_billing_profile"] = Given(422, problem)
    refused = await visitor.post(PATH, TYPED, HX_Request="true")
    assert refused.status == 422
    assert refused.input("address")["aria-invalid"] == refused.input("billing-locale")["aria-invalid"] == "true"
    assert "Is odd." in refused.text
    api.answers["update_billing_profile"] = Given(403, {"code": "owner_required", "title": "Owners only", "detail": ""})
    forbidden = await visitor.post(PATH, TYPED, HX_Request="true")
    assert (forbidden.status, forbidden.headers["hx-reswap"]) == (403, "none")


async def test_members_see_it_and_no_form(visitor: Browser, api: FakeApi) -> None:
    api.answers["get_account"] = Given(200, shapes.AccountDetail(ID, "Acme", "active", "member", AT))
    api.answers["get_billing_profile"] = profile(None, ["Street 1", HOSTILE])
    shown = await visitor.get(PATH, HX_Request="true")
    for text in ("Acme", "Street 1", HOSTILE, "Only owners can change these."):
        assert text in shown.text
    assert not [tag for tag, _ in shown.tags if tag == "form"]
