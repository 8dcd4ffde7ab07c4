"""The account as the people in it see it and name it, and how each of them reads times and money.

Who may do what is read from the database at each change, never from the token: a role may have changed since.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from ghasi.auth import queries, user_queries
from ghasi.auth.events import account_updated
from ghasi.auth.model import Account
from ghasi.auth.service import require_user
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import is_language_tag, rfc3339, zone_names
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool

_JOINERS = "\u200c\u200d"
"""Not printable by themselves, and part of how Persian and many emoji are written."""


async def get_account(pool: Pool, caller: Caller) -> shapes.AccountDetail:
    """Return the account and the caller's role in it; raises Problem user_required or user_not_found."""
    require_user(caller)
    found = await user_queries.find_account(pool, caller.account_id, caller.user_id)
    if found is None:
        raise Problem("user_not_found")
    return _shape(*found)


async def update_account(
    pool: Pool,
    caller: Caller,
    body: shapes.AccountInput,
    *,
    changed: Callable[[], None],
    now: datetime,
    request_id: str,
) -> shapes.AccountDetail:
    """Rename the account, and call `changed` once that is committed.

    Raises Problem user_required, user_not_found, owner_required, or invalid_request for a name that nobody could read.
    """
    require_user(caller)
    name = body.name.strip()
    if not name or any(not char.isprintable() and char not in _JOINERS for char in name):
        raise invalid("name", "must have something to read and no control characters")
    async with pool.acquire() as connection, connection.transaction():
        role = await lock_for_owner(connection, caller)
        before = await user_queries.find_account(connection, caller.account_id, caller.user_id)
        account = await user_queries.rename_account(connection, caller.account_id, name)
        await outbox.append(connection, "auth", [account_updated(account, now)])
        await record(
            connection, caller, "account.renamed", caller.account_id, request_id,
            before=before[0].name if before else None, after=name,
        )  # fmt: skip
    changed()
    return _shape(account, role)


async def get_preferences(pool: Pool, caller: Caller) -> shapes.Preferences:
    """Return the caller's time zone and locale; raises Problem user_required or user_not_found."""
    require_user(caller)
    found = await user_queries.find_preferences(pool, caller.account_id, caller.user_id)
    if found is None:
        raise Problem("user_not_found")
    return found


async def update_preferences(pool: Pool, caller: Caller, body: shapes.PreferencesInput) -> shapes.Preferences:
    """Set the caller's time zone and locale; access tokens have them from the next refresh.

    Raises Problem user_required, user_not_found, or invalid_request for a time zone that the IANA database does not
    have and for a locale that has not the form of a language tag (BCP 47).
    """
    require_user(caller)
    # the names are read from the disk the first time
    if body.time_zone is not None and body.time_zone not in await asyncio.to_thread(zone_names):
        raise invalid("time_zone", "must be an IANA time zone, such as Asia/Kabul")
    if body.locale is not None and not is_language_tag(body.locale):
        raise invalid("locale", "must be a BCP 47 language tag, such as en-GB")
    found = await user_queries.set_preferences(
        pool, caller.account_id, caller.user_id, time_zone=body.time_zone, locale=body.locale
    )
    if found is None:
        raise Problem("user_not_found")
    return found


async def lock_for_owner(connection: Connection, caller: Caller) -> shapes.Role:
    """Hold the account's row, within a transaction: what owners change, they change one at a time.

    Raises Problem user_not_found for a caller who is not in the account any more, or owner_required.
    """
    role = await lock_for_member(connection, caller)
    if role != "owner":
        raise Problem("owner_required")
    return role


async def lock_for_member(connection: Connection, caller: Caller) -> shapes.Role:
    """Hold the account's row as lock_for_owner does, and return the caller's role; raises Problem user_not_found."""
    await queries.lock_account(connection, caller.account_id)
    return await get_role(connection, caller)


async def get_role(connection: Connection | Pool, caller: Caller) -> shapes.Role:
    """Return the caller's role in the account; raises Problem user_not_found where they are not in it any more."""
    role = await user_queries.find_role(connection, caller.account_id, caller.user_id)
    if role is None:
        raise Problem("user_not_found")
    return role


async def record(
    connection: Connection, caller: Caller, action: str, subject: UUID, request_id: str, **detail: object
) -> None:
    """Write what a person changed to the audit log."""
    await audit.record(
        connection,
        actor=f"user:{caller.user_id}",
        action=action,
        subject=str(subject),
        account_id=caller.account_id,
        request_id=request_id,
        **detail,
    )


def _shape(account: Account, role: shapes.Role) -> shapes.AccountDetail:
    return shapes.AccountDetail(
        id=str(account.id),
        name=account.name,
        status=account.status,
        role=role,
        created_at=rfc3339(account.created_at),
    )
