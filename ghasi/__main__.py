"""The command line: `ghasi ...` and `python -m ghasi ...`.

Owns nothing but the way in; commands live in ghasi.commands.
"""

import gc
import sys

from ghasi.processes.children import COMMAND
from ghasi.processes.metrics import name_metrics


def main() -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:]
    if arguments[:1] == [COMMAND]:
        # a supervisor's child: it needs no command line, and its metrics are named before any module makes one
        name_metrics(arguments[1])
        gc.disable()  # while it starts: what it imports and opens stays
        from ghasi.processes.child import main as run_child  # noqa: PLC0415 - see above

        sys.exit(run_child(arguments[1:]))
    from ghasi.commands.application import run  # noqa: PLC0415 - a child does without it

    sys.exit(run(arguments))


if __name__ == "__main__":
    main()
