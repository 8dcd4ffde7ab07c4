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
from ghasi.carriers.smpp import pdu
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


@contextmanager
def measured(what: str, within_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    sys.stdout.write(f"{what}: {took_s:.2f} s\n")  # pytest shows it with -s, or when the test fails
    assert took_s < within_s, what


@dataclass
class Scene:
    """The SMSC, and what it got on which connection, beside what the workers say they hold."""

    smsc: Simulator
    pool: Pool
    submits: list[tuple[float, SimulatedSession]] = field(default_factory=list)

    def bound(self) -> int:
        return sum(session.system_id is not None for session in self.smsc.sessions)

    async def holders(self) -> dict[int, int]:
        """How many binds each process holds, by its process id."""
        found = await bind_queries.list_holders(self.pool)
        return {int(process.split(":")[1]): held for _, process, held, _ in found}

    async def all_with(self, *processes: subprocess.Popen[bytes], bound: int = 3) -> None:
        """Wait until these processes hold all three binds, each one at least, and the SMSC has so many."""

        async def is_so() -> bool:
            found = await self.holders()
            return found.keys() == {one.pid for one in processes} and sum(found.values()) == 3 and self.bound() == bound

        await until(is_so)


@pytest.fixture
async def scene(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    smsc = await serve_simulator(behaviour=Behaviour(receipt_delay_s=0.01, latency_s=0.02))
    smsc.sessions = Sessions()
    scene = Scene(smsc, pool)
    handle = SimulatedSession._handle

    def note(self: SimulatedSession, frame: pdu.Frame) -> None:
        if frame.command == pdu.SUBMIT_SM:
            scene.submits.append((time.monotonic(), self))
        handle(self, frame)

    monkeypatch.setattr(SimulatedSession, "_handle", note)
    yield scene
    await smsc.close()


async def test_three_workers_share_three_binds_and_outlive_each_other(  # noqa: PLR0917 - fixtures
    customer: Customer, pool: Pool, database_url: str, secret_key: str, scene: Scene, tmp_path: Path
) -> None:
    carriers, smsc = tmp_path / "carriers.toml", scene.smsc
    carriers.write_text(carriers_toml("", a=(smsc.port, 20)).replace("window = 20", "window = 20\nbinds = 3"))
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def traffic() -> None:
        while not done.is_set():
            sent.append(await customer.send(f"+4670{1001000 + len(sent)}", f"m{len(sent)}"))
            await asyncio.sleep(0.005)

    with workers_of(database_url, secret_key, tmp_path, carriers) as workers:
        killed, ended, stopped = [workers.start() for _ in range(3)]
        sending = asyncio.create_task(traffic())
        try:
            with measured("one each", 30):
                await scene.all_with(killed, ended, stopped)
            assert set((await scene.holders()).values()) == {1}
            killed.kill()
            with measured("after SIGKILL", MOVED_WITHIN_S):
                await scene.all_with(ended, stopped)
            ended.terminate()
            with measured("after SIGTERM", 3.0):
                await scene.all_with(stopped)
            heir = workers.start()
            await scene.all_with(heir, stopped)
            assert smsc.sessions.most == 3, "never more than three at any moment"
            await a_stopped_worker_does_no_harm(scene, stopped, heir)
        finally:
            done.set()
            await sending
        assert "carrier_lease_lapsed" in workers.output()
        await pool.execute("UPDATE messages.dispatch SET due_at = now() WHERE in_doubt")  # the leases' 30 s are over
        for message in sent:
            await customer.until(message["id"], "delivered")
        resubmitted = await pool.fetchval("SELECT count(*) FROM messages.messages WHERE resubmitted")
        sys.stdout.write(f"{len(sent)} messages, {smsc.duplicates} twice, {resubmitted} in doubt\n")
        assert smsc.accepted - smsc.duplicates == len(sent)
        assert smsc.duplicates <= resubmitted


async def a_stopped_worker_does_no_harm(
    scene: Scene, stopped: subprocess.Popen[bytes], heir: subprocess.Popen[bytes]
) -> None:
    """It can't unbind, so its connections stay; when it wakes it notices before it submits anything."""
    before, own = set(scene.smsc.sessions), (await scene.holders())[stopped.pid]
    os.kill(stopped.pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    with measured("after SIGSTOP", MOVED_WITHIN_S):
        await scene.all_with(heir, bound=3 + own)
    its = before - {session for at, session in scene.submits if at > stopped_at + 0.5}
    assert len(its) == own
    os.kill(stopped.pid, signal.SIGCONT)
    woken_at = time.monotonic()
    await scene.all_with(heir, stopped)
    assert not [at for at, session in scene.submits if at > woken_at and session in its]
