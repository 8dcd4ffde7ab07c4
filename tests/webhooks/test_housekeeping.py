"""Old rows go, in the order that keeps what still needs them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ghasi.contract.values import first_id
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.webhooks.conftest import QUICK, Customer, until, working


def id_of(age_days: int, number: int) -> UUID:
    return UUID(int=first_id(datetime.now(UTC) - timedelta(days=age_days)).int + number)


async def test_what_is_older_than_30_days_goes(resources: Resources, pool: Pool, customer: Customer) -> None:
    kept, deleted = await customer.create("https://example.com/"), await customer.create("https://example.org/")
    await customer.call("DELETE", f"/v1/webhooks/{deleted['id']}")
    await pool.execute(
        "UPDATE webhooks.endpoints SET deleted_at = now() - interval '31 days' WHERE deleted_at IS NOT NULL"
    )
    old, pending, new = id_of(31, 1), id_of(31, 2), id_of(29, 3)
    for event_id in (old, pending, new):
        await pool.execute(
            "INSERT INTO webhooks.events VALUES ($1, $2, $1, 'message.sent', now() - $3::interval, '{}')",
            event_id,
            customer.account_id,
            timedelta(days=29 if event_id == new else 31),
        )
    for endpoint, event_id in ((kept, old), (kept, new), (deleted, old)):
        await pool.execute(
            "INSERT INTO webhooks.deliveries VALUES ($1, $2, now(), 8, 8, NULL, NULL, 'exhausted')",
            endpoint["id"],
            event_id,
        )
        await pool.execute(
            "INSERT INTO webhooks.attempts VALUES ($1, $2, 1, now(), 5, 500, 'status: 500')", endpoint["id"], event_id
        )
    await pool.execute("INSERT INTO webhooks.pending VALUES ($1, $2, now() + interval '1 hour')", kept["id"], pending)
    await pool.execute(
        """
        INSERT INTO webhooks.idempotency_keys
        VALUES ($1, 'old', '', $1, now() - interval '25 hours'), ($1, 'new', '', $1, now() - interval '23 hours')
        """,
        customer.account_id,
    )
    async with working(resources, replace(QUICK, housekeeping_s=0.05)):
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.endpoints"))
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM webhooks.idempotency_keys"))
    assert {row["id"] for row in await pool.fetch("SELECT id FROM webhooks.events")} == {pending, new}
    for table in ("deliveries", "attempts"):
        rows = await pool.fetch(f"SELECT endpoint_id::text, event_id FROM webhooks.{table}")
        assert [tuple(row) for row in rows] == [(kept["id"], new)]
    assert await pool.fetchval("SELECT key FROM webhooks.idempotency_keys") == "new"
