"""`ghasi admin webhooks`: which endpoints fail or were disabled, and enabling one again."""

from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import RowLimit, print_line, print_rows
from ghasi.storage.resources import Resources
from ghasi.webhooks.endpoints import admin
from ghasi.webhooks.model import Endpoint

webhooks = App(name="webhooks")

HERE = Operator()
COLUMNS = ("id", "account_id", "url", "state", "failing_since", "events")


def _row(endpoint: Endpoint) -> dict[str, Any]:
    known = ("id", "account_id", "url", "events", "enabled", "disabled_reason", "failing_since")
    return fields(endpoint, *known, "created_at", "updated_at") | {"state": _state(endpoint)}


def _state(endpoint: Endpoint) -> str:
    if not endpoint.enabled:
        return "disabled" if endpoint.disabled_reason is None else f"disabled: {endpoint.disabled_reason}"
    return "enabled" if endpoint.failing_since is None else "failing"


@webhooks.command(name="list")
def list_webhooks(
    *,
    account: UUID | None = None,
    failing: Annotated[
        bool, Parameter(help="Those alone that fail, or did when they were disabled", negative="")
    ] = False,
    limit: RowLimit = 1000,
    operator: OperatorFlags = HERE,
) -> None:
    """List the endpoints of one account or of all, newest first; URLs lack their query, which may hold a secret."""

    async def read(it: Resources) -> list[Endpoint]:
        return await admin.list_webhooks(it.pool, account, failing=failing, most=limit)

    print_rows([_row(endpoint) for endpoint in do(operator, "webhooks", read)], as_json=operator.json, columns=COLUMNS)


@webhooks.command(name="enable")
def enable_webhook(webhook: UUID, *, operator: OperatorFlags = HERE) -> None:
    """Enable an endpoint that was disabled: it gets what happens from now on."""
    enabled = do(operator, "webhooks", lambda it: admin.enable_webhook(it.pool, webhook, actor=operator.actor))
    print_line(f"{enabled.url} of account {enabled.account_id} is enabled", _row(enabled), as_json=operator.json)
