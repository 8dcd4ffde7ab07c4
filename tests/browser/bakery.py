"""The customer of the pictures: a bakery in Kabul that has been there for two months.

What cannot be done in a minute, a past, is written into its Ghasi's database.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web

from tests.browser.bakery_bills import bill, import_rates
from tests.end_to_end.customer import Customer
from tests.end_to_end.deployment import Deployment, until

ZONE, LOCALE = "Asia/Kabul", "en-GB"
SENDS_APART_S = 0.15
DAYS, FRIDAY = 75, 4
COUNTRIES = {"AF": (0.62, 31_000), "DE": (0.14, 74_000), "AE": (0.1, 26_500), "SE": (0.08, 51_000), "US": (0.06, 7_900)}
"""Of which part of the messages goes to a country, and what a segment costs in millionths."""
SENT = (
    ("+93701234567", "Your bread is ready. Come by until 19:00.", "order-1041"),
    ("+93799876543", "نان شما آماده است. تا ساعت \u06f7 منتظرتان هستیم.", "order-1042"),
    ("+4915123456789", "Ihre Torte für Samstag ist bestätigt. Abholung ab 9 Uhr.", "cake-88"),
    ("+93785550101", "Your verification code is 482913", None),
    ("+93701230001", "Your order is on its way with Karim.", "order-1043"),
    ("+46701234567", "Din beställning är klar att hämta.", "order-1044"),
    ("+971501234567", "Invoice KB-207 is due on Friday. Thank you!", "KB-207"),
    ("+93701230003", "Your verification code is 118274", None),
    ("+14155550134", "We open at 06:00 tomorrow for Eid. Fresh naan from the first oven.", "eid-news"),
    ("+93700112233", "Thank you for your order of 40 naan. We bake it for 05:30.", "order-1045"),
    ("+93781230002", "Your delivery could not be handed over. Call us on 1020.", "order-1046"),
    ("+93791230006", "Your bread is ready. Come by until 19:00.", "order-1047"),
)
SENDERS = (
    ("+93799000100", "--countries", "AF", "--default"), ("+4915735980100", "--countries", "DE,AT,CH", "--pool"),
    ("+46766860100", "--countries", "SE", "--pool"), ("4321", "--countries", "AF"), ("KabulBakery",),
)  # fmt: skip
RECEIVED = (("+93701234567", "Yes please, and ten naan more for Friday"), ("+93785550177", "STOP"))


@dataclass
class Bakery(Customer):
    """The customer of the pictures, and the ids of what is shown."""

    ids: dict[str, str] = field(default_factory=dict)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def sign_up(customer: Customer, email: str, name: str) -> str:
    """Sign a person up at the identity server; return the ID token."""
    body = {"email": email, "password": "correct horse", "displayName": name}
    async with customer.http.post(f"{customer.deployment.identity}/accounts:signUp?key=local", json=body) as response:
        return str((await response.json())["idToken"])


async def sign_in(customer: Bakery, id_token: str) -> None:
    customer.session = await customer.good("POST", "/v1/auth/firebase", {"id_token": id_token})
    customer.token = customer.session["access_token"]


@asynccontextmanager
async def bakery(deployment: Deployment) -> AsyncIterator[Bakery]:
    """Sign Laila up, and give her account its name."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        made = Bakery(deployment, http, "", {})
        id_token = await sign_up(made, "laila@kabulbakery.example", "Laila Rahimi")
        await sign_in(made, id_token)
        await made.good("PUT", "/v1/account", {"name": "Kabul Bakery"})
        await made.good("PUT", "/v1/preferences", {"time_zone": ZONE, "locale": LOCALE})
        await sign_in(made, id_token)
        yield made


async def send(customer: Bakery, count: int) -> None:
    """Send so many messages, and wait until all have an end that will have one."""
    for number in range(count):
        to, body, reference = SENT[(number * 7) % len(SENT)]
        message = {"to": to, "body": body} | ({"reference": reference} if reference else {})
        await customer.good("POST", "/v1/messages", message)
        await asyncio.sleep(SENDS_APART_S)

    async def all_ended() -> bool:
        messages = (await customer.good("GET", "/v1/messages?limit=100"))["data"]
        return all(one["completed_at"] or one["to"].endswith("0006") for one in messages)

    await until(all_ended)


async def receive(customer: Bakery) -> None:
    """Let phones write, and wait until all of it is there."""
    for number, text in RECEIVED:
        customer.deployment.run("simulator", "send", text, "--from", number, "--to", SENDERS[0][0])

    async def all_came() -> bool:
        return len((await customer.good("GET", "/v1/messages?direction=inbound"))["data"]) == len(RECEIVED)

    await until(all_came)


async def add_webhooks(customer: Bakery) -> None:
    """Add two endpoints of which one always fails, and send what they are told of."""

    async def take(_: web.Request) -> web.Response:
        await asyncio.sleep(0.04)
        return web.json_response({"received": True})

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=503, text="upstream connect error or disconnect/reset before headers")

    app = web.Application()
    app.router.add_post("/good", take)
    app.router.add_post("/bad", fail)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    at = f"http://127.0.0.1:{runner.addresses[0][1]}"
    shown = {"good": "https://shop.kabulbakery.example/hooks/ghasi", "bad": "https://crm.kabulbakery.example/sms"}
    try:
        wanted = {"good": ["message.delivered", "message.failed", "message.undelivered"], "bad": ["message.*"]}
        words = {"good": "Tells the shop when bread is ready", "bad": "The old customer register"}
        for name in ("good", "bad"):
            body = {"url": f"{at}/{name}", "events": wanted[name], "description": words[name]}
            customer.ids[name] = (await customer.good("POST", "/v1/webhooks", body))["id"]
        await send(customer, 12)

        async def all_tried() -> bool:
            taken = (await customer.good("GET", f"/v1/webhooks/{customer.ids['good']}/deliveries"))["data"]
            refused = (await customer.good("GET", f"/v1/webhooks/{customer.ids['bad']}/deliveries"))["data"]
            return bool(refused) and all(one["attempt_count"] for one in taken + refused)

        await until(all_tried)
    finally:
        await runner.cleanup()
    sql = [f"UPDATE webhooks.endpoints SET url = '{shown[name]}' WHERE id = '{customer.ids[name]}'" for name in shown]
    # as after the last of all attempts, which is days later
    sql.append(
        f"""WITH gone AS (DELETE FROM webhooks.pending WHERE endpoint_id = '{customer.ids["bad"]}'
            AND event_id IN (SELECT id FROM webhooks.events ORDER BY id LIMIT 9) RETURNING *)
        INSERT INTO webhooks.deliveries (endpoint_id, event_id, completed_at, attempts, claims, state)
        SELECT endpoint_id, event_id, now(), attempts, claims, 'exhausted' FROM gone"""
    )
    sql.append("UPDATE webhooks.pending SET due_at = now() + make_interval(mins => 9) WHERE NOT leased")
    write(customer.deployment, *sql)
    refused = (await customer.good("GET", f"/v1/webhooks/{customer.ids['bad']}/deliveries?status=failed"))["data"]
    customer.ids["delivery"] = refused[0]["id"]


def write(deployment: Deployment, *statements: str) -> None:
    """Write into the database what the API cannot."""
    script = deployment.folder / "past.sql"
    script.write_text(";\n".join([*statements, ""]))
    deployment.run("psql", "--", "-v", "ON_ERROR_STOP=1", "-q", "-1", "-f", str(script))


def days_of_usage() -> list[tuple[datetime, str, int, int]]:
    """Return what was used in two months: when, country, how many were delivered and how many were not."""
    chance = random.Random(1041)
    today = datetime.now(ZoneInfo(ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for back in range(DAYS, -1, -1):
        day = today - timedelta(days=back)
        volume = (900 + (DAYS - back) * 9) * (0.72 if day.weekday() == FRIDAY else 1) * chance.uniform(0.86, 1.14)
        # of today there is the beginning alone, whatever time it is
        for hour, share in ((7, 0.3), (11, 0.25), (14, 0.25), (18, 0.2)) if back else ((0, 0.85),):
            for country, (part, _) in COUNTRIES.items():
                count = int(volume * share * part)
                failed = int(count * chance.uniform(0.008, 0.03))
                found.append((day + timedelta(hours=hour), country, count - failed, failed))
    return found


def give_past(customer: Bakery) -> None:
    """Give the account two months of usage, and spread its messages over two days."""
    account = customer.session["account"]["id"]
    this_month = f"{datetime.now(UTC):%Y-%m-01}"
    usage, outcomes = [], []
    tallies: Counter[tuple[str, str]] = Counter()
    for at, country, delivered, failed in days_of_usage():
        micros = COUNTRIES[country][1]
        for status, count in (("delivered", delivered), ("undelivered", failed)):
            usage.append(f"('{account}', '{at}', '{country}', '{status}', {count}, {count}, {count * micros})")
        count = delivered + failed
        outcomes.append(f"('{account}', '{at}', {count}, {delivered}, {failed}, {count}, {count * micros})")
        tallies[f"{at:%Y-%m-01}", country] += count
    owed = [
        f"('{account}', '{month}', '{country}', {COUNTRIES[country][1]}, {count})"
        for (month, country), count in tallies.items()
    ]
    spent = sum(count * COUNTRIES[country][1] for (month, country), count in tallies.items() if month == this_month)
    sums = ", ".join(f"sum({name})" for name in ("messages", "delivered", "failed", "segments", "amount"))
    write(
        customer.deployment,
        f"INSERT INTO billing.usage_quarters VALUES {', '.join(usage)}",
        f"""INSERT INTO billing.outcome_quarters
        SELECT account::uuid, at::timestamptz, {sums} FROM (VALUES {", ".join(outcomes)})
            AS hours (account, at, messages, delivered, failed, segments, amount) GROUP BY account, at""",
        f"""INSERT INTO billing.tallies AS open
            (id, account_id, month, country, currency, rate_id, unit_micros, messages, segments, amount_micros)
        SELECT gen_random_uuid(), account::uuid, month::date, owed.country, 'USD', rates.id, unit, count, count,
            unit * count
        FROM (VALUES {", ".join(owed)}) AS owed (account, month, country, unit, count)
        JOIN billing.rates ON rates.country = owed.country AND amount_micros = unit AND rates.direction = 'outbound'
        ON CONFLICT (account_id, month, direction, country, currency, kind, rate_id, unit_micros)
            WHERE invoice_id IS NULL
        DO UPDATE SET messages = open.messages + EXCLUDED.messages, segments = open.segments + EXCLUDED.segments,
            amount_micros = open.amount_micros + EXCLUDED.amount_micros""",
        f"UPDATE billing.spending_months SET spent_micros = spent_micros + {spent} "
        f"WHERE account_id = '{account}' AND month = '{this_month}'",
        # a message's time is its id's
        """CREATE TEMP TABLE aged AS
        SELECT id AS old, by, (left(replace(messages.first_id(to_timestamp(
            ('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0) - by
            )::text, '-', ''), 12) || substr(replace(id::text, '-', ''), 13))::uuid AS new
        FROM (SELECT id, make_interval(mins => (2 * n + n * n)::int) AS by FROM
            (SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM messages.messages) AS newest) AS moved""",
        "UPDATE messages.messages SET id = new, sent_at = sent_at - by, completed_at = completed_at - by "
        "FROM aged WHERE id = old",
        "UPDATE webhooks.events SET message_id = new, body = replace(body, old::text, new::text) "
        "FROM aged WHERE message_id = old",
    )


async def furnish(customer: Bakery) -> None:
    """Give the account all that the pictures show."""
    say("sending messages ...")
    account = customer.session["account"]["id"]
    import_rates(customer.deployment, {country: micros for country, (_, micros) in COUNTRIES.items()})
    customer.deployment.run("admin", "plans", "set", "Bakers", "--base-fee", "25.00")
    customer.deployment.run("admin", "accounts", "plan", account, "Bakers")
    for name, scopes in (("Shop", ["messages:send", "messages:read"]), ("Accounting", ["billing:read"])):
        key = await customer.good("POST", "/v1/api-keys", {"name": name, "scopes": scopes})
        if name == "Shop":
            assert (await customer.call("GET", "/v1/messages", token=key["key"])).status == 200
    for name in ("Omid", "Zahra"):
        email = f"{name.lower()}@kabulbakery.example"
        invitation = await customer.good("POST", "/v1/invitations", {"email": email, "role": "member"})
        if name == "Omid":
            body = {"id_token": await sign_up(customer, email, "Omid Karimi"), "invitation": invitation["token"]}
            await customer.good("POST", "/v1/auth/firebase", body)
    for address, *options in SENDERS:
        customer.deployment.run("admin", "senders", "add", account, address, *options)
    await send(customer, 48)
    say("delivering webhooks ...")
    await add_webhooks(customer)
    await receive(customer)
    say("giving it a past ...")
    give_past(customer)
    customer.ids |= await bill(customer)
    failed = (await customer.good("GET", "/v1/messages?status=undelivered"))["data"]
    customer.ids["message"] = failed[0]["id"]
