"""Takes the pictures of docs/portal: `make screenshots`, or `python -m tests.browser.screenshots FOLDER [NAME...]`.

Starts a Ghasi of its own, gives it a customer, and goes through the pages in light, in dark and on a phone.
"""

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.bakery import LOCALE, ZONE, Bakery, bakery, furnish, say
from tests.browser.conftest import CHROMIUM, PHONE, PLENTY, QUIET, settled
from tests.end_to_end.deployment import together

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}
MOST_BYTES = 60_000
COLOURS = (256, 128, 64, 32, 16)


async def write_message(page: Page) -> None:
    await page.get_by_label("To", exact=True).fill("+93701234567")
    await page.get_by_label("Text", exact=True).fill("Your bread is ready \u2013 come by until 19:00.")
    await expect(page.get_by_role("region", name="Preview").get_by_text("of 10 segments")).to_be_visible()


async def create_key(page: Page) -> None:
    await page.get_by_role("button", name="Create key").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("Website")
    await dialog.get_by_role("button", name="Create key").click()
    await expect(dialog.get_by_role("button", name="Copy API key")).to_be_visible()


@dataclass(frozen=True)
class Picture:
    """A page by its path, in which `{name}` is one of the ids, and what is done on it first."""

    path: str
    prepare: Callable[[Page], Awaitable[None]] | None = None


PICTURES = {
    "dashboard": Picture("/"),
    "messages": Picture("/messages"),
    "message": Picture("/messages/{message}"),
    "send": Picture("/messages/new", write_message),
    "senders": Picture("/senders"),
    "api-keys": Picture("/api-keys"),
    "api-key-created": Picture("/api-keys", create_key),
    "webhooks": Picture("/webhooks"),
    "webhook": Picture("/webhooks/{bad}"),
    "delivery": Picture("/webhooks/{bad}/deliveries/{delivery}"),
    "billing": Picture("/billing"),
    "balance": Picture("/billing/balance"),
    "rates": Picture("/billing/rates"),
    "invoice": Picture("/billing/invoices/{invoice}"),
    "running-invoice": Picture("/billing/invoices/running"),
    "credit-note": Picture("/billing/credit-notes/{note}"),
    "billing-details": Picture("/settings/billing"),
    "settings": Picture("/settings"),
    "people": Picture("/settings/people"),
    "reference": Picture("/reference"),
    "sign-in": Picture("/sign-in"),
}


def small(png: bytes) -> bytes:
    """Return a picture with so few colours that it is small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in COLOURS:
        out = io.BytesIO()
        few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        few.save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


async def photograph(browser: Browser, customer: Bakery, look: str, folder: Path, names: list[str]) -> int:
    """Take the pictures of one look; return how many bytes they have."""
    context = await browser.new_context(locale=LOCALE, timezone_id=ZONE, reduced_motion="reduce", **LOOKS[look])
    context.set_default_timeout(20_000)
    page = await context.new_page()
    taken = 0
    try:
        for name in names:
            picture = PICTURES[name]
            await context.clear_cookies()
            if name != "sign-in":
                cookie = {"name": "ghasi_access", "value": customer.token, "url": customer.deployment.portal}
                await context.add_cookies([cookie])  # type: ignore[list-item] # a cookie
            await page.goto(customer.deployment.portal + picture.path.format_map(customer.ids))
            await settled(page)
            if picture.prepare is not None:
                await picture.prepare(page)
                await settled(page)
            await page.evaluate("document.fonts.ready")
            file = folder / f"{name}-{look}.png"
            content = small(await page.screenshot(animations="disabled"))
            file.write_bytes(content)
            taken += len(content)
            say(f"{file}  {len(content) / 1000:.0f} KB")
            for key in (await customer.good("GET", "/v1/api-keys"))["data"]:
                if key["name"] == "Website":
                    await customer.call("DELETE", f"/v1/api-keys/{key['id']}")
    finally:
        await context.close()
    return taken


async def take_all(folder: Path, names: list[str]) -> None:
    """Start a Ghasi, furnish it, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    groups = ("AUTH", "API_KEYS", "SENDS", "READS", "WRITES", "PREVIEWS")
    settings = {f"GHASI_LIMIT_{name}": PLENTY for name in groups}
    settings |= {"GHASI_SELLER_ADDRESS": "Kabul", "GHASI_API_URL": "https://api.ghasi.example"}
    say("starting Ghasi ...")
    with together(**settings) as deployment:
        async with bakery(deployment) as customer, async_playwright() as playwright:
            await furnish(customer)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, f"--lang={LOCALE}"])
            try:
                taken = sum([await photograph(browser, customer, look, folder, names) for look in LOOKS])
            finally:
                await browser.close()
    say(f"{len(LOOKS) * len(names)} pictures, {taken / 1e6:.1f} MB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(PICTURES)
    if len(sys.argv) < 2 or not set(chosen) <= PICTURES.keys():
        sys.exit(f"usage: python -m tests.browser.screenshots FOLDER [{'|'.join(PICTURES)} ...]")
    asyncio.run(take_all(Path(sys.argv[1]), chosen))
