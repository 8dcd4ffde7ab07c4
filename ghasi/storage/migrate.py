"""Brings the schemas up to date: migrations/SCHEMA/NNNN_name.sql, each applied once, in order, in a transaction.

Each service owns the schema of its name and a history of its own, and may have a database of its own: a database gets
the schemas that belong there, no others. Nothing here knows what the tables mean. docs/decisions/0002-migrations.md
says why no library does this.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from ghasi.storage.events.rebase import rebase

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x67686173  # "ghas": one migration at a time in a database
log = structlog.get_logger("ghasi.storage")


class MigrationError(Exception):
    """A migration failed, or one that was applied has been edited since."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    schema: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What the history keeps, to notice an edited file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def list_migrations(schemas: Collection[str] | None = None) -> list[Migration]:
    """Return the migrations of schemas, or all, by schema (`storage` first: others use what it makes) and number."""
    files = sorted(MIGRATIONS.glob("*/*.sql"), key=lambda file: (file.parent.name != "storage", str(file)))
    found = (Migration(file.parent.name, file.stem, file.read_text()) for file in files)
    return [migration for migration in found if schemas is None or migration.schema in schemas]


async def migrate(url: str, schemas: Collection[str] | None = None) -> list[str]:
    """Apply what schemas (or all) lack and return its names; safe to run from several processes at once.

    The history of a schema that is not there any more, since its service moved away, is forgotten.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(
            """
            CREATE SCHEMA IF NOT EXISTS storage;
            CREATE TABLE IF NOT EXISTS storage.migrations (
                schema text NOT NULL,
                name text NOT NULL,
                checksum text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (schema, name)
            )
            """
        )
        await connection.execute(
            "DELETE FROM storage.migrations WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = schema)"
        )
        rows = await connection.fetch("SELECT schema, name, checksum FROM storage.migrations")
        applied = {(row["schema"], row["name"]): row["checksum"] for row in rows}
        done = []
        for migration in list_migrations(schemas):
            known = applied.get((migration.schema, migration.name))
            if known is None:
                await _apply(connection, migration)
                done.append(f"{migration.schema}/{migration.name}")
            elif known != migration.checksum:
                raise MigrationError(f"{migration.schema}/{migration.name} was edited after it had been applied")
        await rebase(connection)
        return done
    finally:
        await connection.close()


async def list_pending(url: str, schemas: Collection[str] | None = None) -> list[str]:
    """Return the names of migrations of schemas, or all, that are not applied yet; changes nothing."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT schema, name FROM storage.migrations JOIN pg_namespace ON nspname = schema"
        )
    except asyncpg.UndefinedTableError:
        rows = []
    finally:
        await connection.close()
    applied = {(row["schema"], row["name"]) for row in rows}
    return [
        f"{item.schema}/{item.name}" for item in list_migrations(schemas) if (item.schema, item.name) not in applied
    ]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {migration.schema}")
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO storage.migrations (schema, name, checksum) VALUES ($1, $2, $3)",
                migration.schema,
                migration.name,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.schema}/{migration.name}: {error}") from error
    log.info("migrated", schema=migration.schema, migration=migration.name)
