"""The form of an endpoint: what is typed into it, what is wrong with that, and what it asks of the API.

The values of custom headers are secrets as the API sees them: they are never written into a page, not even back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, UnsetType
from starlette.datastructures import ImmutableMultiDict

from ghasi.client.errors import ApiError
from ghasi.contract.errors import CODES
from ghasi.contract.shapes import BILLING_EVENT_DATA, MESSAGE_EVENTS, WEBHOOK_EVENT_DATA, Webhook
from ghasi.portal.forms import input_errors, key_of, new_key, sentence
from ghasi.portal.pages import webhook_options
from ghasi.portal.pages.webhook_options import OptionInput, Options

MAX_FORM_BYTES = 128 * 1024
"""20 headers of 1,100 characters, percent-encoded, and the rest."""
MOST_HEADERS = 20
ALL_MESSAGES, EVERYTHING, CHOSEN = "message.*", "*", "chosen"
EVENT_WORDS: dict[str, str] = {
    "message.scheduled": "It waits for the time at which it is to be sent.",
    "message.accepted": "It is stored, and is on its way to a carrier.",
    "message.sent": "A carrier has taken it.",
    "message.delivered": "The handset has it.",
    "message.undelivered": "The carrier could not deliver it.",
    "message.failed": "The carrier refused it.",
    "message.expired": "Its validity ended before it was delivered.",
    "message.canceled": "It was canceled before it was sent.",
    "message.unknown": "Nobody can say what became of it.",
    "message.received": "A phone has sent it to one of your numbers.",
    "webhook.failing": "Every attempt to one has failed for a day, for three, for four.",
    "webhook.disabled": "Ghasi has disabled one, because it was gone or failed for five days.",
    "webhook.exhausted": "The last retry of a delivery to one has failed.",
    "billing.alert": "50, 80 or 100 % of the month's limit, or of a prepaid balance, is used up.",
    "invoice.opened": "There is a new invoice.",
    "invoice.paid": "An invoice was paid.",
    "invoice.overdue": "An invoice was not paid when it was due.",
}
_BESIDES = {**WEBHOOK_EVENT_DATA, **BILLING_EVENT_DATA}
ALREADY_CREATED = (
    "The endpoint was created, but its secret cannot be shown again: "
    "open it in the list and rotate its secret, or delete it and create another."
)
SENT_BEFORE = (
    "This form has created an endpoint already, before you changed it. Look at the list before you add another."
)
_FIELDS = {"invalid_url": "url", **{name: name for name in ("url", "events", "description", "headers")}}
_PLACES = ("", "url", "events", "description", "headers", *webhook_options.PLACES)


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form. `choice` is one of the two patterns for all events, or CHOSEN with those in `events`.

    `about` are the events about endpoints and `money` those about money, asked for besides. `extra_events` are what the
    endpoint has besides those of the contract. `headers` is not shown by any template; `header_names` are of the
    headers that it has.
    """

    key: str
    url: str = ""
    choice: str = ALL_MESSAGES
    events: tuple[str, ...] = ()
    extra_events: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    money: tuple[str, ...] = ()
    description: str = ""
    enabled: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers_removed: bool = False
    has_everything: bool = False
    header_names: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)

    @property
    def patterns(self) -> list[str]:
        """What the API is asked for."""
        if self.choice == EVERYTHING:
            return [EVERYTHING]
        besides = [*_besides(self.about, WEBHOOK_EVENT_DATA), *_besides(self.money, BILLING_EVENT_DATA)]
        return [*(self.events if self.choice == CHOSEN else (self.choice,)), *besides]

    @property
    def header_input(self) -> dict[str, str] | UnsetType | None:
        """The headers to be set: none given keeps the present ones, None removes them."""
        if self.headers:
            return dict(self.headers)
        return None if self.headers_removed else UNSET

    @property
    def option_input(self) -> OptionInput:
        """What else the API is asked for."""
        return self.options.inputs


def _besides(chosen: Collection[str], offered: Collection[str]) -> list[str]:
    """Return types as patterns: a kind that is chosen whole stands for those of it to come, too."""
    found: dict[str, None] = {}
    for event in offered:
        kind = _kind(event)
        if event in chosen:
            found[kind if all(one in chosen for one in offered if _kind(one) == kind) else event] = None
    return list(found)


def _kind(event: str) -> str:
    return event.partition(".")[0] + ".*"


def empty_draft() -> Draft:
    """Make the draft of a new endpoint."""
    return Draft(new_key())


def draft_of(webhook: Webhook) -> Draft:
    """Make the draft of an endpoint that is to be edited."""
    choice = next((one for one in (EVERYTHING, ALL_MESSAGES) if one in webhook.events), CHOSEN)
    singles = [one for one in webhook.events if "*" not in one and one not in _BESIDES]
    return Draft(
        key=new_key(),
        url=webhook.url,
        choice=choice,
        events=tuple(singles) if choice == CHOSEN else (),
        extra_events=tuple(one for one in singles if one not in MESSAGE_EVENTS),
        about=tuple(one for one in WEBHOOK_EVENT_DATA if {one, _kind(one)} & set(webhook.events)),
        money=tuple(one for one in BILLING_EVENT_DATA if {one, _kind(one)} & set(webhook.events)),
        description=webhook.description or "",
        enabled=webhook.enabled,
        has_everything=EVERYTHING in webhook.events,
        header_names=tuple(webhook.header_names),
        options=webhook_options.options_of(webhook),
    )


def read_draft(form: ImmutableMultiDict[str, str]) -> Draft:
    """Read the form as it was sent."""
    choice = form.get("choice", ALL_MESSAGES)
    names, values = form.getlist("header_name"), form.getlist("header_value")
    return Draft(
        key=key_of(form),
        url=form.get("url", "").strip(),
        choice=choice if choice in {ALL_MESSAGES, EVERYTHING} else CHOSEN,
        events=tuple(form.getlist("events")),
        extra_events=tuple(form.getlist("extra_events")),
        about=tuple(one for one in form.getlist("about") if one in WEBHOOK_EVENT_DATA),
        money=tuple(one for one in form.getlist("money") if one in BILLING_EVENT_DATA),
        description=form.get("description", "").replace("\r\n", "\n").strip(),
        enabled=form.get("enabled") == "on",
        headers=tuple(
            (name.strip(), value.strip())
            for name, value in zip(names, values, strict=False)
            if name.strip() or value.strip()
        ),
        headers_removed=form.get("headers_removed") == "on",
        has_everything=form.get("has_everything") == "on",
        header_names=tuple(form.getlist("header_names")),
        options=webhook_options.read_options(form),
    )


def find_faults(draft: Draft) -> dict[str, str]:
    """Say what the API need not be asked about."""
    faults = {}
    if not draft.url:
        faults["url"] = "Enter the address that events are sent to."
    if not draft.patterns:
        faults["events"] = "Choose at least one event."
    names = [name.lower() for name, _ in draft.headers]
    if "" in names:
        faults["headers"] = "A value lacks its header's name."
    elif len(set(names)) < len(names):
        faults["headers"] = "A header is there twice: names do not differ by case."
    return faults | webhook_options.find_faults(draft.options)


def refusal(error: ApiError) -> dict[str, str]:
    """Say what is wrong beside the fields, "" for the form as a whole; raises the error if input is not to blame."""
    if error.code == "already_created":
        return {"": ALREADY_CREATED}
    if error.code == "idempotency_key_reused":
        return {"": SENT_BEFORE}
    if error.code == "too_many_webhooks":
        return {"": f"{sentence(error.message)} {CODES[error.code].remedy}"}
    found = {
        name if name in _PLACES else "": sentence(text)
        for name, text in input_errors(error, _FIELDS | webhook_options.FIELDS).items()
    }
    named = next((one for one in error.errors if one.field.startswith("headers.")), None)
    if named is not None:
        found["headers"] = sentence(f"{named.field.removeprefix('headers.')}: {named.message}")
    return found


def form_context(draft: Draft, action: str, errors: Mapping[str, str] | None = None, *, is_new: bool) -> dict[str, Any]:
    """Return what the form's template needs; `action` is the path it is posted to."""
    choices: list[tuple[str, str, str | None]] = [
        (ALL_MESSAGES, "All events of messages", "Every status that a message comes to, and messages from phones."),
        (CHOSEN, "Only some", None),
    ]
    if draft.has_everything:
        choices.insert(0, (EVERYTHING, "All events of every kind", "Those of kinds to come, too."))
    return {
        "draft": draft,
        "errors": {name: (errors or {}).get(name) for name in _PLACES},
        "choices": choices,
        "event_options": [
            (event, event, EVENT_WORDS.get(event)) for event in dict.fromkeys((*MESSAGE_EVENTS, *draft.extra_events))
        ],
        "about_options": [(event, event, EVENT_WORDS.get(event)) for event in WEBHOOK_EVENT_DATA],
        "money_options": [(event, event, EVENT_WORDS.get(event)) for event in BILLING_EVENT_DATA],
        "most_headers": MOST_HEADERS,
        "action": action,
        "is_new": is_new,
        **webhook_options.context(draft.options),
    }
