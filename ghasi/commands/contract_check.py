"""`ghasi contract check`: its flags, what it prints while it runs, and where the report goes."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from ghasi.commands.failures import FAILED, USAGE
from ghasi.commands.output import console
from ghasi.contract import check as checking
from ghasi.contract.check import HELD, CannotCheck, Options, Promise, Report

Token = Annotated[str | None, Parameter(help="An access token of account A")]
OtherToken = Annotated[str | None, Parameter(help="An access token of another account, for whose things are whose")]
ApiKey = Annotated[str | None, Parameter(help="An API key of account A; by default one is made and deleted")]
RefreshCookie = Annotated[str | None, Parameter(help="A refresh token, which is used up")]
ExpiredToken = Annotated[str | None, Parameter(help="An access token that has expired")]
OtherIssuerToken = Annotated[str | None, Parameter(help="One that the deployment's key signed, with another iss")]
Identity = Annotated[str | None, Parameter(help="Where to sign fresh people up, as Firebase does: https://.../v1")]
IdentityKey = Annotated[str, Parameter(help="Its web API key")]
Origin = Annotated[str | None, Parameter(help="The portal's address, whose pages may call from a browser")]
Issuer = Annotated[str, Parameter(help="The token's iss")]
To = Annotated[str, Parameter(help="To which number one message is sent")]
Safe = Annotated[bool, Parameter(help="Send nothing that costs money", negative="")]
Extensions = Annotated[
    bool | None, Parameter(help="Whether extensions have to be there; by default those are checked that are")
]
Only = Annotated[
    tuple[str, ...], Parameter(help="Promises by id, such as routes.* or limits.sends; several", negative="")
]
Limit = Annotated[
    tuple[str, ...], Parameter(help="A limit that is not the contract's: sends=1000; several", negative="")
]
UpstreamAt = Annotated[
    tuple[str, ...],
    Parameter(
        help="An upstream to play, where the gateway looks for it: message-store=127.0.0.1:9001[,URL of the real one]",
        negative="",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON", negative="")]
Junit = Annotated[Path | None, Parameter(help="Write JUnit's XML to a file")]


def check(
    url: str,
    /,
    *,
    token: Token = None,
    other_token: OtherToken = None,
    api_key: ApiKey = None,
    refresh_cookie: RefreshCookie = None,
    expired_token: ExpiredToken = None,
    other_issuer_token: OtherIssuerToken = None,
    identity: Identity = None,
    identity_key: IdentityKey = "local",
    origin: Origin = None,
    issuer: Issuer = "https://api.ghasi.io",
    to: To = "+46700000010",
    safe: Safe = False,
    extensions: Extensions = None,
    only: Only = (),
    limit: Limit = (),
    upstream: UpstreamAt = (),
    as_json: AsJson = False,
    junit: Junit = None,
) -> int:
    """Run the contract against a deployment and print what is held, broken and not checked.

    Exits with 0 when nothing is broken, 1 when something is, 2 when it can't be run or nothing could be checked. Every
    flag may be given as GHASI_CHECK_*, so that tokens need not be on the command line.
    """
    try:
        options = Options(
            url=url, token=token, other_token=other_token, api_key=api_key, refresh_cookie=refresh_cookie,
            expired_token=expired_token, other_issuer_token=other_issuer_token, identity=identity,
            identity_key=identity_key, origin=origin, issuer=issuer, to=to, safe=safe,
            extensions=extensions, only=only, limits=checking.read_limits(limit),
            upstreams=checking.read_upstreams(upstream),
        )  # fmt: skip
        report = asyncio.run(_check(options))
    except CannotCheck as error:
        sys.stderr.write(f"ghasi: {error}\n")
        return USAGE
    if as_json:
        sys.stdout.write(checking.as_json(report) + "\n")
    else:
        checking.show(console(), report)
    if junit is not None:
        try:
            junit.write_text(checking.as_junit(report), encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"ghasi: --junit: {junit}: {error.strerror}\n")
            return USAGE
    if report.broken:
        return FAILED
    return 0 if report.count(HELD) else USAGE


async def _check(options: Options) -> Report:
    """Check, and tell on stderr: on a terminal which promise is looked at, and in any case what is waited for."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        return await checking.check(options, tell=lambda text: screen.print(text, markup=False, highlight=False))
    with screen.status("starting") as status:
        at = ""

        def progress(promise: Promise, number: int, of: int) -> None:
            nonlocal at
            at = f"{number}/{of} {promise.id}"
            status.update(at)

        return await checking.check(options, tell=lambda text: status.update(f"{at}: {text}"), progress=progress)
