"""Carriers' binds among real worker processes: one holder each, whatever becomes of the holders, and nothing lost."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ghasi.carriers.simulated_behaviour import Behaviour
from ghasi.carriers.simulated_session import SimulatedSession
from ghasi.carriers.simulator import Simulator, serve_simulator
from ghasi.messages.dispatch import bind_queries
from ghasi.storage.pool import Pool
from tests.messages.carrying import carriers_toml
from tests.messages.conftest import Customer
from tests.messages.test_hardening import until

MOVED_WITHIN_S = 10.0


class Sessions(set[SimulatedSession]):
    """An SMSC's connections, and the most that there were at once."""

    most = 0

    def add(self, session: SimulatedSession) -> None:
        super().add(session)
        self.most = max(self.most, len(self))


@dataclass
class Workers:
    """Processes of `ghasi work dispatch` over the test's database."""

    environment: dict[str, str]
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{len(self.running)}.out").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ghasi", "work", "dispatch"],
                env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.running.append(process)
        return process

    def output(self) -> str:
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("worker-*.out")))


@contextmanager
def workers_of(database_url: str, secret_key: str, folder: Path, carriers: Path) -> Iterator[Workers]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GHASI_")}
    own = {
        "GHASI_DATABASE_URL": database_url,
        "GHASI_SECRET_KEY": secret_key,
        "GHASI_DATA_DIR": str(folder / "data"),
        "GHASI_CARRIERS": str(carriers),
    }
    workers = Workers(inherited | own, folder)
    try:
        yield workers
    finally:
        for process in workers.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in workers.running:
            process.wait(20)


@pytest.fixture
async def smsc() -> AsyncIterator[Simulator]:
    smsc = await serve_simulator(behaviour=Behaviour(receipt_delay_s=0.01))
    smsc.sessions = Sessions()
    yield smsc
    await smsc.close()


async def holders(pool: Pool, carrier: str = "a") -> dict[int, int]:
    """How many binds each process has up, by its process id."""
    found = await bind_queries.list_holders(pool)
    return {int(process.split(":")[1]): up for name, process, _, up in found if name == carrier and up}


@contextmanager
def measured(what: str, within_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    print(f"{what}: {took_s:.2f} s")
    assert took_s < within_s, what


async def test_three_workers_share_three_binds_and_outlive_each_other(  # noqa: PLR0917 - fixtures
    customer: Customer, pool: Pool, database_url: str, secret_key: str, smsc: Simulator, tmp_path: Path
) -> None:
    carriers = tmp_path / "carriers.toml"
    carriers.write_text(carriers_toml("", a=(smsc.port, 20)).replace("window = 20", "window = 20\nbinds = 3"))
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def traffic() -> None:
        while not done.is_set():
            sent.append(await customer.send(f"+4670{1001000 + len(sent)}", f"m{len(sent)}"))
            await asyncio.sleep(0.005)

    with workers_of(database_url, secret_key, tmp_path, carriers) as workers:
        try:
            killed, ended, stopped = [workers.start() for _ in range(3)]
            sending = asyncio.create_task(traffic())
            with measured("one each", 30):
                await until(lambda: is_held(pool, {one.pid: 1 for one in (killed, ended, stopped)}))
            killed.kill()
            with measured("after SIGKILL", MOVED_WITHIN_S):
                await until(lambda: is_held_by(pool, ended.pid, stopped.pid))
            ended.terminate()
            with measured("after SIGTERM", 3.0):
                await until(lambda: is_held(pool, {stopped.pid: 3}))
            # a stopped process can't unbind: its sockets stay, but another has its binds when it wakes
            heir = workers.start()
            await until(lambda: is_held_by(pool, heir.pid, stopped.pid))
            os.kill(stopped.pid, signal.SIGSTOP)
            with measured("after SIGSTOP", MOVED_WITHIN_S):
                await until(lambda: is_held(pool, {heir.pid: 3}))
            os.kill(stopped.pid, signal.SIGCONT)
            await until(lambda: is_held_by(pool, heir.pid, stopped.pid))
            assert "carrier_lease_lapsed" in workers.output()
        finally:
            done.set()
            await sending
        await pool.execute("UPDATE messages.dispatch SET due_at = now() WHERE in_doubt")  # the leases' 30 s are over
        for message in sent:
            await customer.until(message["id"], "delivered")
        resubmitted = await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")
        print(len(sent), smsc.accepted, smsc.duplicates, resubmitted, smsc.sessions.most)
        assert smsc.duplicates <= resubmitted


async def is_held(pool: Pool, expected: dict[int, int]) -> bool:
    return await holders(pool) == expected


async def is_held_by(pool: Pool, *processes: int) -> bool:
    """Whether all three binds are up, at these processes."""
    found = await holders(pool)
    return found.keys() == set(processes) and sum(found.values()) == 3
