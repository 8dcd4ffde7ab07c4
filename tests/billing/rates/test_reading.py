"""Customers see the prices that may hold for them, and nobody else's."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from ghasi.billing.accounts import admin as account_admin
from ghasi.billing.plans import admin as plan_admin
from ghasi.billing.rates import admin, queries
from ghasi.billing.rates.finding import country_of
from ghasi.contract.pricing import EVERY_COUNTRY, Rate, RateKey
from ghasi.contract.serving import ServiceApp
from ghasi.contract.values import new_id
from ghasi.storage.pool import Pool
from tests.billing.conftest import ACCOUNT, get

WHO = "operator:ann"
OTHER = new_id()
DECK = f"""country,prefix,amount,currency,valid_from,direction,sender_kind,carrier_class,account,plan,tiers
AF,,0.03,,2026-01-01,,,,,,
AF,,0.04,,2026-02-01,,,,,,1000:0.035;20000:0.03
AF,,0.05,,2099-01-01,,,,,,
AF,9370,0.02,,2026-01-01,,name,,,,
AF,9379,0.01,,2026-01-01,,,direct,,,
,93,0.06,,2026-01-01,,,,,,
*,,0.005,,2026-01-01,inbound,,,,,
DE,,0.07,,2026-01-01,,,,,,
AF,,0.011,,2026-01-01,,,,{ACCOUNT},,
AF,,0.012,,2026-01-01,,,,{OTHER},,
AF,,0.013,,2026-01-01,,,,,gold,
AF,,0.014,,2026-01-01,,,,,basic,
*,,6.5,JPY,2026-01-01,,,,,,
"""


async def ask(app: ServiceApp, account_id: UUID = ACCOUNT, **query: str | int) -> Any:
    answer = await get(app, f"rates?{urlencode(query)}", account_id)
    assert answer.status == 200, answer.json
    return answer.json


async def prices(app: ServiceApp, account_id: UUID = ACCOUNT, **query: str | int) -> set[str]:
    page = await ask(app, account_id, **query)
    assert page["next_cursor"] is None
    found = [rate["amount"] for rate in page["data"]]
    assert len(set(found)) == len(found)
    return set(found)


async def test_an_account_sees_what_may_hold_for_it(app: ServiceApp, pool: Pool) -> None:
    await admin.import_rates(pool, DECK, WHO)
    everybodys = {"0.0450", "0.0400", "0.0200", "0.0100", "0.0600", "0.0050", "0.0700"}
    assert await prices(app) == everybodys | {"0.0110"}
    assert await prices(app, OTHER) == everybodys | {"0.0120"}
    assert await prices(app, new_id()) == everybodys
    subscribed = new_id()
    await plan_admin.set_plan(pool, "gold", plan_admin.PlanTerms(), WHO, f"{datetime.now(UTC):%Y-%m}")
    await plan_admin.choose_plan(pool, subscribed, "gold", WHO)
    assert await prices(app, subscribed) == everybodys | {"0.0130"}
    yen = new_id()
    await account_admin.set_currency(pool, yen, "JPY", WHO)
    assert await prices(app, yen) == {"6.5000"}


async def test_rates_are_filtered(app: ServiceApp, pool: Pool) -> None:
    await admin.import_rates(pool, DECK, WHO)
    for query, expected in (
        ({"country": "AF"}, {"0.0400", "0.0200", "0.0100", "0.0110"}),
        ({"country": "*"}, {"0.0450", "0.0600", "0.0050"}),
        ({"prefix": "9"}, {"0.0200", "0.0100", "0.0600"}),
        ({"prefix": "9370"}, {"0.0200"}),
        ({"number": "+93701234567"}, {"0.0450", "0.0400", "0.0200", "0.0600", "0.0050", "0.0110"}),
        ({"number": "93701234567", "direction": "inbound"}, {"0.0050"}),
        ({"number": "+93701234567", "country": "AF"}, {"0.0400", "0.0200", "0.0110"}),
        ({"number": "+93701234567", "country": "DE"}, set()),
        ({"number": "+4915123456789"}, {"0.0450", "0.0700", "0.0050"}),
        ({"number": "+999123456"}, {"0.0450", "0.0050"}),
        ({"country": "AF", "at": "2026-01-15T00:00:00Z"}, {"0.0300", "0.0200", "0.0100", "0.0110"}),
        ({"country": "AF", "at": "2099-01-01T04:30:00+04:30"}, {"0.0500", "0.0200", "0.0100", "0.0110"}),
        ({"country": "AF", "at": "2025-01-15T00:00:00Z"}, set()),
    ):
        assert await prices(app, **query) == expected, query
    assert (await get(app, "rates?number=+93701234567")).status == 200, "an unescaped plus is a space"


async def test_a_rate_is_shown_whole(app: ServiceApp, pool: Pool) -> None:
    await admin.import_rates(pool, DECK, WHO)
    (rate,) = [rate for rate in (await ask(app, country="AF"))["data"] if rate["amount"] == "0.0400"]
    assert UUID(rate.pop("id")).version == 7
    assert rate == {
        "direction": "outbound", "scope": "everybody", "country": "AF", "prefix": None, "sender_kind": None,
        "carrier_class": None, "currency": "USD", "amount": "0.0400", "valid_from": "2026-02-01T00:00:00.000Z",
        "tiers": [{"from_segments": 1000, "amount": "0.0350"}, {"from_segments": 20000, "amount": "0.0300"}],
    }  # fmt: skip
    shown = {(rate["scope"], rate["country"], rate["prefix"], rate["sender_kind"], rate["carrier_class"])
             for rate in (await ask(app))["data"]}  # fmt: skip
    assert {
        ("account", "AF", None, None, None), ("everybody", "AF", "9370", "name", None),
        ("everybody", "AF", "9379", None, "direct"), ("everybody", None, "93", None, None),
    } <= shown  # fmt: skip


async def test_pages_join_into_the_whole_list(app: ServiceApp, pool: Pool) -> None:
    await admin.import_rates(pool, DECK, WHO)
    whole = (await ask(app))["data"]
    assert [rate["id"] for rate in whole] == sorted((rate["id"] for rate in whole), reverse=True)
    for limit in (1, 3, len(whole)):
        pages: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await ask(app, limit=limit, **cursor)
            pages += page["data"]
            if page["next_cursor"] is None:
                break
            assert len(page["data"]) == limit
            cursor = {"cursor": page["next_cursor"]}
        assert pages == whole


async def test_a_correction_takes_the_place_of_what_it_corrects(app: ServiceApp, pool: Pool) -> None:
    for amount in ("0.03", "0.02"):
        await admin.import_rates(pool, f"country,amount,valid_from\nAF,{amount},2026-01-01\n", WHO)
    assert await prices(app, country="AF") == {"0.0200"}


async def test_what_a_number_costs_is_among_what_is_shown_for_it(app: ServiceApp, pool: Pool) -> None:
    everybody = RateKey("USD", "outbound", None, None, EVERY_COUNTRY, "", None, None)
    keys = [
        everybody._replace(country=country, prefix=prefix, account_id=account_id)
        for country, prefix in (("AF", ""), ("AF", "93"), ("*", "937"), ("AF", "9370"), ("DE", "49"), ("*", "4915"))
        for account_id in (None, ACCOUNT, OTHER)
    ]
    past = datetime(2026, 1, 1, tzinfo=UTC)
    rates = [Rate(new_id(), key, 100 + number, past + timedelta(number)) for number, key in enumerate(keys)]
    async with pool.acquire() as connection, connection.transaction():
        await queries.insert_rates(connection, rates)
    everything, _ = await queries.list_rates(pool)
    for number in ("93701234567", "93791234567", "4915123456789", "4930123456", "46700000010"):
        for account_id in (ACCOUNT, OTHER, new_id()):
            shown = {rate["id"] for rate in (await ask(app, account_id, number=number))["data"]}
            holding = {
                str(rate.id)
                for rate in everything
                if rate.key.account_id in (None, account_id)
                and rate.key.country in (EVERY_COUNTRY, country_of(number))
                and number.startswith(rate.key.prefix)
            }
            assert shown == holding
