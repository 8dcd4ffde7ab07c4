"""`ghasi simulator`: the simulated SMSC by itself, for anyone who writes an SMPP client, and a phone to write to it.

Owns the options, their checks and what is printed. How an SMSC behaves is carriers/simulator.py's.
"""

import asyncio
import contextlib
import os
import random
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from ghasi.carriers.simulated_behaviour import OUTCOMES, Behaviour, ReceiptIds, ReceiptStyle
from ghasi.carriers.simulated_phone import PhoneError, SimulatorAddress, disturb, send_from_phone, write_parts
from ghasi.carriers.simulator import serve_simulator
from ghasi.carriers.smpp.statuses import STATUS_NAMES
from ghasi.commands.output import count
from ghasi.commands.running import tell
from ghasi.commands.simulator_status import StatusLine, can_renew, summarize
from ghasi.processes.hosting import CannotRun, PartEnded
from ghasi.processes.lifetime import Lifetime, run
from ghasi.processes.listening import CannotListen
from ghasi.processes.logs import configure_logs
from ghasi.settings import Settings

simulator = App(name="simulator")

_LARGEST_STATUS = 0xFFFFFFFF
_STATUSES = {name: status for status, name in STATUS_NAMES.items()}


def parse_outcomes(text: str) -> dict[str, float]:
    """Read `delivered=90,undelivered=5`; raises ValueError."""
    weights: dict[str, float] = {}
    for name, weight in _pairs(text):
        if name not in OUTCOMES:
            raise ValueError(f"{name!r} is no outcome; there are {', '.join(OUTCOMES)}")
        weights[name] = weight
    if not sum(weights.values()):
        raise ValueError("one outcome at least needs a weight above 0")
    return weights


def parse_refusals(text: str) -> dict[int, float]:
    """Read `0x0B=1,ESME_RTHROTTLED=2` (percent) as chances from 0 to 1; raises ValueError."""
    chances: dict[int, float] = {}
    for name, percent in _pairs(text):
        try:
            status = _STATUSES[name.upper()] if name.upper() in _STATUSES else int(name, 0)
        except ValueError:
            raise ValueError(f"{name!r} is no status, such as 0x0B, 11 or ESME_RINVDSTADR") from None
        if not 0 < status <= _LARGEST_STATUS:
            raise ValueError(f"{name} is not within 1 to 0xFFFFFFFF")
        chances[status] = percent / 100
    if sum(chances.values()) > 1 + 1e-9:
        raise ValueError("the percentages add up to more than 100")
    return chances


def _pairs(text: str) -> list[tuple[str, float]]:
    pairs = []
    for item in text.split(","):
        name, equals, number = (part.strip() for part in item.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not (name and equals) or not 0 <= value < float("inf"):
            raise ValueError(f"{item.strip()!r} is not of the form NAME=NUMBER")
        pairs.append((name, value))
    return pairs


def _parses(parse: Callable[[str], object]) -> Callable[[type, str | None], None]:
    def check(_: type, value: str | None) -> None:
        if value is not None:
            parse(value)

    return check


_Percent = validators.Number(gte=0, lte=100)
_NotNegative = validators.Number(gte=0, lte=86_400_000)
_Positive = validators.Number(gte=1)
_Port = validators.Number(gte=0, lte=65535)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the simulated SMSC is."""

    host: Annotated[str, Parameter(help="Address")] = "127.0.0.1"
    port: Annotated[int | None, Parameter(help="Port; by default GHASI_SMSC_PORT, 2775", validator=_Port)] = None

    def real_port(self) -> int:
        """Return the port, from the settings where none is given."""
        return Settings().smsc_port if self.port is None else self.port


@dataclass(frozen=True, slots=True)
class Clients:
    """Who may bind, and how much they may send."""

    system_id: Annotated[str | None, Parameter(help="The only system id that may bind; by default any")] = None
    password: Annotated[str | None, Parameter(help="The only password; by default any")] = None
    subscriber_system_id: Annotated[str, Parameter(help="Who binds as this is a phone")] = "subscriber"
    tls_cert: Annotated[Path | None, Parameter(help="PEM file of a certificate: TLS instead of plain TCP")] = None
    tls_key: Annotated[Path | None, Parameter(help="PEM file of its key, if it is not in the same file")] = None
    throttle_per_s: Annotated[
        int | None, Parameter(help="Submits in any one second; more are ESME_RTHROTTLED", validator=_Positive)
    ] = None
    window: Annotated[
        int | None, Parameter(help="Unanswered submits of a link; more are ESME_RMSGQFUL", validator=_Positive)
    ] = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What becomes of submits."""

    latency_ms: Annotated[float, Parameter(help="Until a submit is answered", validator=_NotNegative)] = 0
    latency_spread_ms: Annotated[float, Parameter(help="More or less of it", validator=_NotNegative)] = 0
    loss: Annotated[float, Parameter(help="Percent of submits taken and never answered", validator=_Percent)] = 0
    refuse: Annotated[
        str | None,
        Parameter(help="Percent refused by status: 0x0B=1,ESME_RTHROTTLED=2", validator=_parses(parse_refusals)),
    ] = None
    disconnect_every: Annotated[
        int | None, Parameter(help="Drop the link at each Nth submit, which is not answered", validator=_Positive)
    ] = None
    ignore_endings: Annotated[
        bool, Parameter(help="A number's last four digits (0001 to 0006) mean nothing", negative="")
    ] = False
    out_of_order: Annotated[bool, Parameter(help="Answers and receipts leave in any order", negative="")] = False
    seed: Annotated[int | None, Parameter(help="The same chances again for the same submits")] = None


@dataclass(frozen=True, slots=True)
class Receipts:
    """How messages end, and how a client hears of it."""

    outcomes: Annotated[
        str | None,
        Parameter(help="Mix of delivered, undelivered, expired, deleted, rejected, unknown: delivered=95,expired=5",
                  validator=_parses(parse_outcomes)),
    ] = None  # fmt: skip
    receipts: Annotated[ReceiptStyle, Parameter(help="By text, by optional parameters, or both")] = "both"
    receipt_ids: Annotated[
        ReceiptIds, Parameter(help="hex: decimal ids in answers, the same in hex in receipts; decimal: the reverse")
    ] = "as-is"
    receipt_delay_s: Annotated[float, Parameter(help="From submit to receipt", validator=_NotNegative)] = 0.1
    receipt_delay_spread_s: Annotated[float, Parameter(help="More or less of it", validator=_NotNegative)] = 0
    receipt_loss: Annotated[float, Parameter(help="Percent of receipts never sent", validator=_Percent)] = 0
    duplicate_receipts: Annotated[float, Parameter(help="Percent of receipts sent twice", validator=_Percent)] = 0
    intermediate_receipts: Annotated[bool, Parameter(help="An ENROUTE before each receipt", negative="")] = False


def behaviour_of(clients: Clients, answers: Answers, receipts: Receipts) -> Behaviour:
    """Return what the options mean."""
    return Behaviour(
        system_id=clients.system_id,
        password=clients.password,
        subscriber_system_id=clients.subscriber_system_id,
        throttle_per_s=clients.throttle_per_s,
        window=clients.window,
        latency_s=answers.latency_ms / 1000,
        latency_spread_s=answers.latency_spread_ms / 1000,
        loss=answers.loss / 100,
        refuse={} if answers.refuse is None else parse_refusals(answers.refuse),
        disconnect_every=answers.disconnect_every,
        ignore_endings=answers.ignore_endings,
        out_of_order=answers.out_of_order,
        seed=answers.seed,
        outcomes={} if receipts.outcomes is None else parse_outcomes(receipts.outcomes),
        receipts=receipts.receipts,
        receipt_ids=receipts.receipt_ids,
        receipt_delay_s=receipts.receipt_delay_s,
        receipt_delay_spread_s=receipts.receipt_delay_spread_s,
        receipt_loss=receipts.receipt_loss / 100,
        duplicate_receipts=receipts.duplicate_receipts / 100,
        intermediate_receipts=receipts.intermediate_receipts,
    )


_Flat = Parameter(name="*")


@simulator.default
def serve(
    *,
    place: Annotated[Place | None, _Flat] = None,
    clients: Annotated[Clients | None, _Flat] = None,
    answers: Annotated[Answers | None, _Flat] = None,
    receipts: Annotated[Receipts | None, _Flat] = None,
    quiet: Annotated[bool, Parameter(help="Print the address and nothing else", negative="")] = False,
) -> int:
    """Run a simulated SMSC until Ctrl-C or SIGTERM. Percentages are from 0 to 100."""
    place, clients = place or Place(), clients or Clients()
    behaviour = behaviour_of(clients, answers or Answers(), receipts or Receipts())
    tls = _server_tls(clients.tls_cert, clients.tls_key)
    port = place.real_port()
    configure_logs("simulator", "warning")
    return run(lambda: _serve(place.host, port, behaviour, tls, quiet=quiet))


async def _serve(host: str, port: int, behaviour: Behaviour, tls: ssl.SSLContext | None, *, quiet: bool) -> int:
    lifetime = Lifetime()
    try:
        smsc = await serve_simulator(host, port, tls=tls, behaviour=behaviour)
    except OSError as error:
        raise CannotListen(
            f"port {port} on {host}: {_reason(error)}; choose others by --host and --port (0 is any free one)"
        ) from error
    shown: asyncio.Task[Any] | None = None
    try:
        address = f"[{host}]:{smsc.port}" if ":" in host else f"{host}:{smsc.port}"
        tell(f"SMSC listening on {address}{' with TLS' if tls else ''}, Ctrl-C ends it")
        if not quiet and can_renew():
            shown = asyncio.create_task(StatusLine(smsc).show())
        await lifetime.stopping.wait()
    finally:
        if shown is not None:
            shown.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await shown
        summary = summarize(smsc)
        await smsc.close()
    if not quiet:
        tell(summary)
    return 0


def _reason(error: OSError) -> str:
    """Return the system's own words: event loops add theirs, each another way."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise CannotRun("--tls-key needs --tls-cert")
        return None
    for option, file in (("--tls-cert", certificate), ("--tls-key", key)):
        if file is not None and not file.is_file():
            raise CannotRun(f"{option}: there is no file {file}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one
        raise CannotRun(f"--tls-cert {certificate} and its key can't be used: {error}") from error
    return context


@simulator.command(name="send")
def send(
    text: str,
    *,
    sender: Annotated[str, Parameter(name="--from", help="The phone's number, +93...")],
    to: Annotated[str, Parameter(help="The number or short code that is written to")],
    place: Annotated[Place | None, _Flat] = None,
    system_id: Annotated[str, Parameter(help="Who is a phone there")] = "subscriber",
    password: Annotated[str, Parameter(help="If the simulator asks for one")] = "",
    tls_ca: Annotated[Path | None, Parameter(help="PEM file of who signed its certificate: TLS")] = None,
    shuffle: Annotated[bool, Parameter(help="Send the parts of a long text in any order", negative="")] = False,
    lose: Annotated[int, Parameter(help="Leave out so many of its parts", validator=_NotNegative)] = 0,
    seed: Annotated[int | None, Parameter(help="The same order and losses again")] = None,
) -> None:
    """Write a text message as a phone does. All clients that receive from the simulator get it.

    It works with `ghasi simulator` and with `ghasi up --dev`.
    """
    place = place or Place()
    chances = random.Random(seed)  # noqa: S311 - which part is lost is no secret
    try:
        parts = write_parts(sender, to, text, secrets.randbelow(256))
        kept = disturb(parts, shuffle=shuffle, lose=lose, chances=chances)
        address = SimulatorAddress(place.host, place.real_port(), system_id, password, _client_tls(tls_ca))
        asyncio.run(send_from_phone(address, kept))
    except PhoneError as error:
        raise PartEnded(str(error)) from error
    except OSError as error:
        raise PartEnded(
            f"no simulator on {place.host} port {place.real_port()} ({_reason(error)}); see --host and --port"
        ) from error
    lost = f", {len(parts) - len(kept)} left out" if len(kept) < len(parts) else ""
    tell(f"sent from {sender} to {to} in {count(len(kept), 'part')}{lost}")


def _client_tls(authorities: Path | None) -> ssl.SSLContext | None:
    if authorities is None:
        return None
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise CannotRun(f"--tls-ca {authorities} can't be used: {error}") from error
