"""`ghasi contract`: the contract as a table, as OpenAPI and as Markdown."""

import sys

from cyclopts import App

from ghasi.commands.output import console
from ghasi.contract import emit

contract = App(name="contract")


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
