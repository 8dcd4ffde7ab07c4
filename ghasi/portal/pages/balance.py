"""What an account has and may still spend: the balance, what moved it, and a limit that it sets itself.

Owns how these are shown. What is held, what is left and whether messages are refused is the API's to say.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.contract.shapes import Balance, BalanceTransaction, SpendingAlert, TransactionKind
from ghasi.portal.access import signed_in
from ghasi.portal.failures import explain
from ghasi.portal.formats import write_day, write_month
from ghasi.portal.forms import input_errors, read_form, sentence
from ghasi.portal.pages.opening import is_id, reader_for
from ghasi.portal.pages.paging import Place, place_of, refuse_place
from ghasi.portal.pages.ranges import next_month
from ghasi.portal.rendering import Toast, page, part
from ghasi.portal.sessions import Visit

PATH = "/billing/balance"
PAGE_ROWS = 25
KINDS: dict[TransactionKind, str] = {
    "top_up": "Top-up", "correction": "Correction", "usage": "Messages", "invoice": "Invoice", "payment": "Payment",
    "void": "Invoice voided", "uncollectible": "Invoice written off", "credit_note": "Credit note",
}  # fmt: skip
MARKS = (50, 80, 100)
"""Percents of a limit at which the API alerts."""
NEARLY = 80
NOT_AN_AMOUNT = "Enter an amount such as 250.00, or nothing."
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bar:
    """How much of a limit is used, in percent: `spent` of it, and `taken` with what is held; both end at 100."""

    spent: Decimal
    taken: Decimal

    @property
    def tone(self) -> str:
        """How near the limit is."""
        whole = MARKS[-1]
        return "bad" if self.taken >= whole else "warn" if self.spent >= NEARLY else "primary"


def bar_of(balance: Balance) -> Bar | None:
    """Return how much of the month's limit is used; None where there is no limit."""
    if balance.spending_limit is None:
        return None
    limit, spent = Decimal(balance.spending_limit), Decimal(balance.spent)
    taken = spent + Decimal(balance.held)
    if balance.payment == "postpaid" and balance.available is not None:
        # not by what is held: messages for the months to come are no burden of this one's limit
        taken = limit - Decimal(balance.available)
    return Bar(_percent(spent, limit), _percent(max(spent, taken), limit))


def _percent(amount: Decimal, limit: Decimal) -> Decimal:
    whole = Decimal(MARKS[-1])
    return whole if limit <= 0 else round(min(whole, max(Decimal(0), amount / limit * whole)), 2)


async def show_balance(request: Request, visit: Visit) -> Response:
    """Show the places of the balance, of the own limit and of what moved the balance; each loads by itself."""
    kind = _kind(request)
    return page(
        "billing/balance.html",
        visit=visit,
        kinds=[("", "All"), *KINDS.items()],
        chosen_kind=kind or "",
        list_path=_place(request, kind).path(f"{PATH}/transactions"),
    )


def _kind(request: Request) -> TransactionKind | None:
    asked = request.query_params.get("kind")
    known: tuple[TransactionKind, ...] = get_args(TransactionKind)
    return next((one for one in known if one == asked), None)


def _place(request: Request, kind: TransactionKind | None) -> Place:
    return place_of(request, {"kind": kind} if kind else {})


async def show_card(_: Request, visit: Visit) -> Response:
    """Show what there is, what is held and what may still be spent."""
    balance = await visit.ask(lambda api: api.get_balance())
    return part("billing/balance_card.html", visit=visit, **_shown(visit, balance))


async def show_refusal(_: Request, visit: Visit) -> Response:
    """Say that messages are refused, on pages about something else; when that cannot be known, nobody is told."""
    try:
        balance = await visit.ask(lambda api: api.get_balance())
    except (ApiError, ApiUnreachableError) as error:
        explain(error)
        return Response(media_type="text/html")
    if balance.status == "ok":
        return Response(media_type="text/html")
    return part("billing/refusal.html", visit=visit, **_shown(visit, balance))


def _shown(visit: Visit, balance: Balance) -> dict[str, Any]:
    reader = reader_for(visit)
    month = _this_month()
    return {
        "balance": balance,
        "bar": bar_of(balance),
        "marks": MARKS,
        "month": write_month(month, reader),
        "goes_on": write_day(next_month(month), reader),
        "alerts": last_alerts(balance),
    }


def _this_month() -> date:
    return datetime.now(UTC).date().replace(day=1)


def last_alerts(balance: Balance) -> list[SpendingAlert]:
    """Return the last alert of each kind, that of the limit first."""
    last = {alert.kind: alert for alert in sorted(balance.alerts, key=lambda alert: alert.threshold_percent)}
    return [last[kind] for kind in ("spending_limit", "balance") if kind in last]


async def show_transactions(request: Request, visit: Visit) -> Response:
    """Show one page of what moved the balance."""
    kind = _kind(request)
    place = _place(request, kind)
    try:
        found = await visit.ask(
            lambda api: api.list_balance_transactions(limit=PAGE_ROWS, cursor=place.cursor, kind=kind)
        )
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    return part(
        "billing/transactions.html", visit=visit, kinds=KINDS, chosen_kind=kind,
        transactions=[(one, _shown_reference(one)) for one in found.data],
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


def _shown_reference(transaction: BalanceTransaction) -> str | None:
    """Return what people know a transaction by; the id of what is linked says nothing to them."""
    reference = transaction.reference
    return None if reference is None or is_id(reference) else reference


async def show_limit(_: Request, visit: Visit) -> Response:
    """Show the account's own limit, to be changed by owners."""
    account, balance = await visit.ask(lambda api: asyncio.gather(api.get_account(), api.get_balance()))
    return _limit_form(visit, balance, is_owner=account.role == "owner")


async def set_limit(request: Request, visit: Visit) -> Response:
    """Set the account's own limit, or take it away."""
    typed = (await read_form(request)).get("limit", "").strip()
    error = None if not typed or _AMOUNT.fullmatch(typed) else NOT_AN_AMOUNT
    if error is None:
        try:
            balance = await visit.ask(lambda api: api.set_spending_limit(typed or None))
        except ApiError as refusal:
            error = sentence(" ".join(input_errors(refusal).values()))
        else:
            words = "Your limit is saved" if typed else "Your limit is taken away"
            return _limit_form(visit, balance, is_owner=True, toast=Toast(words), refresh="#balance")
    balance = await visit.ask(lambda api: api.get_balance())
    return _limit_form(visit, balance, HTTPStatus.UNPROCESSABLE_ENTITY, is_owner=True, typed=typed, error=error)


def _limit_form(
    visit: Visit,
    balance: Balance,
    status: int = HTTPStatus.OK,
    *,
    is_owner: bool,
    typed: str | None = None,
    error: str | None = None,
    **events: Any,
) -> Response:
    own = balance.own_spending_limit
    return part(
        "billing/limit.html", status, visit=visit, balance=balance, is_owner=is_owner, error=error,
        typed=(own.removesuffix("00") if own else "") if typed is None else typed,
        is_lowered=own is not None and balance.spending_limit != own, **events,
    )  # fmt: skip


ROUTES = [
    Route(PATH, signed_in(show_balance)),
    Route(f"{PATH}/card", signed_in(show_card)),
    Route(f"{PATH}/refusal", signed_in(show_refusal)),
    Route(f"{PATH}/transactions", signed_in(show_transactions)),
    Route(f"{PATH}/limit", signed_in(show_limit)),
    Route(f"{PATH}/limit", signed_in(set_limit), methods=["POST"]),
]
