"""How the server carries out statements that follow an index."""

from dataclasses import dataclass, field
from typing import Any

from ghasi.storage.pool import Pool, Record


@dataclass
class Watched:
    """A pool that keeps how each statement is carried out: as the server does it once it has prepared it."""

    pool: Pool
    plans: list[str] = field(default_factory=list)

    async def fetch(self, statement: str, *values: Any) -> list[Record]:
        async with self.pool.acquire() as connection:
            await connection.execute(f"PREPARE watched AS {statement}")
            given = ", ".join(map(_literal, values))
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF) EXECUTE watched ({given})")
            self.plans.append("\n".join(row[0] for row in rows))
            await connection.execute("DEALLOCATE watched")
            return list(await connection.fetch(statement, *values))

    async def fetchval(self, statement: str, *values: Any) -> Any:
        rows = await self.fetch(statement, *values)
        return rows[0][0] if rows else None


def _literal(value: Any) -> str:
    return repr("{" + ",".join(map(str, value)) + "}") if isinstance(value, list) else f"'{value}'"
