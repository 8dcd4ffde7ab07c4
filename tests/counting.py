"""Counts what is asked of the database, so that tests can hold what a batch costs however large it is."""

from typing import Any

import asyncpg.connection
import pytest


def count_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every statement with values is added from here on, of all connections; BEGIN is none."""
    counted: list[str] = []
    execute = asyncpg.connection.Connection._execute

    async def counts(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
        counted.append(" ".join(query.split()))
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.connection.Connection, "_execute", counts)
    return counted
