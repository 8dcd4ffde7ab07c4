"""Settings, the general part: what the account is called, and who is signed in.

People have a page of their own, and so have the visitor's time zone and locale. Who may rename the account is the
API's to say: this page only does not offer what it would refuse.
"""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.portal.access import signed_in
from ghasi.portal.forms import input_errors, read_form
from ghasi.portal.rendering import Toast, go_to, page, part
from ghasi.portal.sessions import Visit, renew

LONGEST_NAME = 100
SHOWN_LATER = "The other pages follow within 15 minutes."
"""Said where the session could not be renewed at once: an access token lives that long."""


async def show_settings(_: Request, visit: Visit) -> Response:
    """Show the page; the account loads by itself."""
    return page("settings/general.html", visit=visit)


async def show_account(_: Request, visit: Visit) -> Response:
    """Show the account, with its name to be changed by owners."""
    account = await visit.ask(lambda api: api.get_account())
    return part("settings/account.html", visit=visit, account=account, name=account.name, error=None)


async def rename(request: Request, visit: Visit) -> Response:
    """Rename the account, and load the page anew: its sidebar has the name too."""
    typed = (await read_form(request)).get("name", "")
    error = _fault(typed)
    if error is None:
        try:
            await visit.ask(lambda api: api.update_account(typed.strip()))
        except ApiError as refusal:
            error = " ".join(input_errors(refusal).values())
    if error is not None:
        return part(
            "settings/name_form.html", HTTPStatus.UNPROCESSABLE_ENTITY, visit=visit, name=typed, error=error
        )  # fmt: skip
    return await follow(visit, "/settings", "The account is renamed.")


def _fault(name: str) -> str | None:
    if not name.strip():
        return "Enter a name."
    if len(name.strip()) > LONGEST_NAME:
        return f"Use a name of at most {LONGEST_NAME} characters."
    return None


async def follow(visit: Visit, path: str, done: str) -> Response:
    """Load a page anew after what the session's token says was changed, and say what was done."""
    text = done if await renew(visit) else f"{done} {SHOWN_LATER}"
    return go_to(visit.request, path, Toast(text))


ROUTES = [
    Route("/settings", signed_in(show_settings)),
    Route("/settings/account", signed_in(show_account)),
    Route("/settings/account", signed_in(rename), methods=["POST"]),
]
