"""Endpoints: the list, one of them with what can be done with it, and the form to create or change one.

A secret is in the one answer that makes it, and in no address, log or cookie. The log of deliveries is deliveries'.
"""

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.api import Ghasi
from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.contract.shapes import DISABLED_AFTER, EVENT_TYPES, Webhook
from ghasi.portal.access import signed_in
from ghasi.portal.formats import read_time
from ghasi.portal.forms import new_key, read_form
from ghasi.portal.pages import webhook_forms, webhook_options
from ghasi.portal.pages.deliveries import TEST_EVENT, log_context, recover_context
from ghasi.portal.pages.opening import find_at_once, id_of
from ghasi.portal.pages.paging import place_of, refuse_place
from ghasi.portal.pages.replays import replay_context
from ghasi.portal.pages.verification import SNIPPETS
from ghasi.portal.rendering import Toast, add_events, go_to, is_htmx, nothing, page, part
from ghasi.portal.sessions import Visit

PATH = "/webhooks"
PAGE_ROWS = 25
REASONS = {
    "gone": "It answered 410 Gone, which means that it wants nothing more.",
    "failing": f"Every attempt had failed for {DISABLED_AFTER.days} days.",
}
"""Why Ghasi itself disables an endpoint, to people."""
ROTATION_UNKNOWN = (
    "Nobody can say whether the secret was rotated. "
    "If you rotate it again, the secret that your server has may end at once."
)
log = structlog.get_logger("ghasi.portal")


async def show_webhooks(request: Request, visit: Visit) -> Response:
    """Show the place of the list, which loads by itself."""
    return page("webhooks/webhooks.html", visit=visit, list_path=place_of(request).path(f"{PATH}/list"))


async def show_list(request: Request, visit: Visit) -> Response:
    """Show one page of the list."""
    place = place_of(request)
    try:
        found = await visit.ask(lambda api: api.list_webhooks(limit=PAGE_ROWS, cursor=place.cursor))
    except ApiError as error:
        return refuse_place(error, visit, PATH)
    return part(
        "webhooks/list.html", visit=visit, webhooks=found.data, **_note_context(is_brief=True),
        newer=place.newer(PATH), older=place.older(PATH, found.next_cursor),
    )  # fmt: skip


# ---- creating and changing


async def show_new(_: Request, visit: Visit) -> Response:
    """Show an empty form."""
    draft = webhook_forms.empty_draft()
    return page("webhooks/new.html", visit=visit, **webhook_forms.form_context(draft, f"{PATH}/new", is_new=True))


async def create(request: Request, visit: Visit) -> Response:
    """Create an endpoint and show its secret, this once.

    The form's key goes with it, so that a form sent again makes no second endpoint. Raises ApiError and
    ApiUnreachableError for what is no fault of the input: the form stays as it is.
    """
    draft = webhook_forms.read_draft(await read_form(request, webhook_forms.MAX_FORM_BYTES))
    errors = webhook_forms.find_faults(draft)
    if not errors:
        try:
            created = await visit.ask(
                lambda api: api.create_webhook(
                    draft.url,
                    draft.patterns,
                    description=draft.description or None,
                    headers=draft.header_input,
                    idempotency_key=draft.key,
                    **draft.option_input,
                )
            )
        except ApiError as error:
            errors = webhook_forms.refusal(error)
            if error.code in {"already_created", "idempotency_key_reused"}:
                draft = replace(draft, key=new_key())
        else:
            shown: dict[str, Any] = {"created": created, "snippets": SNIPPETS}
            if is_htmx(request):
                return part("webhooks/created.html", visit=visit, **shown)
            return page("webhooks/new.html", visit=visit, **shown)
    return _refuse_form(request, visit, "webhooks/new.html", draft, errors)


async def show_edit(request: Request, visit: Visit) -> Response:
    """Show the form filled with an endpoint; when the API is slow or away it loads into the page."""
    webhook_id = id_of(request, "webhook_id")
    webhook = await find_at_once(visit, lambda api: api.get_webhook(webhook_id))
    context = {} if webhook is None else _edit_context(webhook)
    return page("webhooks/edit.html", visit=visit, webhook_id=webhook_id, is_here=webhook is not None, **context)


async def show_edit_form(request: Request, visit: Visit) -> Response:
    """Show the form filled with an endpoint."""
    webhook_id = id_of(request, "webhook_id")
    webhook = await visit.ask(lambda api: api.get_webhook(webhook_id))
    return part("webhooks/form.html", visit=visit, **_edit_context(webhook))


def _edit_context(webhook: Webhook) -> dict[str, Any]:
    action = f"{PATH}/{webhook.id}/edit"
    return webhook_forms.form_context(webhook_forms.draft_of(webhook), action, is_new=False)


async def update(request: Request, visit: Visit) -> Response:
    """Change an endpoint and lead to it; raises ApiError and ApiUnreachableError for what is no fault of the input."""
    webhook_id = id_of(request, "webhook_id")
    draft = webhook_forms.read_draft(await read_form(request, webhook_forms.MAX_FORM_BYTES))
    errors = webhook_forms.find_faults(draft)
    if not errors:
        try:
            await visit.ask(
                lambda api: api.update_webhook(
                    webhook_id,
                    draft.url,
                    draft.patterns,
                    description=draft.description or None,
                    enabled=draft.enabled,
                    headers=draft.header_input,
                    **draft.option_input,
                )
            )
        except ApiError as error:
            errors = webhook_forms.refusal(error)
        else:
            return go_to(request, f"{PATH}/{webhook_id}", Toast("Endpoint saved"))
    return _refuse_form(request, visit, "webhooks/edit.html", draft, errors, webhook_id=webhook_id)


def _refuse_form(
    request: Request,
    visit: Visit,
    template: str,
    draft: webhook_forms.Draft,
    errors: dict[str, str],
    *,
    webhook_id: str | None = None,
) -> Response:
    action = f"{PATH}/{webhook_id}/edit" if webhook_id else f"{PATH}/new"
    context = webhook_forms.form_context(draft, action, errors, is_new=webhook_id is None)
    if is_htmx(request):
        return part("webhooks/form.html", 422, visit=visit, **context)
    return page(template, 422, visit=visit, webhook_id=webhook_id, is_here=True, **context)


# ---- one endpoint


async def show_webhook(request: Request, visit: Visit) -> Response:
    """Show an endpoint and the place of its log; one that does not exist, or is another account's, is a 404 page."""
    webhook_id = id_of(request, "webhook_id")
    webhook = await find_at_once(visit, lambda api: api.get_webhook(webhook_id))
    return page(
        "webhooks/webhook.html", visit=visit, webhook_id=webhook_id, snippets=SNIPPETS,
        **_endpoint_context(visit, webhook), **log_context(request, webhook_id),
    )  # fmt: skip


async def show_endpoint(request: Request, visit: Visit) -> Response:
    """Show an endpoint as it stands now, with its actions."""
    webhook_id = id_of(request, "webhook_id")
    webhook = await visit.ask(lambda api: api.get_webhook(webhook_id))
    return part("webhooks/endpoint.html", visit=visit, **_endpoint_context(visit, webhook))


def _endpoint_context(visit: Visit, webhook: Webhook | None) -> dict[str, Any]:
    return {
        "webhook": webhook,
        **_note_context(is_brief=False),
        "event_options": [(event, event) for event in EVENT_TYPES],
        "test_event": TEST_EVENT,
        "wanted": webhook_options.wanted_by(webhook) if webhook else [],
        "order_words": webhook_options.order_words(webhook) if webhook else "",
        **recover_context(visit, webhook.id if webhook else ""),
        **replay_context(visit, webhook.id if webhook else ""),
    }


def _note_context(*, is_brief: bool) -> dict[str, Any]:
    """Return what the note on an endpoint's state needs; a brief one says nothing of what the badge says."""
    return {"is_brief": is_brief, "reasons": REASONS, "end_of": _end_of, "now": datetime.now(UTC)}


def _end_of(webhook: Webhook) -> datetime | None:
    """Return when an endpoint that goes on failing is disabled."""
    since = read_time(webhook.failing_since)
    return None if since is None else since + DISABLED_AFTER


async def switch(request: Request, visit: Visit) -> Response:
    """Enable or disable an endpoint and leave the rest as it is."""
    webhook_id = id_of(request, "webhook_id")
    enabled = (await read_form(request)).get("enabled") == "true"

    async def ask(api: Ghasi) -> Webhook:
        webhook = await api.get_webhook(webhook_id)
        return await api.update_webhook(webhook_id, webhook.url, webhook.events, enabled=enabled)

    await visit.ask(ask)
    return nothing(
        Toast("Endpoint enabled" if enabled else "Endpoint disabled"), refresh="#endpoint, #deliveries, #webhooks"
    )


async def rotate(request: Request, visit: Visit) -> Response:
    """Give an endpoint a new secret and show it, this once.

    Whether it was rotated is unknown when no answer came; to repeat it would end the secret in use, so that is not
    offered as other requests are.
    """
    webhook_id = id_of(request, "webhook_id")
    try:
        rotated = await visit.ask(lambda api: api.rotate_webhook_secret(webhook_id))
    except (ApiError, ApiUnreachableError) as error:
        if isinstance(error, ApiError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        log.warning("rotation_unknown", webhook_id=webhook_id, error=str(error))
        response = Response(status_code=503, headers={"HX-Reswap": "none"})
        add_events(response, toast=Toast(ROTATION_UNKNOWN, "bad"))
        return response
    return part("webhooks/rotated.html", visit=visit, rotated=rotated)


async def delete(request: Request, visit: Visit) -> Response:
    """Delete an endpoint; one that was deleted before is no error."""
    webhook_id = id_of(request, "webhook_id")
    try:
        await visit.ask(lambda api: api.delete_webhook(webhook_id))
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return go_to(request, PATH, Toast("This endpoint does not exist any more.", "plain"))
    return go_to(request, PATH, Toast("Endpoint deleted"))


ROUTES = [
    Route(PATH, signed_in(show_webhooks)),
    Route(f"{PATH}/list", signed_in(show_list)),
    Route(f"{PATH}/new", signed_in(show_new)),
    Route(f"{PATH}/new", signed_in(create), methods=["POST"]),
    Route(f"{PATH}/{{webhook_id}}", signed_in(show_webhook)),
    Route(f"{PATH}/{{webhook_id}}/edit", signed_in(show_edit)),
    Route(f"{PATH}/{{webhook_id}}/edit", signed_in(update), methods=["POST"]),
    Route(f"{PATH}/{{webhook_id}}/edit/form", signed_in(show_edit_form)),
    Route(f"{PATH}/{{webhook_id}}/endpoint", signed_in(show_endpoint)),
    Route(f"{PATH}/{{webhook_id}}/switch", signed_in(switch), methods=["POST"]),
    Route(f"{PATH}/{{webhook_id}}/rotate", signed_in(rotate), methods=["POST"]),
    Route(f"{PATH}/{{webhook_id}}/delete", signed_in(delete), methods=["POST"]),
]
