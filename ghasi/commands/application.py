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
# loaded by name, so that a command loads only what it needs; what they are for is said here, where lists look for it
ADMIN = {
    "accounts": ("admin_ledger", "Customers: their status, limits, countries and cap."),
    "audit": ("admin_accounts", "What operators and customers changed."),
    "carriers": ("admin_carriers", "Connections to operators: what they do, and pausing and draining them."),
    "events": ("admin_events", "Events between services: how far each has read, and reading again."),
    "invoices": ("admin_billing", "Invoices, by number; closing months."),
    "keys": ("admin_accounts", "The keys that sign access tokens, and those that seal secrets in the database."),
    "ledger": ("admin_ledger", "Accounts' books: what moved, and whether they are right."),
    "plans": ("admin_plans", "Plans: base fee, included segments, tiers, minimum, when a message is billed."),
    "rates": ("admin_rates", "Prices of a segment by destination, sender, carrier, account and plan."),
    "routes": ("admin_routes", "Which carrier a message goes to, and why."),
    "senders": ("admin_senders", "Numbers, short codes and names that accounts send from."),
    "storage": ("admin_storage", "Months of messages: how large they are, and taking old ones out."),
    "usage": ("admin_usage", "Usage: recounting a month."),
    "users": ("admin_accounts", "People and their roles."),
    "webhooks": ("admin_webhooks", "Customers' endpoints: which fail, which are disabled, and enabling one again."),
}
for name, (module, text) in ADMIN.items():
    admin.command(f"ghasi.commands.{module}:{name}", name=name, help=text)
app.command(
    "ghasi.commands.contract:contract", name="contract", help="The contract: its routes, OpenAPI and reference."
)
app.command("ghasi.commands.kong:kong", name="kong", help="Keeping a Kong in front in step with the published keys.")
app.command(
    "ghasi.commands.simulator:simulator",
    name="simulator", help="A simulated SMSC by itself, to try an SMPP client with.",
)  # fmt: skip
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
