"""Settings, what the account is called on invoices: owners change it, members see it.

Invoices that are open keep what they say: that is the API's rule, and said on the page.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import BillingProfile, BillingProfileInput
from ghasi.portal.access import signed_in
from ghasi.portal.forms import input_errors, read_form, sentence
from ghasi.portal.pages.preferences import locale_options
from ghasi.portal.rendering import Toast, page, part
from ghasi.portal.sessions import Visit

PATH = "/settings/billing"
MOST_LINES, LONGEST_LINE = 6, 100
LONGEST = {"legal_name": 200, "tax_id": 50, "email": 254}
FIELDS = ("legal_name", "address", "tax_id", "email", "locale")


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form."""

    legal_name: str = ""
    address: str = ""
    tax_id: str = ""
    email: str = ""
    locale: str = ""

    @property
    def lines(self) -> list[str]:
        """The address as the API takes it."""
        return [line.strip() for line in self.address.splitlines() if line.strip()]


def _read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    return Draft(**{name: form.get(name, "").strip() for name in FIELDS})


def _draft_of(profile: BillingProfile) -> Draft:
    return Draft(
        profile.legal_name or "", "\n".join(profile.address), profile.tax_id or "", profile.email or "",
        profile.locale or "",
    )  # fmt: skip


async def show_billing_settings(_: Request, visit: Visit) -> Response:
    """Show the page; the profile loads by itself."""
    return page("settings/billing.html", visit=visit)


async def show_profile(_: Request, visit: Visit) -> Response:
    """Show what invoices call the account, to be changed by owners."""
    account, profile = await visit.ask(lambda api: asyncio.gather(api.get_account(), api.get_billing_profile()))
    if account.role != "owner":
        return part("settings/billing_profile.html", visit=visit, profile=profile)
    return _form(visit, _draft_of(profile))


async def save(request: Request, visit: Visit) -> Response:
    """Save what invoices shall call the account.

    Raises ApiError and ApiUnreachableError for what is no fault of the input: the form stays as it is.
    """
    draft = _read_draft(await read_form(request))
    errors = _find_faults(draft)
    if not errors:
        given = BillingProfileInput(
            legal_name=draft.legal_name or None, address=draft.lines, tax_id=draft.tax_id or None,
            email=draft.email or None, locale=draft.locale or None,
        )  # fmt: skip
        try:
            profile = await visit.ask(lambda api: api.update_billing_profile(given))
        except ApiError as error:
            found = input_errors(error, {name: name for name in FIELDS})
            errors = {name if name in FIELDS else "": sentence(text) for name, text in found.items()}
        else:
            return _form(visit, _draft_of(profile), toast=Toast("Billing details saved"))
    return _form(visit, draft, HTTPStatus.UNPROCESSABLE_ENTITY, errors)


def _find_faults(draft: Draft) -> dict[str, str]:
    errors = {
        name: f"Use at most {most} characters." for name, most in LONGEST.items() if len(getattr(draft, name)) > most
    }
    if len(draft.lines) > MOST_LINES:
        errors["address"] = f"Use at most {MOST_LINES} lines."
    elif any(len(line) > LONGEST_LINE for line in draft.lines):
        errors["address"] = f"Use at most {LONGEST_LINE} characters a line."
    if draft.email and "@" not in draft.email:
        errors["email"] = "Enter an email address, like accounts@example.com."
    return errors


def _form(
    visit: Visit,
    draft: Draft,
    status: int = HTTPStatus.OK,
    errors: dict[str, str] | None = None,
    **events: Any,
) -> Response:
    told = {name: (errors or {}).get(name) for name in ("", *FIELDS)}
    options = [("", "English"), *locale_options(draft.locale)]
    return part(
        "settings/billing_form.html", status, visit=visit, draft=draft, locale_options=options, errors=told, **events
    )


ROUTES = [
    Route(PATH, signed_in(show_billing_settings)),
    Route(f"{PATH}/profile", signed_in(show_profile)),
    Route(f"{PATH}/profile", signed_in(save), methods=["POST"]),
]
