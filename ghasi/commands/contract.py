"""`ghasi contract`: the contract as a table, as OpenAPI and as Markdown."""

import sys

from cyclopts import App
from cyclopts.config import Env

from ghasi.commands.output import console
from ghasi.contract import emit

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
