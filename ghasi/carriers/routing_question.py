"""What routing is asked of a message, and what it may look at while it decides."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Asked:
    """A message as far as its route depends on it.

    `to` is E.164 with +; `country` its ISO 3166 country, None where a number belongs to none; `sender` E.164 with +,
    a short code, a name, or None for the carrier's default; `at` is aware. `seed` is the message's id: whatever is
    chosen by chance is chosen by it, so that the same message always goes the same way.
    """

    to: str
    country: str | None
    sender: str | None
    account_id: UUID
    body: str
    segments: int
    at: datetime
    seed: UUID


@dataclass(frozen=True, slots=True)
class Quality:
    """What became of a carrier's messages to a country over the last hours.

    `delivery_rate` is 0 to 1 of `messages`; `latency_s` the mean time from sent to delivered, None with none delivered.
    """

    messages: int
    delivery_rate: float
    latency_s: float | None


class View(Protocol):
    """What routing may know of the carriers now. Both are called often, and answer from memory."""

    def usable(self, carrier: str) -> bool:
        """Return whether a carrier is up and takes new messages; it may have no room at the moment."""

    def quality(self, carrier: str, country: str | None) -> Quality | None:
        """Return how well a carrier did with a country, None where nothing is known."""
