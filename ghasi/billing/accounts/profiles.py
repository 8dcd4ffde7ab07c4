"""Billing profiles: what customers want to be called on invoices. Owners set theirs, operators anybody's.

Invoices that are open keep what they said when they were opened.
"""

import unicodedata
from datetime import UTC, datetime
from uuid import UUID

from ghasi.billing.accounts import queries
from ghasi.billing.accounts.queries import Profile
from ghasi.contract import shapes
from ghasi.contract.errors import Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.values import is_language_tag, optional_rfc3339
from ghasi.storage import audit
from ghasi.storage.pool import Connection, Pool


async def get_profile(pool: Pool, caller: Caller) -> shapes.BillingProfile:
    """Return the account's billing profile; one that was never set says nothing."""
    return _shape(
        await queries.find_profile(pool, caller.account_id), await queries.find_customer_name(pool, caller.account_id)
    )


async def update_profile(
    pool: Pool, caller: Caller, body: shapes.BillingProfileInput, *, request_id: str
) -> shapes.BillingProfile:
    """Set the account's billing profile as a whole.

    Raises Problem user_required, owner_required, or invalid_request for text that cannot be printed.
    """
    if caller.is_api_key:
        raise Problem("user_required")
    profile = _profile(body)
    async with pool.acquire() as connection, connection.transaction():
        if not await queries.is_owner(connection, caller.account_id, caller.user_id):
            raise Problem("owner_required")
        await _set(connection, caller.account_id, profile, f"user:{caller.user_id}", request_id)
        return _shape(profile, await queries.find_customer_name(connection, caller.account_id))


async def set_profile(pool: Pool, account_id: UUID, body: shapes.BillingProfileInput, actor: str) -> Profile:
    """Set an account's billing profile as a whole, for an operator; raises Problem invalid_request."""
    profile = _profile(body)
    async with pool.acquire() as connection, connection.transaction():
        await _set(connection, account_id, profile, actor, None)
    return profile


async def find_profile(pool: Pool, account_id: UUID) -> Profile | None:
    """Return an account's billing profile, for an operator."""
    return await queries.find_profile(pool, account_id)


async def _set(connection: Connection, account_id: UUID, profile: Profile, actor: str, request_id: str | None) -> None:
    before = await queries.find_profile(connection, account_id)
    await queries.set_profile(connection, account_id, profile)
    await audit.record(
        connection, actor=actor, action="billing_profile.set", subject=str(account_id), account_id=account_id,
        request_id=request_id, before=before and before._asdict(), after=profile._asdict(),
    )  # fmt: skip


def _profile(body: shapes.BillingProfileInput) -> Profile:
    for name in ("legal_name", "tax_id", "email"):
        _check_text(name, getattr(body, name))
    for line in body.address:
        _check_text("address", line)
    if body.locale is not None and not is_language_tag(body.locale):
        raise invalid("locale", "must be a BCP 47 language tag, such as en-GB")
    return Profile(body.legal_name, tuple(body.address), body.tax_id, body.email, body.locale, datetime.now(UTC))


def _check_text(name: str, text: str | None) -> None:
    """Raise Problem invalid_request for what shows nothing, or breaks or turns the line it is printed on."""
    if text is None:
        return
    kinds = {unicodedata.category(char) for char in text}
    if not text.strip() or kinds & {"Cc", "Zl", "Zp"}:
        raise invalid(name, "must have something to read and no control characters")


def _shape(profile: Profile | None, account_name: str | None) -> shapes.BillingProfile:
    return shapes.BillingProfile(
        account_name=account_name,
        legal_name=profile.legal_name if profile else None,
        address=list(profile.address) if profile else [],
        tax_id=profile.tax_id if profile else None,
        email=profile.email if profile else None,
        locale=profile.locale if profile else None,
        updated_at=optional_rfc3339(profile.updated_at if profile else None),
    )
