"""`ghasi contract diff`: which documents, what it prints, and what its exit status says."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
from cyclopts import Parameter

from ghasi.commands.failures import FAILED, USAGE
from ghasi.commands.output import count, print_rows
from ghasi.contract.comparing import NotAContractError, Weight, compare
from ghasi.contract.emit.openapi import openapi

CURRENT = "current"
WITHIN_S = 20.0
Document = Annotated[str, Parameter(help="An OpenAPI document: a file, a URL, `-`, or `current`, which this Ghasi has")]


class CannotReadError(Exception):
    """A document that can't be had; the text names it and says why."""


def diff(
    old: Document,
    new: Document = CURRENT,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON", negative="")] = False,
) -> int:
    """Say what a client of an old version of the contract would notice of a new one; breaking changes first.

    Exits with 1 when something breaks, with 2 when a document can't be read.
    """
    try:
        changes = compare(*(_read(one) for one in (old, new)))
    except (CannotReadError, NotAContractError) as error:
        sys.stderr.write(f"ghasi: {error}\n")
        return USAGE
    rows = [{"weight": change.weight.value, "where": change.where, "what": change.what} for change in changes]
    print_rows(rows, as_json=json, columns=("weight", "where", "what"))
    breaking = sum(change.weight is Weight.BREAKING for change in changes)
    if not json:
        sys.stdout.write(f"\n{count(len(changes), 'change')}, {breaking} breaking\n")
    return FAILED if breaking else 0


def _read(name: str) -> dict[str, Any]:
    if name == CURRENT:
        return openapi()
    try:
        if name == "-":
            content = sys.stdin.buffer.read()
        elif name.startswith(("http://", "https://")):
            content = asyncio.run(_fetch(name))
        else:
            content = Path(name).read_bytes()
        document: dict[str, Any] = msgspec.json.decode(content)
    except OSError as error:
        raise CannotReadError(f"{name}: {error.strerror or error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CannotReadError(f"{name}: {error or 'no answer in time'}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotReadError(f"{name} is not JSON: {error}") from error
    return document


async def _fetch(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=WITHIN_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(url) as response,
    ):
        return await response.read()
