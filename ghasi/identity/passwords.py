"""Hashes and checks passwords with argon2id, and counts failed attempts. Keeps no password and knows no user."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

CONCURRENT = 2
ATTEMPTS, ATTEMPTS_WINDOW_S = 10, 300.0
ADDRESSES_WATCHED = 10_000
# OWASP's least parameters for argon2id: 19 MiB, 2 passes, 1 lane
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Passwords:
    """Does the work on threads of its own, `CONCURRENT` at a time, so that a rush takes time and not memory."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="argon2")
        self._nobodys = _hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Return the argon2id hash, with its salt and parameters."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Say whether the password is right; without a hash the same work is done, and the answer is no."""
        candidate = password_hash or self._nobodys
        right = await asyncio.get_running_loop().run_in_executor(self._threads, _verify, candidate, password)
        return right and password_hash is not None

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


class Attempts:
    """Counts sign-ins tried per address in a fixed window; at most `ADDRESSES_WATCHED`, the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, email: str) -> bool:
        """Count one attempt before it is made, so that attempts side by side count too; False when it is one too many.

        The right password is refused as well then: otherwise guessing could go on.
        """
        now = self._clock()
        start, count = self._counts.get(email, (now, 0))
        if now - start >= ATTEMPTS_WINDOW_S:
            start, count = now, 0
        if count >= ATTEMPTS:
            return False
        self._counts[email] = (start, count + 1)
        self._counts.move_to_end(email)
        if len(self._counts) > ADDRESSES_WATCHED:
            self._counts.popitem(last=False)
        return True

    def forget(self, email: str) -> None:
        """Start over after a successful sign-in."""
        self._counts.pop(email, None)
