"""sms-orchestrator's handler for what carriers over HTTP report: proves it, reads it, and has it written.

Owns which carriers may report here: those of carriers.toml that have a table `receipts`. The answer says nothing of
what a receipt matched; what matches nothing yet is parked by the ledger. Never keeps or logs a callback.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import Counter

from ghasi.carriers.configuration import CarrierConfigurationError, parse_carriers_file
from ghasi.carriers.http.configuration import HttpConfiguration, ReceiptRules
from ghasi.carriers.http.reports import UnreadableReportError, proves_itself, read_reports
from ghasi.carriers.http.template import MissingVariableError
from ghasi.contract.errors import Problem
from ghasi.contract.serving import Call, Reply
from ghasi.messages.dispatch.ledger import Ledger
from ghasi.storage.resources import Resources

LOOK_EVERY_S = 1.0
"""How long a process may go by an older carriers.toml."""
COMMIT_WITHIN_S = 5.0
"""A database that is away longer is the carrier's to wait for: it reports again."""
DRAIN_S = 1.0
log = structlog.get_logger("ghasi.messages")
_reports = Counter("ghasi_carrier_reports_total", "Callbacks of carriers by what became of them", ["outcome"])


class ReportingCarriers:
    """The carriers over HTTP of a carriers.toml that report by callback; the file is read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._content: bytes | None = None
        self._looked_at = float("-inf")
        self._rules: Mapping[str, ReceiptRules] | None = None if path is not None else {}

    def find(self, name: str) -> ReceiptRules | None:
        """Return a carrier's rules; raises Problem service_unavailable while no readable file was ever seen."""
        now = time.monotonic()
        if self._path is not None and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._look(self._path)
        if self._rules is None:
            raise Problem("service_unavailable", "the carriers cannot be read now")
        return self._rules.get(name)

    def _look(self, path: Path) -> None:
        """Read the file if its content is new; a broken one changes nothing."""
        try:
            content = path.read_bytes()
        except OSError as error:
            if self._rules is None or self._content is not None:
                log.warning("carriers_file_unreadable", cause=error.strerror)
            self._content = None
            return
        if content == self._content:
            return
        self._content = content
        try:
            carriers = parse_carriers_file(path, content).carriers
        except CarrierConfigurationError as error:
            log.warning("carriers_file_refused", cause=str(error))
            return
        self._rules = {
            one.name: one.receipts for one in carriers if isinstance(one, HttpConfiguration) and one.receipts
        }


class CarrierReports:
    """Takes the callbacks of carriers in one process, through a ledger of its own."""

    def __init__(self, resources: Resources) -> None:
        self._carriers = ReportingCarriers(resources.settings.carriers)
        self._ledger = Ledger(resources.pool, resources.bells)

    async def take(self, call: Call) -> Reply:
        """Take one callback and answer after the commit.

        Raises Problem not_found, invalid_callback, invalid_request, service_unavailable.
        """
        name = call.path["carrierName"]
        rules = self._carriers.find(name)
        if rules is None:
            _reports.labels("unknown_carrier").inc()
            raise Problem("not_found")
        query: bytes = call.query or b""
        if not _is_proved(name, rules, call, query):
            _reports.labels("unproved").inc()
            raise Problem("invalid_callback")
        try:
            reports = read_reports(name, rules, query, call.body, datetime.now(UTC))
        except UnreadableReportError as error:
            _reports.labels("unreadable").inc()
            log.warning("carrier_report_unreadable", carrier=name, cause=str(error))
            raise Problem("invalid_request", str(error)) from None
        if reports.unreadable:
            log.warning("carrier_report_partly_unreadable", carrier=name, entries=reports.unreadable)
        if reports.receipts:
            async with asyncio.timeout(COMMIT_WITHIN_S):  # TimeoutError is one of UNAVAILABLE
                await self._ledger.put(reports.receipts)
        _reports.labels("taken").inc()
        return Reply()

    async def drain(self) -> None:
        """Wait, bounded, until what was taken is written: what is not was not answered, and comes again."""
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._ledger.batcher.drain()
        except TimeoutError:
            log.warning("carrier_reports_not_written")


def _is_proved(name: str, rules: ReceiptRules, call: Call, query: bytes) -> bool:
    try:
        return proves_itself(rules, call.headers, query, call.body)
    except MissingVariableError as error:
        log.warning("carrier_secret_missing", carrier=name, cause=str(error))
        return False
