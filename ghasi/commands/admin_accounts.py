"""`ghasi admin accounts | users | keys | audit`: who may do what, and what was changed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from cyclopts import App, Parameter

from ghasi.auth import admin
from ghasi.auth.model import Account, AccountEntry, AccountStatus, KeyEntry, UserEntry
from ghasi.billing.accounts import admin as billing
from ghasi.billing.plans import admin as plan_admin
from ghasi.commands.failures import FAILED
from ghasi.commands.operator import Operator, OperatorFlags, do, do_with, fields
from ghasi.commands.output import RowLimit, count, print_line, print_row, print_rows
from ghasi.contract.errors import Problem
from ghasi.contract.shapes import Role
from ghasi.storage import audit as audit_log
from ghasi.storage import resealing
from ghasi.storage.databases import SERVICES
from ghasi.storage.resealing import Resealed
from ghasi.storage.resources import Resources

accounts = App(name="accounts")
_TERMS = {
    "billing-profile": "What an account is called on its invoices.",
    "taxes": "Taxes on an account's invoices, each on the subtotal.",
    "discounts": "What an account pays less, for some months or for good.",
}
for part, said in _TERMS.items():
    accounts.command(f"ghasi.commands.admin_terms:{part.replace('-', '_')}", name=part, help=said)
users = App(name="users")
keys = App(name="keys")
audit = App(name="audit")

T = TypeVar("T")
HERE = Operator()
LAST_ID = UUID(int=2**128 - 1)
AllOrNumber = Annotated[str, Parameter(help="A number, or `none`")]


def _account(account: Account) -> dict[str, Any]:
    return fields(account, "id", "name", "status", "countries", "daily_cap", "created_at")


def _entry(entry: AccountEntry) -> dict[str, Any]:
    return _account(entry.account) | {"limits": entry.limits}


@accounts.command(name="list")
def list_accounts(*, before: UUID | None = None, limit: RowLimit = 50, operator: OperatorFlags = HERE) -> None:
    """List accounts, newest first; `--before ID` goes on from there."""
    found = do(operator, "auth", lambda it: admin.list_accounts(it.pool, before=before, limit=limit))
    columns = ("id", "name", "status", "countries", "daily_cap", "limits", "created_at")
    print_rows([_entry(entry) for entry in found], as_json=operator.json, columns=columns)


@accounts.command(name="show")
def show_account(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """Show an account."""
    print_row(_entry(do(operator, "auth", lambda it: _get_account(it, account))), as_json=operator.json)


def do_billing(operator: Operator, account: UUID, action: Callable[[Resources], Awaitable[T]]) -> tuple[Account, T]:
    """Do something in billing for an account that there is in auth; raises Problem not_found."""

    async def act(its: Mapping[str, Resources]) -> tuple[Account, T]:
        known = await _get_account(its["auth"], account)
        return known.account, await action(its["billing"])

    return do_with(operator, ("auth", "billing"), act)


async def _get_account(it: Resources, account: UUID) -> AccountEntry:
    # ids sort, so the newest one before the next id is this one if it is there
    after = UUID(int=account.int + 1) if account != LAST_ID else None
    found = await admin.list_accounts(it.pool, before=after, limit=1)
    if not found or found[0].account.id != account:
        raise Problem("not_found", f"There is no account {account}.")
    return found[0]


@accounts.command(name="suspend")
def suspend_account(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """Suspend an account: within a second it may send no more."""
    _set_status(account, "suspended", operator)


@accounts.command(name="activate")
def activate_account(account: UUID, *, operator: OperatorFlags = HERE) -> None:
    """Let a suspended account send again."""
    _set_status(account, "active", operator)


def _set_status(account: UUID, status: AccountStatus, operator: Operator) -> None:
    changed = do(operator, "auth", lambda it: admin.set_status(it, account, status, operator=operator.name))
    print_line(f"{changed.name} is {changed.status}", _account(changed), as_json=operator.json)


@accounts.command(name="limits")
def set_limits(account: UUID, group: str, per_minute: AllOrNumber, *, operator: OperatorFlags = HERE) -> None:
    """Give an account a limit per minute of its own in a group (sends, reads, ...); `none` is the settings' again."""
    limit = _number(per_minute)
    do(operator, "auth", lambda it: admin.set_limit(it, account, group, limit, operator=operator.name))
    row = {"id": account, "group": group, "per_minute": limit}
    said = "the settings' limit" if limit is None else f"{limit} per minute"
    print_line(f"{group}: {said}", row, as_json=operator.json)


@accounts.command(name="countries")
def set_countries(account: UUID, *countries: str, operator: OperatorFlags = HERE) -> None:
    """Let an account send to these countries only (AF PK ...), or to `all`."""
    allowed = None if [country.lower() for country in countries] == ["all"] else countries
    changed = do(operator, "auth", lambda it: admin.set_countries(it, account, allowed, operator=operator.name))
    text = "every country" if changed.countries is None else ", ".join(changed.countries)
    print_line(f"{changed.name} may send to {text}", _account(changed), as_json=operator.json)


@accounts.command(name="cap")
def set_cap(account: UUID, messages: AllOrNumber, *, operator: OperatorFlags = HERE) -> None:
    """Let an account send so many messages a UTC day, or with `none` any number."""
    cap = _number(messages)
    changed = do(operator, "auth", lambda it: admin.set_daily_cap(it, account, cap, operator=operator.name))
    text = "any number of messages" if cap is None else count(cap, "message")
    print_line(f"{changed.name} may send {text} a day", _account(changed), as_json=operator.json)


@accounts.command(name="currency")
def set_currency(account: UUID, code: str, *, operator: OperatorFlags = HERE) -> None:
    """Choose the currency (USD, EUR ...) of an account that has not been charged yet."""
    currency = code.upper()

    known, _ = do_billing(
        operator, account, lambda it: billing.set_currency(it.pool, account, currency, operator.actor)
    )
    print_line(f"{known.name} is billed in {currency}", {"id": account, "currency": currency}, as_json=operator.json)


@accounts.command(name="plan")
def choose_plan(
    account: UUID,
    plan: Annotated[str, Parameter(help="A plan's name, or `none`")],
    *,
    from_: Annotated[
        str | None, Parameter(name="--from", help="A month: YYYY-MM; by default the next possible")
    ] = None,
    operator: OperatorFlags = HERE,
) -> None:
    """Give an account a plan from a month on, or take it off: this month while it has no usage, else the next."""
    known, chosen = do_billing(
        operator, account, lambda it: plan_admin.choose_plan(it.pool, account, plan, operator.actor, from_)
    )
    month = f"{chosen.from_month:%Y-%m}"
    row = {"id": account, "plan": chosen.plan, "from": month}
    print_line(f"{known.name} has {chosen.plan or 'no plan'} from {month} on", row, as_json=operator.json)


def _number(text: str) -> int | None:
    if text.lower() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise Problem("invalid_request", f"{text!r} is neither a number nor `none`") from None


@users.command(name="list")
def list_users(
    *,
    account: UUID | None = None,
    email: str | None = None,
    before: UUID | None = None,
    limit: RowLimit = 50,
    operator: OperatorFlags = HERE,
) -> None:
    """List users, newest first, of one account or of all; those who were removed too."""

    def row(entry: UserEntry) -> dict[str, Any]:
        user = fields(entry.user, "id", "account_id", "account_name", "email", "name", "role", "roles")
        return user | fields(entry, "created_at", "signed_in_at", "removed_at")

    found = do(
        operator,
        "auth",
        lambda it: admin.list_users(it.pool, account_id=account, email=email, before=before, limit=limit),
    )
    columns = ("id", "email", "name", "role", "roles", "account_id", "signed_in_at", "removed_at")
    print_rows([row(entry) for entry in found], as_json=operator.json, columns=columns)


@users.command(name="roles")
def set_roles(
    user: UUID, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), operator: OperatorFlags = HERE
) -> None:
    """Give a user's tokens roles and take others away; tokens have it from their next refresh."""
    roles = do(operator, "auth", lambda it: admin.set_roles(it, user, add=add, remove=remove, operator=operator.name))
    print_line(f"roles: {', '.join(roles) or 'none'}", {"id": user, "roles": roles}, as_json=operator.json)


@users.command(name="role")
def set_role(user: UUID, role: Role, *, operator: OperatorFlags = HERE) -> None:
    """Make a user an owner of their account, or a member; an account keeps one owner at least."""
    do(operator, "auth", lambda it: admin.set_role(it, user, role, operator=operator.name))
    print_line(f"role: {role}", {"id": user, "role": role}, as_json=operator.json)


def _key(entry: KeyEntry) -> dict[str, Any]:
    return fields(entry, "kid", "state", "created_at", "signs_from", "published_until")


@keys.command(name="list")
def list_keys(*, operator: OperatorFlags = HERE) -> None:
    """List the keys that sign access tokens, newest first."""
    found = do(operator, "auth", lambda it: admin.list_keys(it.pool))
    columns = ("kid", "state", "created_at", "signs_from", "published_until")
    print_rows([_key(entry) for entry in found], as_json=operator.json, columns=columns)


@keys.command(name="rotate")
def rotate_keys(*, operator: OperatorFlags = HERE) -> None:
    """Publish a new key, which signs a little later; tokens of the old one stay good until they expire."""
    made = do(operator, "auth", lambda it: admin.rotate_keys(it, operator=operator.name))
    print_line(f"{made.kid} signs from {made.signs_from:%Y-%m-%d %H:%M:%S}", _key(made), as_json=operator.json)


@keys.command(name="reseal")
def reseal_secrets(*, operator: OperatorFlags = HERE) -> int:
    """Seal all secrets under the first key of GHASI_SECRET_KEY, while everything runs; it can be repeated."""

    async def act(its: Mapping[str, Resources]) -> Resealed:
        sealer = its["auth"].sealer
        return await resealing.reseal_all({name: it.pool for name, it in its.items()}, sealer, actor=operator.actor)

    done = do_with(operator, SERVICES, act)
    print_line("\n".join(_resealed(done)), msgspec.to_builtins(done), as_json=operator.json)
    return FAILED if done.unreadable else 0


def _resealed(done: Resealed) -> list[str]:
    said = [f"{count(done.resealed, 'value')} sealed anew under the first key, {done.current} were under it before"]
    said += [f"{count(number, 'value')} in {table}: no key opens it" for table, number in done.unreadable.items()]
    if not done.old_keys_needed:
        return [*said, "no other key is needed here; backups made until now need the one before"]
    if done.unreadable:
        return [*said, "keep all keys, and add the one that is missing"]
    return [*said, "keep the other keys: a process still seals with one; put the first in front everywhere, and repeat"]


@audit.command(name="list")
def list_audit(*, account: UUID | None = None, limit: RowLimit = 50, operator: OperatorFlags = HERE) -> None:
    """List what was changed, newest first, whichever database it is in."""
    found = do_with(
        operator, SERVICES,
        lambda its: audit_log.list_all_entries({it.pool for it in its.values()}, account_id=account, limit=limit),
    )  # fmt: skip

    def row(entry: audit_log.Entry) -> dict[str, Any]:
        known = fields(entry, "id", "at", "actor", "action", "subject", "account_id", "request_id")
        return known | {"detail": msgspec.json.decode(entry.detail)}

    columns = ("at", "actor", "action", "subject", "account_id", "detail")
    print_rows([row(entry) for entry in found], as_json=operator.json, columns=columns)
