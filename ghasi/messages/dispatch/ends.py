"""The claims of this process whose end is not committed yet, and their way to the ledger.

Owns that a message is never under way here twice, though its lease may have run out while the ledger waited for the
database.
"""

import asyncio
from functools import partial
from uuid import UUID

from msgspec.structs import replace

from ghasi.messages.dispatch.ledger import Ledger, Retry, Submitted
from ghasi.messages.dispatch.queries import Claim
from ghasi.storage.batch import QueueFullError

HANDED_OVER_AGAIN_S = 0.5
GIVEN_BACK_S = 0.1
"""When what is given back is due again."""


class Ends:
    """Tells the ledger how claims end, all of one turn of the event loop together."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.held: dict[UUID, int] = {}
        """Messages claimed here, by the newest claim."""
        self.untold: list[Submitted] = []

    def take(self, claim: Claim) -> bool:
        """Note a claim; return False where an earlier one of the message has not ended, which then ends both."""
        held = claim.message.id in self.held
        self.held[claim.message.id] = claim.claims
        return not held

    def forget(self, claim: Claim) -> None:
        """Let go of a claim that has ended otherwise."""
        if self.held.get(claim.message.id) == claim.claims:
            del self.held[claim.message.id]

    def give_back(self, claim: Claim) -> None:
        """End a claim of which nothing was submitted: it is in as much doubt as it was."""
        self.put(Submitted(claim.message.id, retry=Retry(claim.claims, GIVEN_BACK_S, in_doubt=claim.in_doubt)))

    def put(self, submitted: Submitted) -> None:
        """Hand a claim's end to the ledger."""
        if not self.untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self.untold.append(submitted)

    def _tell(self) -> None:
        ends = self.untold
        try:
            written = self._ledger.put(ends)
        except QueueFullError:  # what ends meanwhile joins them
            asyncio.get_running_loop().call_later(HANDED_OVER_AGAIN_S, self._tell)
            return
        self.untold = []
        written.add_done_callback(partial(self._written, ends))

    def _written(self, ends: list[Submitted], _: asyncio.Future[None]) -> None:
        """Let go of claims whose end is committed; a retry overtaken by a newer claim of ours is put again for that."""
        for one in ends:
            newest = self.held.pop(one.message_id, None)
            if newest is not None and one.retry is not None and newest != one.retry.claims:
                self.held[one.message_id] = newest
                self.put(Submitted(one.message_id, retry=replace(one.retry, claims=newest)))
