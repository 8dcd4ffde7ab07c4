"""One place among a carrier's links: connected, bound, and connected again after each end.

Owns the waiting between attempts and what an operator is told of them. What goes over the socket is link.py's.
"""

import asyncio
import contextlib
import random
import ssl
from typing import Any

import structlog

from ghasi.carriers.smpp import statuses
from ghasi.carriers.smpp.link import Link, Role
from ghasi.carriers.smpp.terms import Terms

_log = structlog.get_logger("ghasi.carriers")

_SPEAKS_TLVS = 0x34
_NO_TRANSCEIVER = ': the SMSC knows no bind_transceiver; set bind = "transmitter_receiver"'


class Line:
    """Keeps one link of a role up; `link` is the one there is, or the last one."""

    def __init__(self, terms: Terms, role: Role, number: int, context: ssl.SSLContext | None) -> None:
        self.role = role
        self.link: Link | None = None
        self.detail = "not started"
        self._terms = terms
        self._number = number
        self._context = context
        self._stopping = False
        self._task = asyncio.create_task(self._keep_connected(), name=f"carrier {terms.name} {role} {number}")

    @property
    def is_open(self) -> bool:
        """Whether the link is bound."""
        return self.link is not None and self.link.open

    async def stop(self, patience_s: float | None = None) -> None:
        """Wait for outstanding answers, unbind and close, as `Link.stop`; every future has its result afterwards."""
        self._stopping = True
        if self.link is not None:
            await self.link.stop(patience_s)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def abort(self, why: str) -> None:
        """Drop the link's socket at once."""
        if self.link is not None:
            self.link.abort(why)

    async def _keep_connected(self) -> None:
        """Connect, and after each end again, waiting longer each time unless the link had lasted or been of use.

        An SMSC that ends every link after some hundred messages would otherwise be away most of the time.
        """
        loop, timing = asyncio.get_running_loop(), self._terms.timing
        failures = 0
        while True:
            begun = loop.time()
            bound = await self._connect_once()
            if self._stopping:
                return
            longest = min(timing.least_backoff_s * 2 ** min(failures, 16), timing.most_backoff_s)
            useful = self.link is not None and self.link.useful
            if bound and (useful or loop.time() - begun > longest * 2):
                failures, longest = 0, timing.least_backoff_s
            failures += 1
            # jitter: the links of many processes, broken together, must not come back together
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - not a secret

    async def _connect_once(self) -> bool:
        """Connect, bind and wait for the link's end; return whether it was bound."""
        told, timing = self._terms.told, self._terms.timing
        port = told.receiver_port if self.role == "receiver" and told.receiver_port else told.port
        self.detail = f"connecting to {told.host}:{port}"
        link = Link(self._terms, self.role)
        try:
            async with asyncio.timeout(timing.connect_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link,
                    told.host,
                    port,
                    ssl=self._context,
                    server_hostname=told.tls_server_name if self._context is not None else None,
                )
            self.link = link
            return await self._run(link)
        except (OSError, ValueError) as error:  # also a time-out, a bad certificate, a host name that can't be one
            cause = str(error) or "no connection in time"
            self.detail = f"connection failed: {cause}"
            _log.warning("carrier_connection_failed", carrier=told.name, cause=cause)
            return False
        finally:
            link.abort("stopped")

    async def _run(self, link: Link) -> bool:
        told = self._terms.told
        ends: list[asyncio.Future[Any]] = [link.bound, link.closed]
        await asyncio.wait(ends, timeout=self._terms.timing.response_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if link.bound.done() and not link.bound.cancelled():
            status = link.bound.result()
            if status == statuses.ESME_ROK:
                self.detail = _bound(link.peer_version)
                _log.info("carrier_bound", carrier=told.name, host=told.host, port=told.port, role=self.role)
                why = await link.closed
                self.detail = f"link lost: {why}"
                if not self._stopping:
                    _log.warning("carrier_link_lost", carrier=told.name, cause=why)
                return True
            why = f"the bind was refused: {statuses.status_name(status)}"
            if status == statuses.ESME_RINVCMDID and self.role == "transceiver":
                why += _NO_TRANSCEIVER
        elif link.closed.done():
            why = link.closed.result()
        else:
            why = "the bind was not answered in time"
        self.detail = why
        if not self._stopping:
            _log.warning("carrier_bind_failed", carrier=told.name, cause=why)
        return False


def _bound(version: int | None) -> str:
    """Say so when the SMSC takes no optional parameters (3.4, 3.4): sar, payload and receipts by TLV need them."""
    if version is None or version >= _SPEAKS_TLVS:
        return "bound"
    return f"bound; the SMSC speaks SMPP {version >> 4}.{version & 15}, which has no optional parameters"
