"""Settings, the people of the account: who they are, what they may do, whom to invite, and how to leave.

Members see the lists, owners change them. The API decides that at each change: this page only does not offer what it
would refuse, and says so where it refuses after all.
"""

import asyncio
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import ROLES, Invitation, Role
from ghasi.portal.access import signed_in
from ghasi.portal.formats import read_time
from ghasi.portal.forms import input_errors, read_form
from ghasi.portal.pages.opening import id_of
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.rendering import Toast, go_to, nothing, page, part
from ghasi.portal.sessions import Portal, Visit, end

PATH = "/settings/people"
PAGE_ROWS = 25
MOST_INVITATIONS = 100
"""As many as an account may have, and a page of the API."""
LONGEST_EMAIL = 254
BOTH_LISTS = "#people, #invitations"
ROLE_OPTIONS: list[tuple[Role, str, str]] = [
    ("member", "Member", "Sends messages, and manages API keys, webhooks and what is billed."),
    ("owner", "Owner", "Also invites and removes people, renames the account, and sets its limit and billing details."),
]
NOT_AN_EMAIL = "Enter an email address, like omid@example.com."
NOT_AN_OWNER = "Only an owner of the account may do this."
GONE = "That was done already."
LAST_OWNER = "An account keeps at least one owner. Make somebody else an owner first."
ALREADY_MEMBER = "This person is in the account already. Change their role in the list instead."
TOO_MANY = "There are as many invitations as an account may have. Revoke some that are not needed."
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


async def show_people(request: Request, visit: Visit) -> Response:
    """Show the page; both lists load by themselves."""
    list_path = place_of(request).path(f"{PATH}/list")
    return page("settings/people.html", visit=visit, list_path=list_path, **_blank_invitation())


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the people."""
    place = place_of(request)
    try:
        account, people = await visit.ask(
            lambda api: asyncio.gather(api.get_account(), api.list_users(limit=PAGE_ROWS, cursor=place.cursor))
        )
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    return part(
        "settings/people_list.html", visit=visit, people=people.data, is_owner=account.role == "owner",
        account_name=account.name, newer=place.newer(PATH), older=place.older(PATH, people.next_cursor),
    )  # fmt: skip


async def show_invitations(_: Request, visit: Visit) -> Response:
    """Show who was invited and has not come yet."""
    account, invitations = await visit.ask(
        lambda api: asyncio.gather(api.get_account(), api.list_invitations(limit=MOST_INVITATIONS))
    )
    return part(
        "settings/invitations.html", visit=visit, invitations=invitations.data, is_owner=account.role == "owner",
        is_over=_is_over,
    )  # fmt: skip


def _is_over(invitation: Invitation) -> bool:
    ends = read_time(invitation.expires_at)
    return ends is not None and ends <= datetime.now(UTC)


async def show_invite(_: Request, visit: Visit) -> Response:
    """Show the form to invite somebody, in place of what came of the one before."""
    return part("settings/invite_form.html", visit=visit, **_blank_invitation())


async def invite(request: Request, visit: Visit) -> Response:
    """Invite a person, and show the link to be handed on, this once."""
    form = await read_form(request)
    email, role = form.get("email", "").strip(), read_role(form.get("role"))
    errors: dict[str, str] = {}
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        errors["email"] = NOT_AN_EMAIL
    else:
        try:
            made = await visit.ask(lambda api: api.create_invitation(email, role))
        except ApiError as error:
            errors = _invitation_errors(error)
    if errors:
        return part(
            "settings/invite_form.html", HTTPStatus.UNPROCESSABLE_ENTITY, visit=visit, email=email, role=role,
            role_options=ROLE_OPTIONS, errors=errors,
        )  # fmt: skip
    portal: Portal = request.app.state.portal
    # in the fragment, which no server's log has
    link = f"{portal.settings.public_portal_url}/join#{made.token}"
    return part("settings/invited.html", visit=visit, invitation=made, link=link, refresh="#invitations")


def _blank_invitation() -> dict[str, Any]:
    return {"email": "", "role": "member", "role_options": ROLE_OPTIONS, "errors": {}}


def _invitation_errors(error: ApiError) -> dict[str, str]:
    if error.code == "owner_required":
        return {"": NOT_AN_OWNER}
    known = {"already_member": {"email": ALREADY_MEMBER}, "too_many_invitations": {"": TOO_MANY}}.get(error.code)
    found = input_errors(error, {"role": ""})
    return known or {name if name == "email" else "": text for name, text in found.items()}


async def revoke_invitation(request: Request, visit: Visit) -> Response:
    """Take an invitation back."""
    invitation_id = id_of(request, "invitation_id")
    try:
        await visit.ask(lambda api: api.revoke_invitation(invitation_id))
    except ApiError as error:
        return _refusal(visit, error)
    return nothing(Toast("The invitation is revoked: its link leads nowhere now."), refresh="#invitations")


async def change_role(request: Request, visit: Visit) -> Response:
    """Make a person an owner or a member."""
    user_id = id_of(request, "user_id")
    role = read_role((await read_form(request)).get("role"))
    try:
        changed = await visit.ask(lambda api: api.update_user(user_id, role))
    except ApiError as error:
        return _refusal(visit, error)
    who = "You are" if changed.id == visit.claims.sub else f"{changed.email} is"
    return nothing(Toast(f"{who} {'an owner' if role == 'owner' else 'a member'} now."), refresh=BOTH_LISTS)


async def remove(request: Request, visit: Visit) -> Response:
    """Take a person out of the account."""
    user_id = id_of(request, "user_id")
    try:
        await visit.ask(lambda api: api.remove_user(user_id))
    except ApiError as error:
        return _refusal(visit, error)
    return nothing(Toast("The person is removed, and their sessions are ended."), refresh=BOTH_LISTS)


async def leave(request: Request, visit: Visit) -> Response:
    """Leave the account, which signs out."""
    try:
        await visit.ask(lambda api: api.remove_user(visit.claims.sub))
    except ApiError as error:
        return _refusal(visit, error)
    await end(request)
    return go_to(request, "/sign-in?notice=left")


def read_role(text: str | None) -> Role:
    """Read a role from a form; what is none gets the one that may do less."""
    return next((role for role in ROLES if role == text), "member")


def _refusal(visit: Visit, error: ApiError) -> Response:
    """Say in the dialog why nothing was done; where the lists are not as they were, they load anew instead."""
    if error.status == HTTPStatus.NOT_FOUND:
        return nothing(Toast(GONE, "plain"), refresh=BOTH_LISTS)
    if error.code == "owner_required":
        return nothing(Toast(NOT_AN_OWNER, "bad"), refresh=BOTH_LISTS)
    text = LAST_OWNER if error.code == "last_owner" else " ".join(input_errors(error).values())
    return part("settings/refused.html", HTTPStatus.UNPROCESSABLE_ENTITY, visit=visit, text=text)


ROUTES = [
    Route(PATH, signed_in(show_people)),
    Route(f"{PATH}/list", signed_in(show_list)),
    Route(f"{PATH}/invitations", signed_in(show_invitations)),
    Route(f"{PATH}/invitations", signed_in(invite), methods=["POST"]),
    Route(f"{PATH}/invitations/{{invitation_id}}/revoke", signed_in(revoke_invitation), methods=["POST"]),
    Route(f"{PATH}/invite", signed_in(show_invite)),
    Route(f"{PATH}/leave", signed_in(leave), methods=["POST"]),
    Route(f"{PATH}/{{user_id}}/role", signed_in(change_role), methods=["POST"]),
    Route(f"{PATH}/{{user_id}}/remove", signed_in(remove), methods=["POST"]),
]
