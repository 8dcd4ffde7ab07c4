"""Moves what lies sealed in databases under the first secret key, so that the keys behind it can be dropped.

Owns the list of what is sealed. It works beside everything that runs: a value is replaced only while it is still the
one that was read, each row by itself, so that it can be interrupted and repeated. Changes no value, only its seal.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

from ghasi.storage import audit
from ghasi.storage.databases import SCHEMAS, SERVICES
from ghasi.storage.pool import Pool, Record
from ghasi.storage.sealing import Sealer, SealError

BATCH = 500
_NAME = "ghasi keys="


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table that has sealed columns; `key` is its primary key."""

    name: str
    key: str
    columns: tuple[str, ...]

    def is_of(self, services: Collection[str]) -> bool:
        """Whether it holds data of one of these services."""
        schema = self.name.partition(".")[0]
        return any(schema in SCHEMAS[service] for service in services)


SEALED = (
    SealedTable("auth.signing_keys", "kid", ("sealed_private_key",)),
    SealedTable("identity.oob_codes", "hash", ("sealed_code",)),
    SealedTable("identity.signing_keys", "kid", ("sealed_private_key",)),
    SealedTable("webhooks.endpoints", "id", ("secret", "previous_secret", "headers")),
)


@dataclass(slots=True)
class Resealed:
    """What a run did, in values; `unreadable` opens with none of the keys, by table.

    `old_keys_needed` while some value needs a key behind the first, or a process still seals with another than that.
    """

    resealed: int = 0
    current: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    old_keys_needed: bool = False


def name_of_process(sealer: Sealer) -> str:
    """Return the application_name by which a process tells which keys it has, so that none is left without one."""
    return _NAME + ",".join(sealer.key_names)


async def reseal_all(pools: Mapping[str, Pool], sealer: Sealer, *, actor: str) -> Resealed:
    """Do `reseal` for each service by its pool, several of which may be the same; return all that was done.

    Raises SealError likewise, having changed nothing in any database.
    """
    homes: dict[Pool, list[str]] = {}
    for service, pool in pools.items():
        homes.setdefault(pool, []).append(service)
    for pool in homes:
        await _check_running(pool, sealer)
    every = Resealed()
    for pool, services in homes.items():
        done = await reseal(pool, sealer, actor=actor, services=services)
        every.resealed += done.resealed
        every.current += done.current
        every.unreadable |= done.unreadable
        every.old_keys_needed |= done.old_keys_needed
    return every


async def reseal(
    pool: Pool, sealer: Sealer, *, actor: str, services: Collection[str] = SERVICES, batch: int = BATCH
) -> Resealed:
    """Seal every value of services in one database anew that is not under the first key; harmless to repeat.

    Raises SealError, having changed nothing, while a process runs that does not have the first key: it could not open
    what is sealed anew.
    """
    await _check_running(pool, sealer)
    done = Resealed()
    for table in SEALED:
        if not table.is_of(services):
            continue
        async for row in _rows(pool, table, batch):
            await _reseal_row(pool, sealer, table, row, done)
    seal_otherwise = any(keys[0] != sealer.key_names[0] for keys in await _running(pool))
    done.old_keys_needed = bool(done.unreadable) or seal_otherwise
    await audit.record(
        pool, actor=actor, action="secret_key.resealed", subject=sealer.key_names[0], values=done.resealed
    )
    return done


async def _check_running(pool: Pool, sealer: Sealer) -> None:
    if any(sealer.key_names[0] not in keys for keys in await _running(pool)):
        raise SealError(
            "a process runs without the first key of GHASI_SECRET_KEY, and could open nothing that is sealed with it: "
            "give all processes both keys first"
        )


async def _rows(pool: Pool, table: SealedTable, batch: int) -> AsyncIterator[Record]:
    columns = ", ".join((table.key, *table.columns))
    page = await pool.fetch(f"SELECT {columns} FROM {table.name} ORDER BY {table.key} LIMIT $1", batch)
    beyond = f"SELECT {columns} FROM {table.name} WHERE {table.key} > $2 ORDER BY {table.key} LIMIT $1"
    while page:
        for row in page:
            yield row
        page = await pool.fetch(beyond, batch, page[-1][table.key]) if len(page) == batch else []


async def _reseal_row(pool: Pool, sealer: Sealer, table: SealedTable, row: Record | None, done: Resealed) -> None:
    while row is not None:
        changed, current, unreadable = {}, 0, 0
        for column in table.columns:
            if not row[column]:  # null, or emptied with its row's end
                continue
            try:
                sealed = sealer.reseal(row[column])
            except SealError:
                unreadable += 1
                continue
            if sealed is None:
                current += 1
            else:
                changed[column] = sealed
        if not changed or await _replace(pool, table, row, changed):
            done.resealed += len(changed)
            done.current += current
            if unreadable:
                done.unreadable[table.name] = done.unreadable.get(table.name, 0) + unreadable
            return
        # somebody was faster: their value may be the next column's old one
        columns = ", ".join((table.key, *table.columns))
        row = await pool.fetchrow(f"SELECT {columns} FROM {table.name} WHERE {table.key} = $1", row[table.key])


async def _replace(pool: Pool, table: SealedTable, row: Record, changed: dict[str, bytes]) -> bool:
    """Replace values of a row if they are all as they were read."""
    names = list(changed)
    sets = ", ".join(f"{name} = ${2 * number + 2}" for number, name in enumerate(names))
    same = " AND ".join(f"{name} = ${2 * number + 3}" for number, name in enumerate(names))
    values = [value for name in names for value in (changed[name], row[name])]
    status = await pool.execute(
        f"UPDATE {table.name} SET {sets} WHERE {table.key} = $1 AND {same}", row[table.key], *values
    )
    return str(status) == "UPDATE 1"


async def _running(pool: Pool) -> list[list[str]]:
    """Return the names of the keys of each process that is connected to this database, each one's first key first."""
    rows = await pool.fetch(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() "
        "AND starts_with(application_name, $1)",
        _NAME,
    )
    return [row["application_name"].removeprefix(_NAME).split(",") for row in rows]
