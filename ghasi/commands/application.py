"""The commands and how they end: 0 done, 1 failed, 2 wrong usage or settings; a failure is one line on stderr."""

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App

from ghasi.commands import running
from ghasi.commands.failures import explain

app = App(
    name="ghasi",
    help="The open, self-hostable SMS platform. Settings are flags, GHASI_* or in the TOML file of GHASI_CONFIG.",
    version=lambda: version("ghasi"),
    version_flags=["--version"],
    help_flags=["--help", "-h"],
)
admin = App(name="admin", help="What an operator does; each change is in the audit log.")
# by name, so that a command loads only what it needs
admin.command("ghasi.commands.admin_ledger:accounts", name="accounts")
admin.command("ghasi.commands.admin_ledger:ledger", name="ledger")
for name in ("users", "keys", "audit"):
    admin.command(f"ghasi.commands.admin_accounts:{name}", name=name)
admin.command("ghasi.commands.admin_billing:invoices", name="invoices")
admin.command("ghasi.commands.admin_carriers:carriers", name="carriers")
admin.command("ghasi.commands.admin_plans:plans", name="plans")
admin.command("ghasi.commands.admin_rates:rates", name="rates")
admin.command("ghasi.commands.admin_routes:routes", name="routes")
admin.command("ghasi.commands.admin_senders:senders", name="senders")
admin.command("ghasi.commands.admin_storage:storage", name="storage")
admin.command("ghasi.commands.admin_usage:usage", name="usage")
admin.command("ghasi.commands.admin_webhooks:webhooks", name="webhooks")
app.command("ghasi.commands.contract:contract", name="contract")
app.command("ghasi.commands.simulator:simulator", name="simulator")
app.command(admin)
running.register(app)


@app.command(name="version")
def print_version() -> None:
    """Print the version."""
    sys.stdout.write(version("ghasi") + "\n")


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        status = app(arguments, exit_on_error=False, print_error=False, verbose=False, result_action="return_value")
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        sys.stderr.write(f"ghasi: {failure.text}\n")
        return failure.status
    return status if isinstance(status, int) else 0
