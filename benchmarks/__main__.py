"""`make bench`: everything that a user can compare, each beside its ceiling, by turns, on this machine.

python -m benchmarks [--only NAME]... [--rounds 5] [--seconds 5] [--connections 64]. Everything listens on loopback and
ends with it. Figures and plots go to benchmarks/results/DATE/.
"""

import argparse
import asyncio
import sys
from typing import Any

from rich.console import Console

from benchmarks.comparing import compare, show
from benchmarks.comparisons import ALL, ALONE
from benchmarks.comparisons.peers import PEERS
from benchmarks.instruments.kannel import is_installed
from benchmarks.measuring import end_what_was_started, folder_of_today, keep
from benchmarks.plots import draw

console = Console(width=None if sys.stdout.isatty() else 160)


async def main() -> None:
    """Run what is asked for, one after the other; print tables, keep figures."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", choices=list(ALL), action="append", help="repeatable; without it all but peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    chosen = options.only or [comparison.name for comparison in ALONE]
    if PEERS.name in chosen and not is_installed():
        sys.exit("Kannel is not installed: sudo apt-get install -y --no-install-recommends kannel kannel-extras")
    results: dict[str, Any] = {}
    for name in dict.fromkeys(chosen):
        results[name] = await compare(ALL[name], options, console)
        show(name, results[name], console)
    asked = {name: value for name, value in vars(options).items() if name != "only"}
    file = keep("-".join(chosen) if options.only else "bench", options=asked, comparisons=results)
    plots = draw(file, folder_of_today(), prefix=f"{file.stem}-")
    console.print(f"figures: {file}\nplots: {', '.join(plot.name for plot in plots)}")


if __name__ == "__main__":
    end_what_was_started()
    asyncio.run(main())
