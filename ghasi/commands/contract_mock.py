"""`ghasi contract mock`: its flags."""

from typing import Annotated

from cyclopts import Parameter

from ghasi.commands.running import PortFlag, tell
from ghasi.contract.row import LIMIT_GROUPS
from ghasi.processes.hosting import CannotRun
from ghasi.processes.lifetime import run
from ghasi.processes.logs import configure_logs
from ghasi.processes.mocking import serve_mock

API_PORT = 8000


def mock(
    *,
    port: PortFlag = API_PORT,
    host: Annotated[str, Parameter(help="Address to listen on")] = "127.0.0.1",
    origin: Annotated[tuple[str, ...], Parameter(help="Pages that may call from a browser; default all")] = (),
    limit: Annotated[tuple[str, ...], Parameter(help="Requests a minute of a group, as sends=1000")] = (),
) -> int:
    """Serve the contract with examples, for front-end work: no database, nothing kept, nothing sent.

    Tokens, limits and errors are the real gateway's. `Prefer: code=429` forces an answer.
    """
    limits = _read_limits(limit)
    configure_logs("mock", "error")
    return run(lambda: serve_mock(host, API_PORT if port is None else port, origin, limits, tell))


def _read_limits(texts: tuple[str, ...]) -> dict[str, int]:
    settings = {group.name: group.setting for group in LIMIT_GROUPS}
    limits = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in settings or not number.isdecimal() or int(number) < 1:
            raise CannotRun(
                f"--limit {text}: give a group and a number, as sends=1000; there are {', '.join(settings)}"
            )
        limits[settings[name]] = int(number)
    return limits
