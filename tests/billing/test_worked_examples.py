"""The worked examples of docs/billing-examples.md: what stands there happens, and the API answers what stands there."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghasi.billing.invoices import admin as invoice_admin
from ghasi.billing.invoices import credit_notes, settling, terms
from ghasi.billing.invoices.credit_notes import Wanted
from ghasi.billing.invoices.model import Tax
from ghasi.billing.plans import admin as plan_admin
from ghasi.billing.plans import queries as plan_queries
from ghasi.billing.plans.admin import PlanTerms
from ghasi.billing.plans.model import PlanTier, Subscription
from ghasi.billing.rates import admin as rate_admin
from ghasi.contract.serving import ServiceApp
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, Messages, Sms, get
from tests.carrying import events_of

PAGE = (Path(__file__).parents[2] / "docs/billing-examples.md").read_text()
WHO = "operator:ann"
_ROW = re.compile(r"^\| (\d{4}-\S+Z) \| ([A-Z]{2}) \| (\d+) \| (\d+) \|$", re.MULTILINE)


class Section:
    """One example of the page: its messages, requests and answers, in their order."""

    def __init__(self, title: str) -> None:
        text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        self.messages = [
            Sms(country=country, segments=int(segments), at=datetime.fromisoformat(at))
            for at, country, segments, count in _ROW.findall(text)
            for _ in range(int(count))
        ]
        self.usage = re.findall(r"`GET /v1/billing/(usage\?\S+)`", text)
        self.answers = [msgspec.json.decode(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def expect(answer: Any, expected: Any) -> None:
    """All that stands on the page is in the answer; lists are as long as there."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            expect(answer[name], value)
    elif isinstance(expected, list):
        assert len(answer) == len(expected), answer
        for one, other in zip(answer, expected, strict=True):
            expect(one, other)
    else:
        assert answer == expected


async def ask(app: ServiceApp, target: str) -> Any:
    answer = await get(app, target)
    assert answer.status == 200, answer.json
    return answer.json


async def close(pool: Pool) -> tuple[str, str]:
    (made,) = (await invoice_admin.close_period(pool, events_of(pool), "2026-10", actor=WHO)).made
    return str(made.number), f"invoices/{made.id}"


@pytest.fixture(autouse=True)
async def rates(pool: Pool) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    await rate_admin.import_rates(pool, text, WHO)


async def test_two_countries_a_tier_a_tax_and_credit_notes(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    section = Section("Two countries, a tier and a tax")
    await terms.set_taxes(pool, ACCOUNT, [Tax("VAT", 190_000)], WHO)
    for message in sorted(section.messages, key=lambda one: one.at):
        await messages.happen(message)
    number, path = await close(pool)
    invoice, usage = section.answers
    expect(await ask(app, path), invoice)
    expect(await ask(app, section.usage[0]), usage)

    credit = Section("A credit note")
    first, credited, both, balance = credit.answers
    await credit_notes.credit_invoice(pool, number, Wanted("delayed messages to Germany", 300_000), WHO)
    expect(await ask(app, "credit-notes"), first)
    expect(await ask(app, path), credited)
    await settling.pay_invoice(pool, number, WHO)
    await credit_notes.credit_invoice(pool, number, Wanted("closed the case"), WHO)
    expect(await ask(app, "credit-notes"), both)
    expect(await ask(app, "balance"), balance)


async def test_a_plan(pool: Pool, messages: Messages, app: ServiceApp) -> None:
    section = Section("A plan")
    plan = PlanTerms(
        base_fee_micros=5_000_000, included_segments=4, tiers=(PlanTier(6, 100_000),), minimum_micros=6_000_000
    )
    made = await plan_admin.set_plan(pool, "starter", plan, WHO)
    async with pool.acquire() as connection, connection.transaction():  # a month that is over: no command does that
        october = section.messages[0].at.date().replace(day=1)
        await plan_queries.insert_plan(connection, replace(made, valid_from=october))
        await plan_queries.insert_subscription(connection, Subscription(ACCOUNT, october, "starter"))
    for message in section.messages:
        await messages.happen(message)
    _, path = await close(pool)
    expect(await ask(app, path), section.answers[0])


async def test_a_day_of_25_hours(messages: Messages, app: ServiceApp) -> None:
    section = Section("A day of 25 hours")
    await messages.happen(*section.messages)
    for target, answer in zip(section.usage, section.answers, strict=True):
        expect(await ask(app, target), answer)
