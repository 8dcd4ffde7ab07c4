"""What can go wrong with a command, in one line each."""

from dataclasses import dataclass

import asyncpg
from pydantic import ValidationError

from ghasi.processes.hosting import CannotRun
from ghasi.processes.listening import PortTaken
from ghasi.processes.run_folder import RunError
from ghasi.processes.secrets_file import SecretsError
from ghasi.processes.supervisor import Refusal
from ghasi.storage.embedded import EmbeddedError
from ghasi.storage.migrate import MigrationError
from ghasi.storage.pool import UNAVAILABLE
from ghasi.storage.sealing import SealError

FAILED, USAGE = 1, 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The text for a person and the exit code."""

    text: str
    status: int


def explain(error: Exception) -> Failure | None:
    """Return what to say of an error that is no fault of the program; None for any other."""
    if isinstance(error, ValidationError):
        return Failure("; ".join(_explain_setting(fault) for fault in error.errors(include_input=False)), USAGE)
    if isinstance(error, Refusal | CannotRun | SealError):
        return Failure(str(error), USAGE)
    if isinstance(error, EmbeddedError | PortTaken | SecretsError | MigrationError | RunError):
        return Failure(str(error), FAILED)
    if isinstance(error, UNAVAILABLE | asyncpg.PostgresError):
        return Failure(f"the database can't be used: {type(error).__name__}: {error}", FAILED)
    return None


def _explain_setting(fault: object) -> str:
    location, message = fault["loc"], fault["msg"]  # type: ignore[index]
    name = str(location[0]) if location else "settings"
    return f"GHASI_{name.upper()}: {message}"
