"""Ports that are a test's own."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Ports where nothing listens until somebody does who was told of them: nobody else is given them meanwhile."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.bind(("127.0.0.1", 0))  # without SO_REUSEADDR, so that it is held by nobody else
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # and from now on a server may have it too
        yield [holder.getsockname()[1] for holder in holders]
