"""What an endpoint may have beside its address and events, as a form has it: filter, rate, order and metadata.

Owns how they are typed: lists with commas between, quoted where a value has one. Says what is wrong in people's words;
the API has the last word.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, get_args

from starlette.datastructures import ImmutableMultiDict

from ghasi.contract.shapes import EventFilter, Fifo, FifoKey, MessageStatus, Webhook

FILTERS = {"countries": "country", "statuses": "status", "references": "reference", "senders": "sender"}
"""The form's fields, and the filter's."""
PLACES = (*FILTERS, "rate", "order", "hold", "after_hold", "metadata")
FIELDS = {
    **{f"filter.{name}{item}": place for place, name in FILTERS.items() for item in ("", "[]")},
    "rate_per_s": "rate",
    "fifo.by": "order",
    "fifo.hold_s": "hold",
    "fifo.after_hold": "after_hold",
    "metadata": "metadata",
}
"""Beside which field an error of the API belongs."""
STATUSES: tuple[MessageStatus, ...] = get_args(MessageStatus)
ORDER_OPTIONS: list[tuple[str, str]] = [
    ("", "In no order"),
    ("to", "In order for each recipient"),
    ("from", "In order for each sender"),
    ("message", "In order for each message"),
    ("reference", "In order for each reference"),
    ("endpoint", "All in one order"),
]
AFTER_HOLD_OPTIONS = [("skip", "Pass it by"), ("drop", "Give it up")]
MOST_VALUES, LONGEST_VALUE = 100, 255
MOST_RATE, MOST_HOLD_S = 1000, 86_400
MOST_METADATA, LONGEST_NAME, LONGEST_NOTE = 50, 40, 500
SPARE_ROWS = 8
"""Rows for metadata that are still empty."""


class OptionInput(TypedDict):
    """What the API is asked for."""

    filter: EventFilter | None
    rate_per_s: int | None
    fifo: Fifo | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """The fields as they were typed; `order` is empty for none."""

    countries: str = ""
    statuses: str = ""
    references: str = ""
    senders: str = ""
    rate: str = ""
    order: str = ""
    hold: str = str(Fifo().hold_s)
    after_hold: str = Fifo().after_hold
    metadata: tuple[tuple[str, str], ...] = ()

    def values(self, place: str) -> list[str]:
        """Return the values in one of the fields of the filter; countries in capitals and statuses in small letters."""
        typed: str = getattr(self, place)
        if place in {"countries", "statuses"}:
            typed = typed.upper() if place == "countries" else typed.lower()
        return list(dict.fromkeys(_split(typed)))

    @property
    def inputs(self) -> OptionInput:
        """What the API is asked for; to be read where find_faults found none."""
        asked: dict[str, Any] = {name: values for place, name in FILTERS.items() if (values := self.values(place))}
        by: Any = self.order
        after_hold: Any = self.after_hold
        return {
            "filter": EventFilter(**asked) if asked else None,
            "rate_per_s": int(self.rate) if self.rate else None,
            "fifo": Fifo(by=by, hold_s=int(self.hold), after_hold=after_hold) if self.order else None,
            "metadata": dict(self.metadata),
        }

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The metadata as the form has it, with room for more."""
        spare = max(min(SPARE_ROWS, MOST_METADATA - len(self.metadata)), 0)
        return [*self.metadata, *[("", "")] * spare]


def options_of(webhook: Webhook) -> Options:
    """Return what an endpoint has, as it would be typed."""
    wanted, fifo = webhook.filter or EventFilter(), webhook.fifo
    lists = {place: _join(getattr(wanted, name) or ()) for place, name in FILTERS.items()}
    order = {} if fifo is None else {"order": fifo.by, "hold": str(fifo.hold_s), "after_hold": fifo.after_hold}
    rate = "" if webhook.rate_per_s is None else str(webhook.rate_per_s)
    return Options(**lists, **order, rate=rate, metadata=tuple(webhook.metadata.items()))


def read_options(form: ImmutableMultiDict[str, str]) -> Options:
    """Read the fields as they were sent."""
    typed = {name: form[name].strip() for name in PLACES if name != "metadata" and name in form}
    rows = zip(form.getlist("metadata_name"), form.getlist("metadata_value"), strict=False)
    notes = tuple((name.strip(), value.strip()) for name, value in rows if name.strip() or value.strip())
    return Options(**typed, metadata=notes)


def find_faults(options: Options) -> dict[str, str]:
    """Say what the API need not be asked about, by field."""
    faults = {place: fault for place in FILTERS if (fault := _fault_of_list(place, options.values(place)))}
    if options.rate and _number(options.rate, 1, MOST_RATE) is None:
        faults["rate"] = f"Enter a whole number from 1 to {MOST_RATE:,}, or nothing for no limit."
    if options.order:
        if options.order not in get_args(FifoKey):
            faults["order"] = "Choose one of these."
        if _number(options.hold, 0, MOST_HOLD_S) is None:
            faults["hold"] = f"Enter a whole number of seconds from 0 to {MOST_HOLD_S:,}."
        if options.after_hold not in dict(AFTER_HOLD_OPTIONS):
            faults["after_hold"] = "Choose one of these."
    names = [name for name, _ in options.metadata]
    if "" in names:
        faults["metadata"] = "A value lacks its name."
    elif len(set(names)) < len(names):
        faults["metadata"] = "A name is there twice."
    elif len(names) > MOST_METADATA:
        faults["metadata"] = f"At most {MOST_METADATA}."
    elif any(len(name) > LONGEST_NAME or len(value) > LONGEST_NOTE for name, value in options.metadata):
        faults["metadata"] = f"A name has at most {LONGEST_NAME} characters, a value {LONGEST_NOTE}."
    return faults


def _fault_of_list(place: str, values: list[str]) -> str | None:
    if len(values) > MOST_VALUES:
        return f"At most {MOST_VALUES}."
    for value in values:
        if place == "countries" and not (len(value) == 2 and value.isascii() and value.isalpha()):  # noqa: PLR2004
            return f"{value[:40]} is no country code such as AF."
        if place == "statuses" and value not in STATUSES:
            return f"{value[:40]} is no status. There are {', '.join(STATUSES)}."
        if len(value) > LONGEST_VALUE:
            return f"A value has at most {LONGEST_VALUE} characters."
    return None


def wanted_by(webhook: Webhook) -> list[tuple[str, list[str]]]:
    """Return the fields of an endpoint's filter with their values, to be shown."""
    wanted = webhook.filter or EventFilter()
    return [(name.capitalize(), values) for name in FILTERS.values() if (values := getattr(wanted, name))]


def order_words(webhook: Webhook) -> str:
    """Say in which order an endpoint gets its events."""
    return dict(ORDER_OPTIONS)["" if webhook.fifo is None else webhook.fifo.by]


def context(options: Options) -> Mapping[str, Any]:
    """Return what the form's template needs."""
    return {
        "options": options,
        "order_options": ORDER_OPTIONS,
        "after_hold_options": AFTER_HOLD_OPTIONS,
        "statuses": STATUSES,
        "most_rate": MOST_RATE,
        "most_hold_s": MOST_HOLD_S,
        "longest_name": LONGEST_NAME,
        "longest_note": LONGEST_NOTE,
    }


def _number(text: str, least: int, most: int) -> int | None:
    """Read a whole number; None where it is none, or beyond its bounds."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        return None
    return int(text) if least <= int(text) <= most else None


def _split(text: str) -> list[str]:
    """Read values with commas between; one with a comma stands in quotes."""
    rows = csv.reader(io.StringIO(text.replace("\r", " ").replace("\n", ",")), skipinitialspace=True)
    return [value.strip() for row in rows for value in row if value.strip()]


def _join(values: Sequence[str]) -> str:
    """Write values as _split reads them."""
    return ", ".join(_quoted(value) if set(value) & set(',"') else value for value in values)


def _quoted(value: str) -> str:
    doubled = value.replace('"', '""')
    return f'"{doubled}"'
