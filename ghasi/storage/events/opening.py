"""Which carrier a process has, by its settings: NATS JetStream where GHASI_NATS_URL is set, else PostgreSQL."""

from datetime import timedelta

from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.events.carrier import Events
from ghasi.storage.events.jetstream import JetStreamEvents
from ghasi.storage.events.link import Link
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.events.stream import Streams
from ghasi.storage.pool import Pool


def open_link(settings: Settings, name: str = "ghasi") -> Link | None:
    """Return the process's connection to NATS, which is made when it is needed, or None where PostgreSQL carries."""
    return None if settings.nats_url is None else Link(settings.nats_url, name)


def open_events(settings: Settings, pool: Pool, bells: Bells, link: Link | None) -> Events:
    """Return the events of a service, which is in the pool's database; services of a process share the link."""
    if link is None:
        return PostgresEvents(pool, bells)
    # a text that is deleted because of its age is not kept for longer by an event
    days = min(settings.nats_keep_days, settings.body_retention_days or settings.nats_keep_days)
    streams = Streams(timedelta(days=days), settings.nats_replicas)
    return JetStreamEvents(pool, bells, link, streams)
