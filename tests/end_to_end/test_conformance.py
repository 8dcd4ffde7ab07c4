"""`ghasi contract check` against every shape that people run, with the contract's own limits."""

import contextlib
import json
import subprocess
import sys

import pytest

from tests.end_to_end.deployment import SHAPES, Deployment

WITHIN_S = 240.0

pytestmark = pytest.mark.timeout(2 * WITHIN_S)


def begin_check(deployment: Deployment) -> subprocess.Popen[str]:
    """Start the checker as a user does."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "ghasi", "contract", "check", deployment.api,
            "--identity", deployment.identity, "--json",
        ],
        env=deployment.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_contract_holds_on_every_shape() -> None:
    """All at once: most of it is waiting for the next minute's window."""
    with contextlib.ExitStack() as stack:
        deployments = {name: stack.enter_context(shape()) for name, shape in SHAPES.items()}
        checks = {name: begin_check(deployment) for name, deployment in deployments.items()}
        printed = {name: check.communicate(timeout=WITHIN_S)[0] for name, check in checks.items()}
    for name, check in checks.items():
        assert check.returncode == 0, (name, printed[name])
        assert json.loads(printed[name])["held"] >= 280, (name, printed[name])
