"""What operators do about endpoints: see which fail or are disabled, and enable one again.

A URL is shown without its query, which may hold a customer's secret. Each change is in the audit log.
"""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from ghasi.contract.errors import Problem
from ghasi.storage import audit
from ghasi.storage.pool import Pool
from ghasi.webhooks.endpoints import queries
from ghasi.webhooks.endpoints.notices import without_query
from ghasi.webhooks.model import Endpoint


async def list_webhooks(
    pool: Pool, account_id: UUID | None = None, *, failing: bool = False, most: int = 1000
) -> list[Endpoint]:
    """Return an account's endpoints or all accounts', newest first; `failing`: those that fail or did till disabled."""
    found = await queries.list_everybodys(pool, account_id, failing=failing, most=most)
    return [replace(endpoint, url=without_query(endpoint.url)) for endpoint in found]


async def enable_webhook(pool: Pool, endpoint_id: UUID, *, actor: str) -> Endpoint:
    """Enable an endpoint again, whoever disabled it, as one that never failed; raises Problem not_found.

    What was canceled meanwhile stays so. One that is enabled is left as it is.
    """
    async with pool.acquire() as connection, connection.transaction():
        account_id = await queries.find_account(connection, endpoint_id)
        before = None if account_id is None else await queries.lock_endpoint(connection, account_id, endpoint_id)
        if before is None:
            raise Problem("not_found", f"There is no endpoint {endpoint_id}.")
        after = before
        if not before.enabled:
            after = replace(
                before, enabled=True, disabled_reason=None, failing_since=None, updated_at=datetime.now(UTC)
            )
            await queries.update_endpoint(connection, after, None, headers_kept=True, pending_dropped=False)
            await audit.record(
                connection,
                actor=actor,
                action="webhook.enabled",
                subject=str(endpoint_id),
                account_id=before.account_id,
                disabled_reason=before.disabled_reason,
            )
    return replace(after, url=without_query(after.url))
