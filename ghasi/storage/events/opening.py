"""Which carrier a process has, by its settings: NATS JetStream where GHASI_NATS_URL is set, else PostgreSQL.

What speaks to NATS is imported there alone: it takes 10 MB and a sixth of a process's start.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.pool import Pool

if TYPE_CHECKING:
    from ghasi.storage.events.link import Link


def open_link(settings: Settings, name: str = "ghasi") -> "Link | None":
    """Return the process's connection to NATS, which is made when it is needed, or None where PostgreSQL carries."""
    if settings.nats_url is None:
        return None
    from ghasi.storage.events.link import Link  # noqa: PLC0415 - see the module

    return Link(settings.nats_url, name)


def open_events(settings: Settings, pool: Pool, bells: Bells, link: "Link | None") -> Events:
    """Return the events of a service, which is in the pool's database; services of a process share the link."""
    if link is None:
        return PostgresEvents(pool, bells)
    from ghasi.storage.events.jetstream import JetStreamEvents  # noqa: PLC0415 - see the module
    from ghasi.storage.events.stream import Streams  # noqa: PLC0415 - see the module

    # a text that is deleted because of its age is not kept for longer by an event
    days = min(settings.nats_keep_days, settings.body_retention_days or settings.nats_keep_days)
    streams = Streams(timedelta(days=days), settings.nats_replicas)
    return JetStreamEvents(pool, bells, link, streams)
