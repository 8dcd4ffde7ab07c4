"""Events between services as tests have them where it does not matter who carries them."""

from ghasi.storage.bells import Bells
from ghasi.storage.events.postgres import PostgresEvents
from ghasi.storage.pool import Pool


def events_of(pool: Pool) -> PostgresEvents:
    return PostgresEvents(pool, Bells(pool))
