"""A webhook worker, `ghasi work webhooks`, over a database of its own, with a receiver and as many endpoints as wanted.

Every endpoint is another account's and has an address of its own in 127.0.0.0/8, so that none shares a connection.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.instruments.receiver import address_of
from benchmarks.measuring import beside, cpu_us, stats, used_s, wait_for
from ghasi.processes.lifetime import allow_many_files
from ghasi.processes.logs import configure_logs
from ghasi.storage import embedded
from ghasi.storage.migrate import migrate
from ghasi.storage.sealing import Sealer, new_secret_key
from ghasi.webhooks.delivering.signing import new_secret
from ghasi.webhooks.examples import example_data
from ghasi.webhooks.model import Pace
from tests.ports import reserved_ports

DATA = example_data("message.delivered")
BODY = f'{{"type":"message.delivered","timestamp":"2026-01-01T00:00:02.000Z","data":{DATA}}}'
PACE = Pace()
STALLED_S = 60.0


def id_of(case: int, number: int) -> UUID:
    """Return the id of an endpoint, and of its account."""
    return UUID(f"00000000-0000-7000-{0x8000 + case % 0x1000:04x}-{number:012x}")


ID_OF = "('00000000-0000-7000-' || to_hex(32768 + $2::int % 4096) || '-' || lpad(to_hex({}), 12, '0'))::uuid"
_OUTBOX = f"""
INSERT INTO messages.outbox (id, type, account_id, subject_id, sequence, at, data)
SELECT uuidv7(), 'message.delivered', {ID_OF.format("n % $2")}, uuidv7(), 2, now(), $3::text::json
FROM generate_series(1, $1::int) AS n
"""


@dataclass
class WebhookWorker:
    """A database, a receiver, and where both are."""

    folder: Path
    url: str
    port: int
    connection: asyncpg.Connection
    sealer: Sealer
    secret_key: str

    async def add_endpoints(self, case: int) -> None:
        """Make so many endpoints, one an account."""
        now = datetime.now(UTC)
        rows = [
            (
                id_of(case, number), id_of(case, number), f"http://{address_of(number)}:{self.port}/hook",
                ["message.*"], True, self.sealer.seal(new_secret().encode()), now, now,
            )
            for number in range(case)
        ]  # fmt: skip
        columns = ("id", "account_id", "url", "events", "enabled", "secret", "created_at", "updated_at")
        await self.connection.copy_records_to_table("endpoints", schema_name="webhooks", records=rows, columns=columns)
        await self.connection.execute("ANALYZE webhooks.endpoints")

    @contextlib.contextmanager
    def working(self) -> Iterator[int]:
        """Run a worker, once it is ready; gives its process id."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}
        settings = {"GHASI_DEV": "true", "GHASI_DATABASE_URL": self.url, "GHASI_SECRET_KEY": self.secret_key}
        output = self.folder / "worker.out"
        with output.open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "ghasi", "work", "webhooks"],
                env=inherited | settings, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            while b"ready" not in output.read_bytes():
                assert worker.poll() is None, output.read_text()
                time.sleep(0.05)
            yield worker.pid
        finally:
            worker.terminate()
            worker.wait()

    async def over(self, expected: int) -> dict[str, float]:
        """Wait until so many deliveries have come and are written down; return what the receiver counted."""
        counted, since = stats(self.port), time.monotonic()
        while counted["all"] < expected:
            assert time.monotonic() < since + STALLED_S, f"{counted['all']} of {expected} deliveries have come"
            await asyncio.sleep(0.25)
            now = stats(self.port)
            if now["all"] > counted["all"]:
                since = time.monotonic()
            counted = now
        while await self.connection.fetchval("SELECT EXISTS (SELECT FROM webhooks.pending)"):
            await asyncio.sleep(0.05)
        return counted

    async def rate(self, worker: int, case: int, deliveries: int) -> dict[str, Any]:
        """Write events of which each reaches one of `case` endpoints, and measure until all are delivered."""
        os.kill(worker, signal.SIGSTOP)
        try:
            await self.connection.execute(_OUTBOX, deliveries, case, DATA)
            stats(self.port, "reset")
            before = used_s({"worker": worker}, self.folder)
        finally:
            os.kill(worker, signal.SIGCONT)
        counted = await self.over(deliveries)
        return {
            "per_s": deliveries / (counted["last"] - counted["first"]),
            "cpu_us": cpu_us(before, used_s({"worker": worker}, self.folder), deliveries),
            "again": counted["all"] - deliveries,
            "connections": counted["connections"],
        }

    def loop(self, case: int, deliveries: int) -> dict[str, Any]:
        """Let the bare loop send as many, with as many at once."""
        concurrency = min(PACE.most_in_flight, case * PACE.most_window)
        command = [
            sys.executable,
            "-m",
            "benchmarks.instruments.webhook_loop",
            *map(str, (self.port, case, deliveries, concurrency)),
        ]
        stats(self.port, "reset")
        spent = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return {
            "per_s": deliveries / spent["seconds"],
            "cpu_us": {"loop": spent["cpu_s"] * 1e6 / deliveries},
            "connections": stats(self.port)["connections"],
        }


@contextlib.asynccontextmanager
async def webhook_worker(most_endpoints: int) -> AsyncIterator[WebhookWorker]:
    """Start a database and a receiver of this run's own."""
    configure_logs("bench", "warning")
    allow_many_files()
    folder = Path(tempfile.mkdtemp(prefix="ghasi-bench-"))
    folder.chmod(0o711)
    key = new_secret_key()
    try:
        url = embedded.start(folder).url
        await migrate(url)
        connection = await asyncpg.connect(url, command_timeout=3600)
        with (
            reserved_ports(1) as (port,),
            beside("benchmarks.instruments.receiver", str(port), "--hosts", str(most_endpoints)),
        ):
            wait_for(f"http://127.0.0.1:{port}/stats")
            yield WebhookWorker(folder, url, port, connection, Sealer(key), key)
        await connection.close()
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)
