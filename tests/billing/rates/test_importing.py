"""Importing rates: all or nothing, every fault named, and twice is once."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec
import pytest

from ghasi.billing.accounts import admin as account_admin
from ghasi.billing.model import CurrencyFixedError, RatesError
from ghasi.billing.rates import admin as rate_admin
from ghasi.billing.rates.changes import ChangeKind, count_kinds
from ghasi.contract.values import new_id
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from tests.billing.conftest import Messages, Sms

WHO = "operator:ann"


async def imported(pool: Pool, text: str) -> dict[ChangeKind, int]:
    """What an import did, which is what trying it before says."""
    tried = count_kinds(await rate_admin.try_import(pool, text))
    done = count_kinds(await rate_admin.import_rates(pool, text, WHO))
    if done != tried:  # another import came between
        assert done.keys() == {"unchanged"}
    return dict(done)


async def test_the_default_rate_is_there(pool: Pool) -> None:
    (rate,) = await rate_admin.list_rates(pool)
    assert (rate.key.country, rate.key.currency, rate.amount_micros) == ("*", "USD", 45000)


async def test_a_file_adds_its_rates_once(pool: Pool) -> None:
    text = (
        "\ufeffCountry, amount ,currency,valid_from\r\n\r\naf,0.05,,\r\nDE,0.1,usd,2026-12-01\r\n"
        "*,0.045,USD,2027-01-01T04:30:00+04:30\r\n"
    )
    assert await imported(pool, text) == {"added": 2, "repeated": 1}
    rates = await rate_admin.list_rates(pool)
    assert [(rate.key.country, rate.amount_micros) for rate in rates] == [
        ("*", 45000), ("*", 45000), ("AF", 50000), ("DE", 100_000),
    ]  # fmt: skip
    assert rates[1].valid_from == datetime(2027, 1, 1, tzinfo=UTC)
    assert rates[3].valid_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert await imported(pool, text) == {"unchanged": 3}
    assert await rate_admin.list_rates(pool) == rates
    (entry,) = await audit.list_entries(pool)
    assert (entry.actor, entry.action) == (WHO, "rates.imported")


async def told(pool: Pool, kind: str) -> list[tuple[object, ...]]:
    rows = await pool.fetch("SELECT account_id, subject_id, sequence, data FROM billing.outbox WHERE type = $1", kind)
    return [(*tuple(row)[:3], msgspec.json.decode(row["data"])) for row in rows]


async def test_each_rate_that_is_imported_is_told(pool: Pool) -> None:
    nobody = UUID(int=0)
    text = "country,amount,currency,valid_from\nAF,0.05,USD,2026-12-01T04:30:00+04:30\n*,6.5,JPY,2026-01-01\n"
    await rate_admin.import_rates(pool, text, WHO)
    expected = [
        (
            nobody, rate.id, 1,
            {"id": str(rate.id), **rate.key._asdict(), "account_id": None, "tiers": [],
             "amount_micros": rate.amount_micros, "valid_from": rate.valid_from.isoformat()},
        )
        for rate in await rate_admin.list_rates(pool)
        if rate.valid_from.year > 1970
    ]  # fmt: skip
    assert sorted(await told(pool, "rate.created"), key=str) == sorted(expected, key=str)
    assert len(expected) == 2
    with pytest.raises(RatesError):
        await rate_admin.import_rates(pool, "country,amount\nAF,0.07\nXX,1\n", WHO)
    await rate_admin.import_rates(pool, text, WHO)
    assert len(await told(pool, "rate.created")) == 2


async def test_ten_imports_at_once_are_one(pool: Pool) -> None:
    done = await asyncio.gather(*(imported(pool, "country,amount\nAF,0.05\n") for _ in range(10)))
    assert sorted(done, key=str) == [{"added": 1}, *[{"unchanged": 1}] * 9]
    assert len(await rate_admin.list_rates(pool)) == 2


async def test_a_correction_of_the_same_moment_replaces(pool: Pool, messages: Messages) -> None:
    for amount in ("0.05", "0.06"):
        await rate_admin.import_rates(pool, f"country,amount,valid_from\nAF,{amount},2026-01-01\n", WHO)
    await messages.happen(Sms())
    assert await pool.fetchval("SELECT unit_micros FROM billing.charges") == 60000


FAULTS = [
    ("", ["line 1: the header row lacks amount, country or prefix"]),
    ("AF,0.05\n", ["line 1: the header row lacks"]),
    ("country,amount,price\n", ["unknown column 'price'"]),
    ("country,amount,amount\n", ["twice"]),
    ("country,amount\n", ["no rates"]),
    (
        "country,amount\nAF,0.05\nXX,0.05\nDE,-1\nFR,0.05,USD\nES,1e3\nIT,0.0000001\nPT,NaN\nUK,0.1\n,1\nGB,\n",
        [
            "line 3: 'XX' is no country", "line 4: '-1' is no amount", "line 5: 3 values for 2 columns",
            "line 6: '1e3'", "line 7: '0.0000001'", "line 8: 'NaN'", "line 9: 'UK'", "line 10: ''", "line 11: ''",
        ],
    ),
    ("country,amount,currency\nAF,1,DOLLAR\n", ["line 2: 'DOLLAR' is no currency"]),
    ("country,amount,currency\nAF,1,EUR\n", ["line 2: EUR has no rate for *"]),
    (
        "country,amount,valid_from\nAF,1,yesterday\nDE,1,2026-01-01T00:00:00\nFR,1,1026-01-01\nES,1,2026-13-01\n",
        ["line 2: 'yesterday'", "line 3:", "line 4:", "line 5:"],
    ),
    ("country,amount\nAF,1\nDE,2\nAF,3\n", ["line 4: line 2 has these conditions"]),
    ('country,amount\nAF,1\n"DE,2\n', ["not CSV"]),
    ("country,amount\nAF,\0001\n", ["line 2:"]),
]  # fmt: skip


async def test_every_fault_is_named_and_nothing_imported(pool: Pool) -> None:
    for text, faults in FAULTS:
        with pytest.raises(RatesError) as raised:
            await rate_admin.import_rates(pool, text, WHO)
        for fault in faults:
            assert fault in str(raised.value)
    assert len(await rate_admin.list_rates(pool)) == 1


async def test_rates_are_append_only(pool: Pool) -> None:
    for statement in ("UPDATE billing.rates SET amount_micros = 1", "DELETE FROM billing.rates"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed"):
            await pool.execute(statement)


async def test_an_account_is_billed_in_the_currency_chosen_before_its_first_message(
    pool: Pool, messages: Messages
) -> None:
    yen, dollar = new_id(), new_id()
    with pytest.raises(RatesError, match="JPY has no rate"):
        await account_admin.set_currency(pool, yen, "JPY", WHO)
    await rate_admin.import_rates(pool, "country,amount,currency,valid_from\n*,6.5,JPY,2026-01-01\n", WHO)
    await account_admin.set_currency(pool, yen, "JPY", WHO)
    await account_admin.set_currency(pool, yen, "JPY", WHO)
    await messages.happen(Sms(account_id=yen), Sms(account_id=dollar))
    charged = await pool.fetch("SELECT account_id, currency, amount_micros FROM billing.charges")
    assert {tuple(row) for row in charged} == {(yen, "JPY", 6_500_000), (dollar, "USD", 45000)}
    with pytest.raises(CurrencyFixedError, match="billed in USD already"):
        await account_admin.set_currency(pool, dollar, "JPY", WHO)
    # told once, by whoever fixed it
    assert sorted(await told(pool, "billing_account.updated"), key=str) == sorted(
        [
            (account_id, account_id, 1, {"account_id": str(account_id), "currency": currency})
            for account_id, currency in ((yen, "JPY"), (dollar, "USD"))
        ],
        key=str,
    )
