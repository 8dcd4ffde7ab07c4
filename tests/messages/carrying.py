"""What tests of several carriers share: their file, and when they are bound."""

from ghasi.messages.dispatch.admin import list_carriers
from ghasi.storage.pool import Pool


def carriers_toml(routes: str = "", /, **carriers: tuple[int, int]) -> str:
    """Return a carriers.toml of simulated SMSCs, each with its port and window."""
    tables = [
        f"""[[carrier]]
name = "{name}"
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "ghasi"
password = "simulator"
window = {window}
default_sender = "Ghasi"
"""
        for name, (port, window) in carriers.items()
    ]
    return "\n".join([*tables, routes])


async def all_bound(pool: Pool, count: int) -> bool:
    """Whether so many carriers are there, and all bound."""
    return [carrier["bound"] for carrier in await list_carriers(pool)] == [True] * count
