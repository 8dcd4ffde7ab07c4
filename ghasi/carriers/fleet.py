"""The carriers of a process, by name, and whether each may take messages now.

Owns starting, replacing and ending carriers while others go on, and their modes. A carrier that is replaced, removed or
drained takes nothing new, gets the answers it waits for and ends then. Of its binds it has those that it is given: the
others are other processes'. Knows no database and no message.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import structlog

from ghasi.carriers.carrier import Carrier, CarrierState, InboundPart, Receipt

Mode = Literal["active", "paused", "draining", "drained"]
Wanted = Literal["active", "paused", "draining"]

RECEIPTS_LINGER_S = 30.0
"""How long a drained or removed carrier stays bound for receipts after its last answer."""
ANSWERS_WITHIN_S = 30.0
"""How long a carrier that ends is waited for; answers take 10 s at most."""
STARTED_AGAIN_S = 5.0

log = structlog.get_logger("ghasi.carriers")


class Configuration(Protocol):
    """What carriers.toml says of one carrier; equal ones need no new carrier."""

    @property
    def name(self) -> str:
        """What the carrier is called, in the file and everywhere."""
        ...

    @property
    def carrier_class(self) -> str | None:
        """What rates may tell carriers apart by."""
        ...

    @property
    def binds(self) -> int:
        """Into how many shares the carrier can be divided among processes."""
        ...


C = TypeVar("C", bound=Configuration)


@dataclass(slots=True, eq=False)
class Member(Generic[C]):
    """One carrier of the fleet. Compared by identity: a replaced one and its successor have one name."""

    name: str
    configuration: C
    carrier: Carrier
    mode: Mode = "active"
    begun: int = 0
    """Messages that its caller has begun to submit to it and whose answers are not all there."""
    started: bool = False
    fault: str | None = None
    retry_at: float = 0.0
    idle_since: float | None = None
    ending_since: float | None = None
    bound_at: float = field(default_factory=time.monotonic)
    throughput_per_s: int | None = None
    holds_any: bool = True
    """Whether it has any bind here; without one it need not be asked whether it is up."""
    elsewhere: bool = False
    """Whether another process has it bound, or is about to."""

    def room(self) -> int:
        """Return how many submits it takes now."""
        return self.carrier.capacity() if self.started else 0

    @property
    def usable(self) -> bool:
        """Whether it may be given messages here: active, and bound."""
        return self.mode == "active" and self.bound

    @property
    def up(self) -> bool:
        """Whether it takes messages, here or in another process."""
        return self.mode == "active" and (self.elsewhere or self.bound)

    @property
    def wanted(self) -> bool:
        """Whether it is to be connected."""
        return self.started and self.mode in ("active", "paused")

    @property
    def bound(self) -> bool:
        """Whether it is connected here."""
        if self.started and self.holds_any and (self.carrier.capacity() > 0 or self.carrier.state().bound):
            self.bound_at = time.monotonic()
            return True
        return False

    def away_s(self) -> float:
        """Return for how long it has not been seen bound, here or elsewhere."""
        if self.elsewhere or self.bound:
            self.bound_at = time.monotonic()
        return time.monotonic() - self.bound_at

    def hold(self, binds: Collection[int], until: float) -> None:
        """Have exactly these binds from now on, until time.monotonic() is `until`."""
        self.carrier.hold(binds, until)
        self.holds_any = bool(binds)
        self.note_share()

    def note_share(self) -> None:
        """Take down what the binds held here may do."""
        self.throughput_per_s = self.carrier.state().throughput_per_s

    def state(self) -> CarrierState:
        """Return what an operator sees, a start that failed too."""
        state = self.carrier.state()
        if self.fault is None:
            return state
        return CarrierState(
            state.name, state.kind, False, 0, state.links_wanted, state.window, 0, state.throughput_per_s, self.fault
        )


class Fleet(Generic[C]):
    """The members by name, in the order of their configurations; `leaving` are those that end.

    `open_carrier` makes a carrier of a configuration; receipts and inbound parts are handed on with the carrier that
    brought them, which they are to be acknowledged to. `leased`: carriers start without a bind, and have those that
    their members are told to hold; else they have all.
    """

    def __init__(
        self,
        open_carrier: Callable[[C], Carrier],
        on_receipts: Callable[[Carrier, Sequence[Receipt]], None],
        on_inbound: Callable[[Carrier, Sequence[InboundPart]], None],
        *,
        leased: bool = False,
    ) -> None:
        self.members: dict[str, Member[C]] = {}
        self.leaving: list[Member[C]] = []
        self._open = open_carrier
        self._on_receipts = on_receipts
        self._on_inbound = on_inbound
        self._begun_with: tuple[int, ...] | None = () if leased else None
        self._wanted: dict[str, Wanted] = {}
        self._stops: dict[asyncio.Task[None], set[tuple[str, int]]] = {}

    @property
    def sole(self) -> str | None:
        """The name of the only carrier, where there is only one."""
        return next(iter(self.members)) if len(self.members) == 1 else None

    @property
    def shared(self) -> bool:
        """Whether another process has any of the carriers bound; without one, no message is for elsewhere."""
        return any(member.elsewhere for member in self.members.values())

    def usable(self, name: str) -> bool:
        """Whether a carrier may be given messages now, here."""
        member = self.members.get(name)
        return member is not None and member.usable

    def up(self, name: str) -> bool:
        """Whether a carrier takes messages, here or in another process."""
        member = self.members.get(name)
        return member is not None and member.up

    def is_bound(self, name: str) -> bool:
        """Whether a carrier is connected here, whatever its mode."""
        member = self.members.get(name)
        return member is not None and member.bound

    def held(self) -> set[tuple[str, int]]:
        """Return the binds that are here, as (carrier, number): those too that are on their way out."""
        members = (member for member in (*self.members.values(), *self.leaving) if member.started)
        return set().union(*map(_binds_of, members), *self._stops.values())

    def class_of(self, name: str) -> str | None:
        """Return the class of a carrier, one on its way out too; None where it has none or is not known."""
        member = self.members.get(name) or next((one for one in self.leaving if one.name == name), None)
        return None if member is None else member.configuration.carrier_class

    async def apply(self, configurations: Sequence[C]) -> bool:
        """Have exactly these carriers from now on; returns whether anything changed.

        One that can't start is tried again. What does not change goes on untouched. A changed one is replaced: the
        old one drains, the new one starts at once, though an SMSC that allows one bind may refuse it until the old one
        has left.
        """
        names = {configuration.name for configuration in configurations}
        members: dict[str, Member[C]] = {}
        changed = list(self.members) != [configuration.name for configuration in configurations]
        for name, member in self.members.items():
            if name not in names:
                log.info("carrier_removed", carrier=name)
                self._leave(member)
        for configuration in configurations:
            known = self.members.get(configuration.name)
            if known is not None and known.configuration == configuration:
                members[known.name] = known
                continue
            changed = True
            if known is not None:
                log.info("carrier_changed", carrier=known.name)
                self._leave(known)
            members[configuration.name] = Member(configuration.name, configuration, self._open(configuration))
        self.members = members
        self._apply_modes()
        for member in members.values():
            if not member.started and member.fault is None and member.mode in ("active", "paused"):
                await self._start(member)
        return changed

    def set_modes(self, wanted: Mapping[str, Wanted]) -> None:
        """Say what operators want of carriers; who is not named is active."""
        self._wanted = dict(wanted)
        self._apply_modes()

    def _apply_modes(self) -> None:
        for member in self.members.values():
            wanted = self._wanted.get(member.name, "active")
            if wanted == "draining":
                if member.mode not in ("draining", "drained"):
                    log.info("carrier_draining", carrier=member.name)
                    member.mode, member.idle_since = "draining", None
            elif member.mode != wanted:
                log.info("carrier_mode", carrier=member.name, mode=wanted)
                member.mode = wanted

    async def tend(self) -> None:
        """Once a second: end what has drained, start what is to come back or could not start."""
        now = time.monotonic()
        for member in list(self.members.values()):
            if member.mode == "draining" and (not member.started or self._has_drained(member, now, RECEIPTS_LINGER_S)):
                if member.started:
                    self._stop(member)
                member.mode = "drained"
                log.info("carrier_drained", carrier=member.name)
            elif member.mode in ("active", "paused") and not member.started and now >= member.retry_at:
                if member.fault is None and member.ending_since is not None:  # it was stopped: it begins anew
                    member.carrier = self._open(member.configuration)
                    member.ending_since = None
                await self._start(member)
        for member in list(self.leaving):
            linger_s = 0.0 if member.name in self.members else RECEIPTS_LINGER_S
            if not member.started or self._has_drained(member, now, linger_s):
                self.leaving.remove(member)
                if member.started:
                    self._stop(member)

    async def stop(self) -> None:
        """End all carriers, those that are on their way out too."""
        members = [member for member in (*self.members.values(), *self.leaving) if member.started]
        await asyncio.gather(*(member.carrier.stop() for member in members), *self._stops)

    async def _start(self, member: Member[C]) -> None:
        carrier = member.carrier
        try:
            await carrier.start(
                lambda receipts: self._on_receipts(carrier, receipts),
                lambda parts: self._on_inbound(carrier, parts),
                binds=self._begun_with,
            )
        except (OSError, ValueError) as error:  # a certificate that can't be read; others go on
            member.fault = f"can't start: {error}"
            member.retry_at = time.monotonic() + STARTED_AGAIN_S
            log.error("carrier_not_started", carrier=member.name, cause=str(error))  # noqa: TRY400 - the cause is all
            return
        member.started, member.fault = True, None
        member.note_share()

    def _leave(self, member: Member[C]) -> None:
        member.mode, member.idle_since, member.ending_since = "draining", None, time.monotonic()
        self.leaving.append(member)

    def _has_drained(self, member: Member[C], now: float, linger_s: float) -> bool:
        """Whether a carrier's last answer is there, and has been for long enough to bring receipts too."""
        if member.begun or member.carrier.state().outstanding:
            member.idle_since = None
            return member.ending_since is not None and now - member.ending_since > ANSWERS_WITHIN_S
        if member.idle_since is None:
            member.idle_since = now
        return now - member.idle_since >= linger_s

    def _stop(self, member: Member[C]) -> None:
        member.started, member.ending_since = False, time.monotonic()
        binds = _binds_of(member)
        task = asyncio.create_task(member.carrier.stop(), name=f"stop carrier {member.name}")
        self._stops[task] = binds
        task.add_done_callback(self._stops.pop)


def _binds_of(member: Member[Any]) -> set[tuple[str, int]]:
    return {(member.name, number) for number in member.carrier.held()}
