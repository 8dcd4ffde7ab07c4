"""`ghasi kong`: what keeps a running Kong in step with this installation."""

import asyncio
import sys
from typing import Annotated

from cyclopts import App, Parameter, validators

from ghasi.commands.running import SettingFlags
from ghasi.contract.kong import KongError
from ghasi.contract.kong.keys import key_set_url, read_keys
from ghasi.contract.kong.sync import Admin, Change
from ghasi.settings import Settings

kong = App(name="kong")
AdminFlag = Annotated[str, Parameter(help="Kong's Admin API")]
KeysFlag = Annotated[
    str | None, Parameter(help="URL or file of the key set; default /.well-known/jwks.json at GHASI_AUTH_SERVICE_URL")
]
EveryFlag = Annotated[
    float | None, Parameter(help="Go on, every so many seconds; default once", validator=validators.Number(gt=0))
]


@kong.command
def sync(
    *,
    admin: AdminFlag = "http://127.0.0.1:8001",
    keys: KeysFlag = None,
    every: EveryFlag = None,
    settings: SettingFlags | None = None,
) -> int:
    """Make Kong's jwt credentials equal to the published keys; new ones are added before old ones go.

    A Kong without a database gets its configuration back with the keys changed. When nothing has to change, nothing is
    sent. With --every a failure is told and tried again.
    """
    settings = settings or Settings()
    return asyncio.run(_sync(admin, keys or key_set_url(settings), every, settings))


async def _sync(url: str, source: str, every_s: float | None, settings: Settings) -> int:
    async with Admin(url, settings.kong_admin_header) as admin:
        while True:
            try:
                _tell(await admin.sync(await read_keys(source, settings)))
            except KongError as error:
                if every_s is None:
                    raise
                sys.stderr.write(f"ghasi: {error}\n")
            if every_s is None:
                return 0
            await asyncio.sleep(every_s)


def _tell(change: Change) -> None:
    for kids, what in ((change.added, "added"), (change.removed, "removed")):
        sys.stdout.writelines(f"{what} {kid}\n" for kid in kids)
    if not change:
        sys.stdout.write("up to date\n")
    sys.stdout.flush()
