"""Writes the emitted documents into the folder given."""

import sys
from pathlib import Path

from ghasi.contract.emit import COMMITTED


def main(folder: Path) -> None:
    """Write every emitted document."""
    for name, emit in COMMITTED.items():
        (folder / name).write_text(emit(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
