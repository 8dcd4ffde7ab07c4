"""The commands that run parts: up, serve, work, database, migrate, psql."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from ghasi.processes.lifetime import run
from ghasi.processes.logs import configure_logs
from ghasi.processes.supervisor import supervise
from ghasi.settings import Settings

SettingFlags = Annotated[Settings, Parameter(name="*")]


def register(app: App) -> None:
    """Add the commands."""
    app.command(up)


def tell(text: str) -> None:
    """Print for a person, at once."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass  # nobody reads: no reason to stop


def up(*, settings: SettingFlags | None = None) -> int:
    """Run all of Ghasi on this machine; --dev adds a simulated carrier and a local identity server."""
    settings = settings or Settings()
    configure_logs("supervisor", settings.log_level)
    return run(lambda: supervise(settings, tell))
