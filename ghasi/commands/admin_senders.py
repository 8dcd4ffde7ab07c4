"""`ghasi admin senders`: which numbers, short codes and names belong to whom."""

from typing import Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter

from ghasi.commands.operator import Operator, OperatorFlags, do, fields
from ghasi.commands.output import RowLimit, print_line, print_rows
from ghasi.contract.values import id_time
from ghasi.messages.senders import admin as sender_admin
from ghasi.messages.senders.queries import SenderPolicy, StoredSender
from ghasi.storage.resources import Resources

senders = App(name="senders")

HERE = Operator()
COLUMNS = ("address", "kind", "account_id", "countries", "default", "pool", "created_at")


def _row(sender: StoredSender) -> dict[str, Any]:
    known = fields(sender, "id", "account_id", "address", "kind", "countries")
    return known | {"default": sender.is_default, "pool": sender.in_pool, "created_at": id_time(sender.id)}


@senders.command(name="list")
def list_senders(*, account: UUID | None = None, limit: RowLimit = 1000, operator: OperatorFlags = HERE) -> None:
    """List the senders of one account or of all, newest first."""
    found = do(operator, "messages", lambda it: sender_admin.list_senders(it.pool, account, limit))
    print_rows([_row(sender) for sender in found], as_json=operator.json, columns=COLUMNS)


@senders.command(name="add")
def add_sender(
    account: UUID,
    address: str,
    *,
    countries: Annotated[str | None, Parameter(help="Where it may be used (AF,PK); everywhere by default")] = None,
    default: Annotated[bool, Parameter(help="Take it for messages without `from`", negative="")] = False,
    pool: Annotated[bool, Parameter(help="Take turns with others of the pool", negative="")] = False,
    operator: OperatorFlags = HERE,
) -> None:
    """Give an account a number (+93...), a short code or a name."""
    allowed = None if countries is None else [one for one in countries.split(",") if one.strip()]
    added = do(
        operator,
        "messages",
        lambda it: sender_admin.add_sender(
            it.pool, account, address, countries=allowed, default=default, in_pool=pool, actor=operator.actor
        ),
    )
    print_line(f"{added.address} belongs to account {account}", _row(added), as_json=operator.json)


@senders.command(name="remove")
def remove_sender(account: UUID, address: str, *, operator: OperatorFlags = HERE) -> None:
    """Take a sender from an account: what is sent to it from now on is nobody's."""
    gone = do(
        operator, "messages", lambda it: sender_admin.remove_sender(it.pool, account, address, actor=operator.actor)
    )
    print_line(f"{address} does not belong to account {account} any more", _row(gone), as_json=operator.json)


@senders.command(name="countries")
def set_countries(account: UUID, address: str, *countries: str, operator: OperatorFlags = HERE) -> None:
    """Let a sender be used for these countries only (AF PK ...), or for `all`."""
    named = [one for given in countries for one in given.split(",") if one.strip()]
    allowed = None if [one.lower() for one in named] == ["all"] else named
    changed = do(
        operator,
        "messages",
        lambda it: sender_admin.set_countries(it.pool, account, address, allowed, actor=operator.actor),
    )
    text = "every country" if changed.countries is None else ", ".join(changed.countries)
    print_line(f"{address} may be used for {text}", _row(changed), as_json=operator.json)


@senders.command(name="policy")
def set_policy(
    account: UUID, policy: Literal["any", "listed"] | None = None, *, operator: OperatorFlags = HERE
) -> None:
    """Let an account send as `any` sender that nobody else has, or only as those `listed` for it; else show which."""

    async def choose(it: Resources) -> SenderPolicy:
        if policy is not None:
            await sender_admin.set_policy(it.pool, account, policy, actor=operator.actor)
        return await sender_admin.get_policy(it.pool, account)

    chosen = do(operator, "messages", choose)
    text = "any sender that no other account has" if chosen == "any" else "its listed senders only"
    print_line(f"the account may send as {text}", {"id": account, "policy": chosen}, as_json=operator.json)
