"""`make fuzz`: feeds the SMPP decoders and links broken streams for some minutes.

No part of `make test`, which runs a few thousand examples of the same.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
import traceback

from tests.fuzz.running import Finding, run_examples
from tests.fuzz.targets import Fuzz


async def repeat(name: str, seed: int) -> None:
    """Run one example of one target."""
    await Fuzz().targets[name](random.Random(f"{name} {seed}"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="where to begin; by default anywhere")
    parser.add_argument("--only", help="one target; with --seed that example alone")
    parser.add_argument("--count", type=int, default=1)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 48) if asked.seed is None else asked.seed
    if asked.only:
        for one in range(seed, seed + asked.count):
            asyncio.run(repeat(asked.only, one))
        return 0
    sys.stdout.write(f"{asked.minutes:g} minutes from seed {seed}\n")
    started = time.monotonic()
    try:
        counts = asyncio.run(run_examples(itertools.count(seed), until=started + asked.minutes * 60, note=True))
    except Finding:
        traceback.print_exc()
        return 1
    spent = time.monotonic() - started
    sys.stdout.write(f"nothing found in {counts.total():,} examples, {counts.total() / spent:,.0f} a second\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
