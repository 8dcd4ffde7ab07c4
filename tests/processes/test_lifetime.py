"""How a process begins."""

import resource
import subprocess
import sys

FILES = """
import resource
from ghasi.processes.lifetime import run

async def main():
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return 0

run(main)
"""


def test_a_process_may_have_as_many_files_open_as_it_is_allowed_at_all() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 256; exec "$0" -c "$1"', sys.executable, FILES],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert int(done.stdout) == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
