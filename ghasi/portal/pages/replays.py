"""Replaying the events of a time to an endpoint: the form, what is wrong with it, and how it goes on.

One request of the API looks at some thousand events: when there are more, the form says so and goes on from there.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.client.errors import ApiError
from ghasi.contract.shapes import MESSAGE_EVENTS
from ghasi.portal.access import signed_in
from ghasi.portal.forms import input_errors, read_form, sentence
from ghasi.portal.pages.deliveries import BASE, NO_TIME, SINCE_OPTIONS, STILL_TO_COME, read_since
from ghasi.portal.pages.moments import read_local_time
from ghasi.portal.pages.opening import id_of, reader_for
from ghasi.portal.rendering import Toast, part
from ghasi.portal.sessions import Visit

CUSTOM = "custom"
OPTIONS = (*(one for one in SINCE_OPTIONS if one[0] != CUSTOM), (CUSTOM, "A time of choice"))
_FIELDS = {"since": "at", "until": "until", "event_types": "types"}
_PLACES = ("", "at", "until", "types")


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form: `since` is one of OPTIONS, `at` and `until` are times of the visitor's zone."""

    since: str = "24"
    at: str = ""
    until: str = ""
    kind: str = "all"
    types: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is asked for, all in one: a cursor goes on with the same alone."""
        return " ".join((self.since, self.at, self.until, self.kind, *self.types))


@dataclass(frozen=True, slots=True)
class Range:
    """What the API is asked for, and what is wrong with it by field."""

    since: datetime | None
    until: datetime | None
    types: list[str] | None
    errors: dict[str, str] = field(default_factory=dict)


def replay_context(
    visit: Visit,
    webhook_id: str,
    draft: Draft | None = None,
    errors: dict[str, str] | None = None,
    *,
    cursor: str | None = None,
    said: str = "",
) -> dict[str, Any]:
    """Return what the form needs; with a cursor it goes on, having said how far it is."""
    return {
        "replay_id": webhook_id,
        "replay": draft or Draft(),
        "replay_errors": {name: (errors or {}).get(name) for name in _PLACES},
        "replay_since_options": OPTIONS,
        "replay_types": [(event, event, None) for event in MESSAGE_EVENTS],
        "replay_cursor": cursor,
        "replay_said": said,
        "zone": reader_for(visit).zone.key,
    }


async def replay(request: Request, visit: Visit) -> Response:
    """Replay the events of a time; raises ApiError and ApiUnreachableError for what is no fault of the input."""
    webhook_id = id_of(request, "webhook_id")
    form = await read_form(request)
    draft = _read_draft(form)
    cursor = form.get("cursor") or None if form.get("cursor_of") == draft.words else None
    asked = _read_range(draft, visit)
    errors, since = asked.errors, asked.since
    if since is not None and not errors:
        begin = since
        try:
            replayed = await visit.ask(
                lambda api: api.replay_events(
                    webhook_id, begin, until=asked.until, event_types=asked.types, cursor=cursor
                )
            )
        except ApiError as error:
            found = input_errors(error, _FIELDS)
            errors = {name if name in _PLACES else "": sentence(text) for name, text in found.items()}
        else:
            said, is_over = _say(replayed.deliveries), replayed.next_cursor is None
            context = replay_context(
                visit, webhook_id, None if is_over else draft, cursor=replayed.next_cursor,
                said=f"{said}. There are more events in this time.",
            )  # fmt: skip
            toast = Toast(said, "good" if replayed.deliveries else "plain") if is_over else None
            return part(
                "webhooks/replay_form.html", visit=visit, toast=toast, refresh="#deliveries", close_dialog=is_over,
                **context,
            )  # fmt: skip
    context = replay_context(visit, webhook_id, draft, errors)
    return part("webhooks/replay_form.html", 422, visit=visit, **context)


def _read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    return Draft(
        since=form.get("since", "24"),
        at=form.get("at", "").strip(),
        until=form.get("until", "").strip(),
        kind="chosen" if form.get("kind") == "chosen" else "all",
        types=tuple(form.getlist("types")),
    )


def _read_range(draft: Draft, visit: Visit) -> Range:
    zone = reader_for(visit).zone
    since, until = read_since(draft.since, draft.at, zone), None
    errors = {}
    if since is None:
        errors["at"] = NO_TIME
    elif since > datetime.now(UTC):
        errors["at"] = STILL_TO_COME
    if draft.since == CUSTOM and draft.until:
        until = read_local_time(draft.until, zone)
        if until is None:
            errors["until"] = NO_TIME
        elif since is not None and until <= since:
            errors["until"] = "This is not later than the beginning."
    if draft.kind == "chosen" and not draft.types:
        errors["types"] = "Choose at least one type."
    return Range(since, until, list(draft.types) if draft.kind == "chosen" else None, errors)


def _say(count: int) -> str:
    if not count:
        return "There was nothing to send"
    return f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} sent"


ROUTES = [Route(f"{BASE}/replay", signed_in(replay), methods=["POST"])]
