"""pages: the portal's dashboard and list of messages of a signed-in customer, beside a no-op route.

A page is what a browser asks for to show it whole, without scripts and styles, which it keeps: the frame and each part.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.comparing import Comparison, Contenders, Figures
from benchmarks.comparisons.reads import fill, gets
from benchmarks.measuring import NOOP, RAISED, loaded, noop
from tests.end_to_end.customer import signed_up
from tests.end_to_end.deployment import together

PAGES = {
    "dashboard": ["/", "/billing/balance/refusal", "/dashboard/steps", "/dashboard/figures", "/dashboard/latest"],
    "messages": ["/messages", "/messages/list"],
}
ACCESS_COOKIE = "ghasi_access"


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Contenders]:
    """Run Ghasi with some messages in it, and the no-op route."""
    with together(**RAISED) as ghasi, noop() as (noop_url, noop_id):
        async with signed_up(ghasi) as customer:
            await fill(ghasi, customer)
            headers = {"Cookie": f"{ACCESS_COOKIE}={customer.token}", "Sec-Fetch-Site": "same-origin"}
            parts = {"API and portal": ghasi.child("api")}

            nothing = gets(noop_url, ["/"], headers, options)

            async def show(name: str) -> Figures:
                order = gets(ghasi.portal, PAGES[name], headers, options)
                figures = await loaded(order, parts, ghasi.folder / "data")
                return figures | {"requests_a_page": len(PAGES[name])}

            contenders: Contenders = {NOOP: lambda: loaded(nothing, {"no-op": noop_id})}
            yield contenders | {name: lambda name=name: show(name) for name in PAGES}


PORTAL_PAGES = Comparison(
    "pages",
    "requests for the parts of the portal's dashboard and list of messages, signed in, beside a no-op route",
    "requests/s",
    opened,
    dict.fromkeys(PAGES, (NOOP,)),
)
