"""What webhook-dispatcher keeps: endpoints, and deliveries of events to them. Data only, no rule and no SQL.

A delivery is `pending` until it is over: `succeeded` (a 2xx answer), `exhausted` (the last retry failed too) or
`canceled` (its endpoint was disabled or deleted). An endpoint that Ghasi itself disabled says why in
`disabled_reason`; it is null while the endpoint is enabled and when the customer disabled it.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ghasi.contract.shapes import DISABLED_AFTER, EVENT_TYPES, DisabledReason, EventFilter, Fifo

PATTERNS: frozenset[str] = frozenset({"*", *EVENT_TYPES, *(kind.partition(".")[0] + ".*" for kind in EVENT_TYPES)})
"""What an endpoint may ask for."""
MAX_ENDPOINTS = 100
"""Endpoints an account may have."""
SECRET_OVERLAP = timedelta(hours=24)
"""How long the secret before a rotation goes on signing."""
IDEMPOTENCY_WINDOW = timedelta(hours=24)
RETENTION = timedelta(days=30)
"""How long events, deliveries and attempts are shown and can be sent again."""
PRUNED_AFTER = RETENTION + timedelta(minutes=1)
"""When they are deleted: later than anybody can still send them again, or an event might go while it is reopened."""
SCHEDULE_S: tuple[float, ...] = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""Seconds from one attempt to the next: eight attempts in all."""

GONE: DisabledReason = "gone"
"""A `disabled_reason`: the endpoint answered 410 Gone. A reason, once published, never changes its meaning."""
FAILING: DisabledReason = "failing"
"""The other one: every attempt had failed for five days."""
WARNED_AFTER_S: tuple[float, ...] = tuple(day * 86400 for day in (1, 3, 4))
"""How long an endpoint has failed when its account is warned."""

MOST_RECOVERED = 10_000
"""Deliveries that one call of recover sends again, the oldest first; the next call takes the next."""
MOST_REPLAYED = 10_000
"""Events that one call of replay looks at, the oldest first; its cursor takes the next."""
MOST_ATTEMPTS_SHOWN = 200
"""Of a delivery that was sent again and again, the latest."""

SUCCEEDED, EXHAUSTED, RETRY = "succeeded", "exhausted", "retry"
"""How an attempt leaves its delivery; after RETRY it stays pending."""
CANCELED_AT_ONCE = 5000
"""Deliveries canceled in the transaction that ends their endpoint; workers cancel the others as they come to them."""


OUR_FAULT = "proxy:"
"""How the error of an attempt begins that says nothing of its endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as the API shows it, without its secrets."""

    id: UUID
    account_id: UUID
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime
    header_names: list[str] = field(default_factory=list)
    filter: EventFilter | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    rate_per_s: int | None = None
    fifo: Fifo | None = None
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SealedEndpoint:
    """An endpoint as the worker reads it, its secrets and headers sealed."""

    id: UUID
    account_id: UUID
    url: str
    events: list[str]
    live: bool
    secret: bytes
    previous_secret: bytes | None
    previous_until: datetime | None
    headers: bytes | None
    version: int
    dropped_before: datetime | None
    filter: EventFilter | None
    rate_per_s: int | None
    fifo: Fifo | None


class Claimed(Struct, frozen=True):
    """A pending delivery on which this worker holds a lease; `at` is the event's time.

    `attempts` are all that were made, `attempts_before` those of them before it was last sent again by hand. With an
    `order_key` it waits for those of its endpoint and key before it; having failed, it holds up those behind it until
    `hold_until`.
    """

    endpoint_id: UUID
    event_id: UUID
    attempts: int
    attempts_before: int
    claims: int
    queued_at: datetime
    at: datetime
    body: str
    order_key: str | None = None
    hold_until: datetime | None = None


class Fed(Struct, frozen=True):
    """A delivery to be made of an event; `leased` when the worker that writes it will also send it at once."""

    endpoint_id: UUID
    event_id: UUID
    leased: bool
    order_key: str | None = None


class Result(Struct, frozen=True):
    """What became of one attempt (`number` counts from 1), and of its delivery (`outcome`).

    `due_in_s` and `anew_in_s` are set on failure: when the next attempt is due, and when it is if the delivery was sent
    again by hand during this one, as `attempts_before`, which it was judged by, then tells. `error` is null on success,
    else a stable code and what was wrong. `version` is the endpoint's to which it was made.
    """

    endpoint_id: UUID
    event_id: UUID
    claims: int
    attempts_before: int
    number: int
    outcome: str
    at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None
    due_in_s: float | None = None
    anew_in_s: float | None = None
    version: int | None = None
    hold_until: datetime | None = None

    @property
    def ended_at(self) -> datetime:
        """When the attempt was over."""
        return self.at + timedelta(milliseconds=self.duration_ms)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was kept; `body` is what is sent of it, None where it was not asked for."""

    id: UUID
    type: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What attempts written together say of an endpoint.

    `succeeded_at` is of the last that succeeded, `failed_at` of the first that failed after it. `version` is the
    endpoint's to which the last that failed was made, `gone` its that answered 410.
    """

    endpoint_id: UUID
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    version: int | None = None
    gone: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """An enabled endpoint, locked; `warned` counts the warnings given since `failing_since`."""

    id: UUID
    account_id: UUID
    url: str
    version: int
    failing_since: datetime | None
    warned: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an endpoint; `warns` when its account is to be warned, `reason` when it is to be disabled."""

    standing: Standing
    failing_since: datetime | None
    warned: int = 0
    warns: bool = False
    reason: DisabledReason | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A delivery as customers see it: pending or over. `status_code` is of the last attempt.

    `due_at` is set while it is pending: a moment that is past when an attempt is under way or about to be.
    """

    endpoint_id: UUID
    event_id: UUID
    event_type: str
    message_id: UUID | None
    state: str
    attempts: int
    status_code: int | None
    completed_at: datetime | None
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class LoggedDetail:
    """What is sent, to where, and, where an attempt succeeded last, how long it took and what came back."""

    url: str
    body: str
    duration_ms: int | None
    response: str | None


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt; `error` is null when it succeeded."""

    number: int
    at: datetime
    duration_ms: int
    status_code: int | None
    response: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class LoggedAttempt(Attempted):
    """One attempt in an endpoint's log, with the event that it was to deliver."""

    event_id: UUID
    event_type: str
    message_id: UUID | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the worker works; tests shorten it.

    A lease outlives the longest attempt by `spare_s` at least: a delivery whose lease is too short for another
    attempt is not begun. `window` is how many attempts may run at once to an endpoint of which nothing is known yet:
    each takes a connection, and after a few answers it is as many as are of use. An attempt that takes more than
    `slow_after_s` is counted among `most_slow` and no more among `most_in_flight`. A claim in order looks at
    `claim_keys` keys and takes up to `run` deliveries of each.
    """

    schedule_s: tuple[float, ...] = SCHEDULE_S
    jitter: float = 0.2
    timeout_s: float = 15.0
    lease_s: float = 30.0
    spare_s: float = 2.0
    poll_s: float = 0.25
    drain_s: float = 5.0
    housekeeping_s: float = 300.0
    slow_after_s: float = 0.5
    most_in_flight: int = 500
    most_slow: int = 1500
    most_in_flight_per_account: int = 200
    most_in_memory: int = 5000
    most_in_memory_per_account: int = 1000
    window: int = 2
    most_window: int = 64
    claim: int = 1000
    claim_per_endpoint: int = 16
    claim_keys: int = 500
    run: int = 32
    warned_after_s: tuple[float, ...] = WARNED_AFTER_S
    disabled_after_s: float = DISABLED_AFTER.total_seconds()

    @property
    def begin_within_s(self) -> float:
        """How long after it was leased an attempt may be begun, for its lease to outlast it."""
        return self.lease_s - self.timeout_s - self.spare_s
