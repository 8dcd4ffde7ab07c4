"""The embedded PostgreSQL: made, taken over, stopped, and never fooled by a stale pid file."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ghasi.storage import embedded


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ghasi-test-"))
    folder.chmod(0o711)
    yield folder / "data"
    embedded.stop(folder / "data")
    shutil.rmtree(folder)


async def answer(connection: embedded.Connection) -> int:
    link = await asyncpg.connect(connection.url)
    try:
        return int(await link.fetchval("SHOW server_version_num"))
    finally:
        await link.close()


async def test_a_cluster_is_made_taken_over_and_stopped(data_dir: Path) -> None:
    first = embedded.start(data_dir)
    assert await answer(first) >= 150000
    assert embedded.running(data_dir) == first
    # a supervisor that was killed leaves the server; the next one goes on with it
    assert embedded.start(data_dir) == first
    embedded.stop(data_dir)
    assert embedded.running(data_dir) is None
    assert not Path(first.socket_dir).exists()
    again = embedded.start(data_dir)
    assert again.password == first.password
    assert await answer(again) >= 150000


async def test_it_is_private(data_dir: Path) -> None:
    connection = embedded.start(data_dir)
    assert Path(connection.socket_dir).stat().st_mode & 0o777 == 0o700
    for name in ("postgres.json", "postgres.password"):
        assert (data_dir / name).stat().st_mode & 0o777 == 0o600
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(connection.url, password="wrong")
    link = await asyncpg.connect(connection.url)
    assert await link.fetchval("SHOW listen_addresses") == ""
    assert await link.fetchval("SHOW synchronous_commit") == "on"
    await link.close()


async def test_a_pid_file_that_names_a_foreign_process_is_not_believed(data_dir: Path) -> None:
    embedded.start(data_dir)
    pid_file = (data_dir / "postgres").resolve() / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    os.waitpid(int(lines[0]), 0)
    # a live process that is no server: ourselves
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    again = embedded.start(data_dir)
    assert pid_file.read_text().splitlines()[0] not in (lines[0], str(os.getpid()))
    assert await answer(again) >= 150000


async def test_a_killed_server_loses_nothing_that_was_committed(data_dir: Path) -> None:
    link = await asyncpg.connect(embedded.start(data_dir).url)
    await link.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    link.terminate()
    process_id = int(((data_dir / "postgres").resolve() / "postmaster.pid").read_text().splitlines()[0])
    os.kill(process_id, signal.SIGKILL)
    os.waitpid(process_id, 0)
    link = await asyncpg.connect(embedded.start(data_dir).url)
    assert await link.fetchval("SELECT n FROM kept") == 7
    await link.close()


def test_a_data_folder_has_one_owner(data_dir: Path) -> None:
    with (
        embedded.locked(data_dir),
        pytest.raises(embedded.EmbeddedError, match="another ghasi"),
        embedded.locked(data_dir),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand the cluster to another user")
async def test_root_may_keep_its_data_where_only_root_can_go() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ghasi-test-"))  # 0700
    try:
        connection = embedded.start(folder / "data")
        assert await answer(connection) >= 150000
        cluster = (folder / "data" / "postgres").readlink()
        assert cluster.stat().st_uid != 0
        embedded.stop(folder / "data")
        shutil.rmtree(cluster.parent)
    finally:
        shutil.rmtree(folder)
