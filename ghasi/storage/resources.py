"""What a process gives to the parts it hosts."""

import asyncio
from dataclasses import dataclass, field

from ghasi.settings import Settings
from ghasi.storage.bells import Bells
from ghasi.storage.events.carrier import Events
from ghasi.storage.pool import Pool
from ghasi.storage.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Resources:
    """Settings, the database, the key for secrets, and events between services.

    `stopping` is set when the process must drain and end.
    A part is hosted by `routes.serve(resources)`, an async context manager that gives the handlers of its operations,
    and by `worker.work(resources)`, which runs until `stopping` is set and then returns within 8 seconds.
    """

    settings: Settings
    database_url: str
    pool: Pool
    sealer: Sealer
    bells: Bells
    events: Events
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    run: str | None = None
    """What a worker is called whose successor starts only when it has ended, and so takes over what it held."""
