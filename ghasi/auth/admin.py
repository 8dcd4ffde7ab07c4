"""What operators may see and change of accounts, users and signing keys; each change is audited with their name.

Prints nothing and asks nothing. An account's change is an event for the other services, in the same transaction.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import phonenumbers

from ghasi.auth import operator_queries, queries, signing_keys, user_queries
from ghasi.auth.events import account_updated
from ghasi.auth.model import Account, AccountEntry, AccountStatus, KeyEntry, SigningKey, UserEntry
from ghasi.auth.signing_keys import PUBLICATION_LEAD, key_state
from ghasi.auth.users import change_role
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.row import LIMIT_GROUPS
from ghasi.storage import audit
from ghasi.storage.events import outbox
from ghasi.storage.pool import Connection, Pool
from ghasi.storage.resources import Resources

_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MOST = 2**31 - 1
_ACCOUNT_LIMITS = tuple(group.name for group in LIMIT_GROUPS if group.per == "account")


async def list_accounts(pool: Pool, *, before: UUID | None = None, limit: int = 50) -> list[AccountEntry]:
    """Return accounts with their own limits, newest first, older than `before`."""
    return await operator_queries.list_accounts(pool, before, limit)


async def list_users(
    pool: Pool,
    *,
    account_id: UUID | None = None,
    email: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[UserEntry]:
    """Return users of one account or of all, removed ones too, newest first; an e-mail need not be one person's."""
    return await operator_queries.list_users(pool, account_id, email, before, limit)


async def set_status(resources: Resources, account_id: UUID, status: AccountStatus, *, operator: str) -> Account:
    """Suspend or activate an account; raises Problem not_found. It holds for new messages within a second."""

    async def change(connection: Connection) -> Account | None:
        return await operator_queries.set_status(connection, account_id, status)

    action = "account.suspended" if status == "suspended" else "account.activated"
    return await _change_account(resources, account_id, change, operator=operator, action=action)


async def set_countries(
    resources: Resources, account_id: UUID, countries: Iterable[str] | None, *, operator: str
) -> Account:
    """Allow an account to send to some countries (ISO 3166-1 alpha-2) or, with None, to all.

    Raises Problem not_found, or invalid_request where a country is none or the list is empty.
    """
    allowed = None if countries is None else sorted({country.upper() for country in countries})
    if allowed is not None:
        if not allowed:
            raise invalid("countries", "must name a country, or `all`; suspend an account that may send nowhere")
        unknown = [country for country in allowed if country not in phonenumbers.SUPPORTED_REGIONS]
        if unknown:
            raise invalid("countries", f"no ISO 3166-1 alpha-2 code: {', '.join(unknown)}")

    async def change(connection: Connection) -> Account | None:
        return await operator_queries.set_countries(connection, account_id, allowed)

    return await _change_account(
        resources, account_id, change, operator=operator, action="account.countries_set", countries=allowed
    )


async def set_daily_cap(resources: Resources, account_id: UUID, daily_cap: int | None, *, operator: str) -> Account:
    """Let an account send at most so many messages a UTC day, or, with None, any number.

    Raises Problem not_found, or invalid_request for a negative cap.
    """
    if daily_cap is not None and not 0 <= daily_cap <= _MOST:
        raise invalid("daily_cap", f"must be 0 to {_MOST}")

    async def change(connection: Connection) -> Account | None:
        return await operator_queries.set_daily_cap(connection, account_id, daily_cap)

    return await _change_account(
        resources, account_id, change, operator=operator, action="account.daily_cap_set", daily_cap=daily_cap
    )


async def _change_account(
    resources: Resources,
    account_id: UUID,
    change: Callable[[Connection], Awaitable[Account | None]],
    *,
    operator: str,
    action: str,
    **detail: object,
) -> Account:
    async with resources.pool.acquire() as connection, connection.transaction():
        account = await change(connection)
        if account is None:
            raise _no_account(account_id)
        await outbox.append(connection, "auth", [account_updated(account, datetime.now(UTC))])
        await _record(connection, operator, action, account_id, account_id, **detail)
    resources.bells.ring("auth")
    return account


async def set_limit(
    resources: Resources, account_id: UUID, group: str, per_minute: int | None, *, operator: str
) -> None:
    """Give an account its own limit per minute in a limit group, or, with None, the settings' one again.

    Raises Problem not_found, or invalid_request for a group that is not counted by account or a limit below 1.
    """
    if group not in _ACCOUNT_LIMITS:
        raise invalid("group", f"must be one of {', '.join(_ACCOUNT_LIMITS)}")
    if per_minute is not None and not 1 <= per_minute <= _MOST:
        raise invalid("per_minute", f"must be 1 to {_MOST}")
    async with resources.pool.acquire() as connection, connection.transaction():
        if await queries.lock_account(connection, account_id) is None:
            raise _no_account(account_id)
        if per_minute is None:
            await operator_queries.delete_limit(connection, account_id, group)
        else:
            await operator_queries.set_limit(connection, account_id, group, per_minute)
        await _record(
            connection, operator, "account.limit_set", account_id, account_id, group=group, per_minute=per_minute
        )


async def set_roles(
    resources: Resources,
    user_id: UUID,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    operator: str,
) -> list[str]:
    """Add roles to a user and take others away; return what the user has then. Tokens have it from their next refresh.

    Raises Problem not_found, or invalid_request for a role that is no lower-case word.
    """
    for role in (*add, *remove):
        if not _ROLE.fullmatch(role):
            raise invalid("role", f"must be a lower-case word of at most 32 characters: {role!r}")
    async with resources.pool.acquire() as connection, connection.transaction():
        before = await queries.find_user(connection, user_id)
        roles = await operator_queries.lock_roles(connection, user_id)
        if before is None or roles is None:
            raise _no_user(user_id)
        after = sorted({*roles, *add} - set(remove))
        await operator_queries.set_roles(connection, user_id, after)
        await _record(
            connection, operator, "user.roles_set", before.account_id, user_id, before=sorted(roles), after=after
        )
    return after


async def set_role(resources: Resources, user_id: UUID, role: shapes.Role, *, operator: str) -> None:
    """Make a user an owner of their account, or a member; it holds at once.

    Raises Problem not_found, also for a user who was removed, last_owner, or invalid_request for another role.
    """
    if role not in shapes.ROLES:
        raise invalid("role", f"must be one of {', '.join(shapes.ROLES)}")
    async with resources.pool.acquire() as connection, connection.transaction():
        user = await queries.find_user(connection, user_id)
        if user is None:
            raise _no_user(user_id)
        await queries.lock_account(connection, user.account_id)
        before = await user_queries.find_role(connection, user.account_id, user_id)
        if before is None:
            raise _no_user(user_id)
        if await change_role(connection, user.account_id, user_id, before, role, now=datetime.now(UTC)):
            await _record(
                connection, operator, "user.role_changed", user.account_id, user_id, before=before, after=role
            )


async def rotate_keys(
    resources: Resources, *, operator: str, lead: timedelta = PUBLICATION_LEAD, now: datetime | None = None
) -> KeyEntry:
    """Publish a new key, which signs access tokens after `lead`; the old one stays published while its tokens live."""
    at = now or datetime.now(UTC)
    async with resources.pool.acquire() as connection, connection.transaction():
        key = await signing_keys.rotate(connection, resources.sealer, now=at, lead=lead)
        await _record(connection, operator, "signing_key.rotated", None, key.kid)
        keys = await queries.list_signing_keys(connection)
    return _entry(key, keys, at)


async def list_keys(pool: Pool, *, now: datetime | None = None) -> list[KeyEntry]:
    """Return the signing keys with their states, newest first."""
    keys = await queries.list_signing_keys(pool)
    return [_entry(key, keys, now or datetime.now(UTC)) for key in keys]


def _entry(key: SigningKey, keys: Sequence[SigningKey], now: datetime) -> KeyEntry:
    return KeyEntry(key.kid, key_state(key, keys, now), key.created_at, key.signs_from, key.published_until)


async def _record(
    connection: Connection,
    operator: str,
    action: str,
    account_id: UUID | None,
    subject: UUID | str,
    **detail: object,
) -> None:
    await audit.record(
        connection,
        actor=f"operator:{operator}",
        action=action,
        subject=str(subject),
        account_id=account_id,
        request_id=None,
        **detail,
    )


def _no_user(user_id: UUID) -> Problem:
    return Problem("not_found", f"There is no user {user_id}.")


def _no_account(account_id: UUID) -> Problem:
    return Problem("not_found", f"There is no account {account_id}.")
