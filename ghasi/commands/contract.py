"""`ghasi contract`: the contract as a table, as OpenAPI, as Markdown and as Kong's configuration."""

import asyncio
import sys
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.config import Env

from ghasi.commands.output import console
from ghasi.commands.running import SettingFlags
from ghasi.contract import emit
from ghasi.settings import Settings

contract = App(name="contract")
# every flag of it also as GHASI_CHECK_*
contract.command(
    "ghasi.commands.contract_check:check",
    name="check", config=Env("GHASI_CHECK_", command=False), help="Run the contract against a deployment.",
)  # fmt: skip
contract.command(
    "ghasi.commands.contract_diff:diff",
    name="diff", help="Say what breaks between two versions of the contract.",
)  # fmt: skip
contract.command(
    "ghasi.commands.contract_mock:mock", name="mock", help="Serve the contract with examples, for front-end work.",
)  # fmt: skip


@contract.command
def show() -> None:
    """Print the routes as a table."""
    emit.show(console())


@contract.command
def openapi() -> None:
    """Print the OpenAPI 3.1 document."""
    sys.stdout.write(emit.openapi_json())


@contract.command
def docs() -> None:
    """Print the reference as Markdown."""
    sys.stdout.write(emit.markdown())


@contract.command
def kong(
    *,
    keys: Annotated[str | None, Parameter(help="URL or file of the key set; default no keys")] = None,
    redis: Annotated[str | None, Parameter(help="Redis for several nodes; default GHASI_REDIS_URL")] = None,
    settings: SettingFlags | None = None,
) -> None:
    """Print Kong's declarative configuration (format 3.0, for Kong 3.9); hosts, limits and Redis are the settings'."""
    from ghasi.contract.kong.configuration import configuration  # noqa: PLC0415 - the other commands need none of it
    from ghasi.contract.kong.keys import read_keys  # noqa: PLC0415

    settings = settings or Settings()
    if redis is not None:
        settings = settings.model_copy(update={"redis_url": redis})
    published = asyncio.run(read_keys(keys, settings)) if keys is not None else None
    sys.stdout.write(configuration(settings, published))
