"""The README's quick start, run as written."""

import subprocess
import sys
from pathlib import Path

from tests.end_to_end.deployment import together

SCRIPT = Path(__file__).parents[2] / "examples" / "quickstart.sh"


def test_the_quick_start_works_as_written() -> None:
    with together() as deployment:
        addresses = {
            "GHASI": f"{sys.executable} -m ghasi",
            "GHASI_API_URL": deployment.api,
            "GHASI_IDENTITY_URL": f"http://127.0.0.1:{deployment.ports['identity']}",
        }
        done = subprocess.run(
            ["bash", SCRIPT],
            env=deployment.environment | addresses,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for expected in ("delivered", "ghk_", "whsec_", "0.0450", "GH-"):
            assert expected in done.stdout, done.stdout
