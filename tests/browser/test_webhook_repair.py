"""What an endpoint may have besides its address, the log by what was answered, and replaying a time, by hand."""

import re

from playwright.async_api import Page, expect

from tests.browser.conftest import Console, audit
from tests.browser.test_webhooks import came, failing, open_page, rows, send_test
from tests.end_to_end.customer import Customer, receiving
from tests.end_to_end.deployment import until


async def test_filter_order_rate_and_metadata(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    await open_page(portal, customer, "/webhooks/new")
    await portal.get_by_label("URL").fill("http://127.0.0.1:9/hook")
    await expect(portal.get_by_label("Wait for one that fails")).to_be_hidden()
    await portal.get_by_label("Country").fill("af, Germany")
    await portal.get_by_label("Reference").fill('order-*, "a, b"')
    await portal.get_by_label("Order", exact=True).select_option("In order for each recipient")
    await portal.get_by_label("Wait for one that fails").fill("600")
    await portal.get_by_label("After that").select_option("Give it up")
    await portal.get_by_label("Attempts a second, at most").fill("20")
    await portal.get_by_label("Name 1 of metadata", exact=True).fill("team")
    await portal.get_by_label("Value 1 of metadata", exact=True).fill("orders")
    await expect(portal.get_by_label("Name 2 of metadata", exact=True)).to_be_visible()
    await expect(portal.get_by_label("Name 3 of metadata", exact=True)).to_be_hidden()
    await portal.get_by_label("Name of header 1", exact=True).fill("X-Token")
    await portal.get_by_label("Value of header 1", exact=True).fill("hush")
    await audit(portal)
    await portal.get_by_role("button", name="Add endpoint").click()

    # what is wrong stands beside its field, and nothing typed is lost
    await expect(portal.get_by_label("Country")).to_be_focused()
    await expect(portal.get_by_label("Country")).to_have_accessible_description(
        "GERMANY is no country code such as AF."
    )
    await expect(portal.get_by_label("Reference")).to_have_value('order-*, "a, b"')
    await expect(portal.get_by_label("Wait for one that fails")).to_have_value("600")
    await expect(portal.get_by_label("Value 1 of metadata", exact=True)).to_have_value("orders")
    await expect(portal.get_by_label("Value of header 1", exact=True)).to_have_value("hush")
    await audit(portal)
    await portal.get_by_label("Country").fill("af, de")
    await portal.get_by_role("button", name="Add endpoint").click()
    await portal.get_by_role("link", name="Go to the endpoint").click()

    (endpoint,) = (await customer.good("GET", "/v1/webhooks"))["data"]
    assert endpoint["filter"] == {"country": ["AF", "DE"], "reference": ["order-*", "a, b"]}
    assert endpoint["fifo"] == {"by": "to", "hold_s": 600, "after_hold": "drop"}
    assert (endpoint["rate_per_s"], endpoint["metadata"]) == (20, {"team": "orders"})
    assert endpoint["header_names"] == ["X-Token"]
    await expect(portal.get_by_text("X-Token: ••••")).to_be_visible()
    await expect(portal.get_by_text("At most 20 attempts a second")).to_be_visible()
    assert "hush" not in await portal.content()
    await audit(portal)

    # saved as it stands, it is what it was; what is emptied is taken away
    await portal.get_by_role("link", name="Edit").click()
    await expect(portal.get_by_text("X-Token: ••••")).to_be_visible()
    await portal.get_by_role("button", name="Save").click()
    await expect(portal.get_by_text("Endpoint saved")).to_be_visible()
    (saved,) = (await customer.good("GET", "/v1/webhooks"))["data"]
    assert saved | {"updated_at": ""} == endpoint | {"updated_at": ""}
    await portal.get_by_role("link", name="Edit").click()
    for label in ("Country", "Reference", "Attempts a second, at most"):
        await portal.get_by_label(label).fill("")
    for label in ("Name 1 of metadata", "Value 1 of metadata"):
        await portal.get_by_label(label, exact=True).fill("")
    await portal.get_by_label("Order", exact=True).select_option("In no order")
    await audit(portal)
    await portal.get_by_role("button", name="Save").click()
    await expect(portal).to_have_url(re.compile(rf"/webhooks/{endpoint['id']}$"))
    await expect(portal.get_by_role("region", name="Details")).to_be_visible()
    await expect(portal.get_by_text("At most 20 attempts a second")).to_be_hidden()
    (plain,) = (await customer.good("GET", "/v1/webhooks"))["data"]
    assert (plain["filter"], plain["fifo"], plain["rate_per_s"], plain["metadata"]) == (None, None, None, {})
    assert plain["header_names"] == ["X-Token"]


async def test_the_log_by_what_was_answered(portal: Page, customer: Customer) -> None:
    async with failing() as receiver:
        receiver.takes = frozenset({"message.sent"})  # the other fails at every attempt, however many come to pass
        endpoint = await customer.good("POST", "/v1/webhooks", {"url": receiver.url, "events": ["message.*"]})
        path = f"/webhooks/{endpoint['id']}"
        await open_page(portal, customer, path)
        await send_test(portal, "message.failed")
        await expect(rows(portal)).to_contain_text(re.compile(r"pending\s*500"))
        await send_test(portal, "message.sent")
        await expect(rows(portal)).to_have_count(2)
        await portal.get_by_label("Response").select_option("5xx")
        await portal.get_by_role("button", name="Filter").click()
        await expect(portal).to_have_url(re.compile(r"response=5xx#deliveries-title$"))
        await expect(rows(portal)).to_have_count(1)
        await expect(rows(portal)).to_contain_text("message.failed")
        await audit(portal)
        await portal.get_by_label("Response").select_option("No answer")
        await portal.get_by_role("button", name="Filter").click()
        await expect(portal.get_by_text("No deliveries match")).to_be_visible()
        await portal.goto(f"{customer.deployment.portal}{path}?response=200")
        await expect(portal.get_by_label("Response")).to_have_value("200")
        await expect(rows(portal)).to_contain_text("message.sent")


async def test_replaying_to_a_new_endpoint(portal: Page, customer: Customer, console: Console) -> None:
    console.expect("422")
    async with receiving() as old, receiving() as new:
        made = await customer.good("POST", "/v1/webhooks", {"url": old.url, "events": ["message.*"]})
        old.secret = made["secret"]
        await customer.good("POST", "/v1/messages", {"to": "+93701234567", "body": "Hello"})
        await came(old, 3)  # accepted, sent, delivered
        made = await customer.good("POST", "/v1/webhooks", {"url": new.url, "events": ["message.*"]})
        new.secret = made["secret"]
        await open_page(portal, customer, f"/webhooks/{made['id']}")
        await portal.get_by_role("button", name="Replay").press("Enter")
        dialog = portal.get_by_role("dialog", name="Replay events")
        await expect(dialog.get_by_label("From")).to_be_hidden()
        await audit(portal)
        await dialog.get_by_label("Events of").select_option("A time of choice")
        await dialog.get_by_label("Only some types").check()
        await dialog.get_by_role("button", name="Replay").click()
        await expect(dialog.get_by_text("Choose a day and a time.")).to_be_visible()
        await expect(dialog.get_by_text("Choose at least one type.")).to_be_visible()
        await expect(dialog.get_by_label("Only some types")).to_be_checked()
        await audit(portal)
        await dialog.get_by_label("From").fill("2026-01-01T00:00")
        await dialog.get_by_label("message.delivered").check()
        await dialog.get_by_role("button", name="Replay").click()
        await expect(portal.get_by_text("1 delivery is sent")).to_be_visible()
        await expect(dialog).to_be_hidden()
        await came(new, 1)
        await expect(rows(portal)).to_contain_text(re.compile(r"message\.delivered\s*succeeded"))
        await portal.get_by_role("button", name="Replay").press("Enter")
        await dialog.get_by_role("button", name="Replay").click()
        await expect(portal.get_by_text("3 deliveries are sent")).to_be_visible()

        async def again() -> bool:
            return len(new.ids) == 4

        await until(again)
        assert len(new.events) == 3  # the receiver remembers ids, and does its work once
        assert {event["type"] for event in new.events} == {event["type"] for event in old.events}
        assert (new.forged, len(old.events)) == (0, 3)
