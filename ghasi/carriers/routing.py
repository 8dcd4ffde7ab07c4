"""Which carrier takes a segment.

For now the first one, in the order of carriers.toml, that is bound and has room. Never waits and holds no state.
"""

from collections.abc import Sequence

from ghasi.carriers.carrier import Carrier


def choose(carriers: Sequence[Carrier], segment_to: str) -> Carrier | None:
    """Return the carrier for a segment to a number (E.164 with +), or None when none has room now."""
    del segment_to  # every carrier reaches every number until there are rules
    for carrier in carriers:
        if carrier.capacity() > 0:
            return carrier
    return None
