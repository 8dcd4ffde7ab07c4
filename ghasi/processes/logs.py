"""Sets up a process's logs: JSON lines on stderr, or words for people when stderr is a terminal.

Owns the form of a line and the net under it: values of fields named like secrets, and strings that look like Ghasi's
keys, tokens or a database password, never reach the output. Owns no message of its own.
"""

import json
import logging
import re
import sys
from typing import Any

import asyncpg
import structlog
from structlog.typing import EventDict, Processor

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(
    r"authorization|password|secret|cookie|(?:^|[_-])(?:token|key|body|text|proxy)$", re.IGNORECASE
)  # key_id and kid are no secrets
_SECRET_VALUE = re.compile(
    r"\b(?:ghk_|whsec_)[\w+/=-]{6,}"  # API keys, webhook secrets
    r"|\beyJ[\w-]{6,}\.[\w-]+\.[\w-]*"  # JSON Web Tokens
    r"|(?<=://)[^\s:/@]*:[^\s/@]+(?=@)"  # the credentials of a URL
    r"|(?<=[?&]password=)[^\s&\"']+"  # or one that has the password behind it
)
_ROW = re.compile(
    r"(\nDETAIL: |invalid input for query argument \$\d+: ).*", re.DOTALL
)  # asyncpg shows values behind it
_EXEMPT = frozenset({"event", "level", "timestamp", "logger", "part"})


class Lines:
    """A logger's end: writes lines to stderr; a reader that went away must not break the service that logs."""

    def __init__(self, name: str = "ghasi") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Write one line, whole."""
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # stderr is closed: there is nobody left to tell

    debug = info = warning = error = critical = exception = log = msg


class _FromLogging(logging.Handler):
    """Brings what libraries log by the standard module into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger(record.name).log(record.levelno, record.getMessage().strip(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging never raises into its caller
            self.handleError(record)


def configure_logs(part: str, level: str = "info") -> None:
    """Set up structlog and the standard logging of this process; `part` names it in every line."""

    def add_part(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["part"] = part
        return event

    least = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_logger_name,
        add_part,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact_fields,
        redact_rows,
    ]
    ending: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, _render_json]
    )
    structlog.configure(
        processors=[*shared, *ending, redact_values],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=Lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLogging()], level=max(least, logging.INFO), force=True)
    logging.getLogger("uvicorn.access").disabled = True  # the gateway counts requests; none is worth a line
    for name in ("uvicorn", "uvicorn.error", "asyncio", "aiohttp"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.setLevel(max(least, logging.WARNING))
    # it warns of each request that is no HTTP: whoever sends those must not fill the log
    logging.getLogger("uvicorn.error").setLevel(max(least, logging.ERROR))


def redact_fields(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace the values of fields named like secrets, at any depth."""
    return {name: value if name in _EXEMPT else _redact(name, value) for name, value in event.items()}


def redact_rows(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Take rows' values out of what the database says of a refused one: numbers and texts of messages are in them."""
    told = event.get("exc_info")
    error = told if isinstance(told, BaseException) else told[1] if isinstance(told, tuple) else sys.exc_info()[1]
    if told:
        _forget_rows(error, set())
    return {
        name: _ROW.sub(rf"\1{REDACTED}", value) if isinstance(value, str) else value for name, value in event.items()
    }


def _forget_rows(error: BaseException | None, seen: set[int]) -> None:
    """Do so in an error and all that led to it."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None
    told = tuple(_ROW.sub(rf"\1{REDACTED}", one) if isinstance(one, str) else one for one in error.args)
    if told != error.args:
        error.args = told
    for cause in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _forget_rows(cause, seen)


def redact_values(_logger: object, _method: str, line: Any) -> str:
    """Replace what looks like a secret in a rendered line: it may stand in an error's text."""
    return _SECRET_VALUE.sub(REDACTED, str(line))


def _redact(name: object, value: Any) -> Any:
    if value is not None and isinstance(name, str) and _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, dict):
        return {key: _redact(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact("", item) for item in value]
    return value


def _add_logger_name(logger: Any, _method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event


def _render_json(_logger: object, _method: str, event: EventDict) -> str:
    ordered = {name: event.pop(name) for name in ("timestamp", "level", "part", "logger", "event") if name in event}
    # not msgspec: whatever is logged must come out, lone surrogates and foreign objects too
    return json.dumps(ordered | dict(event), default=str, skipkeys=True)
