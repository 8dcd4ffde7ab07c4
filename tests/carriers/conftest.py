"""Fixtures of the carriers' tests; what they hand out is described in smsc.py."""

from tests.carriers.smsc import peer, start_client, start_simulator

__all__ = ["peer", "start_client", "start_simulator"]
