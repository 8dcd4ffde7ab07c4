"""What can go wrong with a command, in one line each."""

from dataclasses import dataclass

import asyncpg
from cyclopts import CycloptsError, UnusedCliTokensError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ghasi.billing.model import BillingError, PeriodError
from ghasi.contract.errors import Problem
from ghasi.contract.kong import KongError
from ghasi.processes.hosting import CannotRun, PartEnded
from ghasi.processes.listening import CannotListen
from ghasi.processes.run_folder import RunError
from ghasi.processes.secrets_file import SecretsError
from ghasi.settings import Settings, SettingsError, variable_of
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


USAGE_ERRORS = (CannotRun, PeriodError, SealError, SettingsError)
FAILURES = (KongError, EmbeddedError, BillingError, CannotListen, SecretsError, MigrationError, RunError, PartEnded)


def explain(error: Exception) -> Failure | None:
    """Return what to say of an error that is no fault of the program; None for any other."""
    failure: Failure | None
    match error:
        case ValidationError():
            faults = error.errors(include_input=False, include_url=False)
            failure = Failure("; ".join(map(_explain_setting, faults)), USAGE)
        case CycloptsError(__cause__=ValidationError() as cause):  # settings, some of them given as flags
            failure = explain(cause)
        case CycloptsError():
            failure = Failure(_explain_usage(error), USAGE)
        case Problem():
            failure = Failure(_explain_problem(error), FAILED if error.code == "not_found" else USAGE)
        case UnicodeDecodeError():
            failure = Failure("the file is not UTF-8", FAILED)
        case OSError(filename=str(filename), strerror=str(reason)):
            failure = Failure(f"{filename}: {reason}", FAILED)
        case _ if isinstance(error, USAGE_ERRORS):
            failure = Failure(str(error), USAGE)
        case _ if isinstance(error, FAILURES):
            failure = Failure(str(error), FAILED)
        case _ if isinstance(error, (*UNAVAILABLE, asyncpg.PostgresError)):
            names = ", ".join(getattr(error, "__notes__", ())) or "the database"
            failure = Failure(f"{names} can't be used: {type(error).__name__}: {error}", FAILED)
        case _:
            return None
    return failure


def _explain_usage(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f'Unknown command or argument "{error.unused_tokens[0]}"; --help lists what there is.'
    return " ".join(str(error).split())


def _explain_setting(fault: ErrorDetails) -> str:
    location, message = fault["loc"], fault["msg"].removeprefix("Value error, ")
    name = str(location[0]) if location else "settings"
    return f"{variable_of(name) if name in Settings.model_fields else name}: {message}"


def _explain_problem(problem: Problem) -> str:
    names = ", ".join(fault.field for fault in problem.errors)
    return f"{names}: {problem.detail}" if names else problem.detail or str(problem)
