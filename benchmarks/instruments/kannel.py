"""Kannel for comparison: its two processes, with a file store, one transceiver of window 100 and receipts kept inside.

Debian's packages `kannel` and `kannel-extras` have it. Each is fresh, and ends with the block.
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ports import reserved_ports

START_S, STOP_S = 20.0, 10.0
USER, PASSWORD = "bench", "bench"
CONFIGURATION = """\
group = core
admin-port = {admin}
admin-password = {password}
status-password = {password}
smsbox-port = {smsbox}
box-allow-ip = "127.0.0.1"
log-file = "{folder}/bearerbox.log"
log-level = 2
dlr-storage = internal
store-type = file
store-location = "{folder}/store"

group = smsc
smsc = smpp
smsc-id = sink
host = 127.0.0.1
port = {smsc}
transceiver-mode = true
smsc-username = {user}
smsc-password = {password}
system-type = ""
source-addr-ton = 1
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1
max-pending-submits = 100
throughput = 0

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
log-file = "{folder}/smsbox.log"
log-level = 2

group = sendsms-user
username = {user}
password = {password}
concatenation = true
max-messages = 10

group = sms-service
keyword = default
max-messages = 0
text = ""
"""


@dataclass(frozen=True, slots=True)
class Kannel:
    """A running Kannel: where messages are sent to, and its processes."""

    url: str
    bearerbox: int
    smsbox: int


def is_installed() -> bool:
    """Whether both of its programs are here."""
    return bool(shutil.which("bearerbox") and shutil.which("smsbox"))


@contextlib.contextmanager
def kannel(smsc_port: int) -> Iterator[Kannel]:
    """Run Kannel, bound to an SMSC on loopback."""
    folder = Path(tempfile.mkdtemp(prefix="ghasi-kannel-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        admin, smsbox, sendsms = stack.enter_context(reserved_ports(3))
        file = folder / "kannel.conf"
        file.write_text(
            CONFIGURATION.format(
                admin=admin, smsbox=smsbox, sendsms=sendsms, smsc=smsc_port, folder=folder, user=USER, password=PASSWORD
            )
        )
        status = f"http://127.0.0.1:{admin}/status.txt?password={PASSWORD}"
        first = stack.enter_context(_running("bearerbox", file))
        _wait_for(status, "sink", "online")
        second = stack.enter_context(_running("smsbox", file))
        url = f"http://127.0.0.1:{sendsms}/cgi-bin/sendsms?username={USER}&password={PASSWORD}"
        _wait_for(status, "smsbox:", "on-line")
        yield Kannel(url, first, second)


@contextlib.contextmanager
def _running(program: str, configuration: Path) -> Iterator[int]:
    # without -v 4 it writes every step to stderr, and loses most of its speed
    process = subprocess.Popen(
        [program, "-v", "4", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, name: str, state: str) -> None:
    """Wait until Kannel's status page has a line that says both."""
    deadline = time.monotonic() + START_S
    page = ""
    while not any(name in line and state in line for line in page.splitlines()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Kannel did not start:\n{page}")
        time.sleep(0.1)
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            page = answer.read().decode()
