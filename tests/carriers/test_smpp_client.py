"""The client against the simulated SMSC, over real sockets."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import gsmcodecs  # noqa: F401 - registers the gsm23.038 codec
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ghasi.carriers.carrier import Outcome, Segment
from ghasi.carriers.segmentation import segment
from ghasi.carriers.simulator import Behaviour
from ghasi.carriers.smpp.pdu import ShortMessage
from tests.carriers.smsc import QUICK, StartClient, StartSimulator, eventually, text_to


@pytest.mark.parametrize(
    ("ending", "state", "error_code"),
    [
        ("0001", "undelivered", "undeliverable"),
        ("0002", "expired", "expired"),
        ("4567", "delivered", None),
        ("0000", "delivered", None),
    ],
)
async def test_the_number_decides(
    start_simulator: StartSimulator, start_client: StartClient, ending: str, state: str, error_code: str | None
) -> None:
    simulator = await start_simulator()
    client = await (await start_client(simulator.port)).bound()
    result = await client.carrier.submit(text_to("+9370123" + ending))
    assert result.outcome is Outcome.ACCEPTED
    await eventually(lambda: client.receipts)
    receipt = client.receipts[0]
    assert (receipt.state, receipt.error_code, receipt.carrier) == (state, error_code, "test")
    assert receipt.carrier_message_id == result.carrier_message_id
    await eventually(lambda: simulator.receipts_acknowledged == 1)
    assert simulator.receipts_pending == 0


async def test_0003_is_refused(start_simulator: StartSimulator, start_client: StartClient) -> None:
    simulator = await start_simulator()
    client = await (await start_client(simulator.port)).bound()
    result = await client.carrier.submit(text_to("+93701230003"))
    assert (result.outcome, result.error_code) == (Outcome.REFUSED, "invalid_destination")
    assert result.detail == "ESME_RINVDSTADR"
    assert simulator.accepted == 0


async def test_0004_is_throttled_twice_for_each_segment(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    simulator = await start_simulator()
    client = await (await start_client(simulator.port)).bound()
    parts = segment("a" * 200).parts
    segments = [
        Segment("+93701230004", None, "gsm7", part, part=n, parts=2, udh_reference=reference)
        for reference in (1, 2)
        for n, part in enumerate(parts, 1)
    ]
    rounds = [[(await client.carrier.submit(one)).outcome for one in segments] for _ in range(3)]
    assert rounds == [[Outcome.THROTTLED] * 4, [Outcome.THROTTLED] * 4, [Outcome.ACCEPTED] * 4]
    await eventually(lambda: [receipt.state for receipt in client.receipts] == ["delivered"] * 4)
    assert (await client.carrier.submit(segments[0])).outcome is Outcome.THROTTLED  # a new message begins anew
    assert simulator.duplicates == 0


async def test_0005_is_late_and_0006_silent(start_simulator: StartSimulator, start_client: StartClient) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, late_receipt_delay_s=0.4))
    client = await (await start_client(simulator.port)).bound()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    # at once, so that the delays begin together
    late, silent, soon = await asyncio.gather(
        *(client.carrier.submit(text_to("+9370123" + end)) for end in ("0005", "0006", "0007"))
    )
    assert {late.outcome, silent.outcome, soon.outcome} == {Outcome.ACCEPTED}
    await eventually(lambda: len(client.receipts) == 2)
    assert loop.time() - begun >= 0.4
    ids = [receipt.carrier_message_id for receipt in client.receipts]
    assert ids == [soon.carrier_message_id, late.carrier_message_id]
    await eventually(lambda: simulator.receipts_acknowledged == 2)
    assert simulator.receipts_pending == 0  # so none will come for 0006


@pytest.mark.parametrize("text", ["Long and €uro {" * 40, "Привет 😀 " * 30, "short", "корот"])
async def test_long_texts_arrive_whole(start_simulator: StartSimulator, start_client: StartClient, text: str) -> None:
    taken: list[ShortMessage] = []
    simulator = await start_simulator(on_submit=taken.append)
    client = await (await start_client(simulator.port, default_sender="12345")).bound()
    split = segment(text)
    waiting = [
        client.carrier.submit(
            Segment("+93701234567", None, split.encoding, part, n, split.count, udh_reference=200, validity_s=93_784)
        )
        for n, part in enumerate(split.parts, 1)
    ]
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {Outcome.ACCEPTED}
    pieces = []
    for number, message in enumerate(taken, 1):
        data = message.short_message
        if split.count > 1:
            assert data[:6] == bytes((5, 0, 3, 200, split.count, number))
            data = data[6:]
        assert message.esm_class == (0x40 if split.count > 1 else 0)
        assert message.data_coding == (0 if split.encoding == "gsm7" else 8)
        assert message.registered_delivery == 1
        assert message.validity_period == "000001020304000R"
        assert tuple(message.destination) == (1, 1, "93701234567")
        assert tuple(message.source) == (3, 0, "12345")
        pieces.append(data.decode("gsm23.038" if split.encoding == "gsm7" else "utf-16-be"))
    assert "".join(pieces) == text


@pytest.mark.parametrize(
    ("sender", "source"),
    [
        ("+93701234567", (1, 1, "93701234567")),
        ("Ghasi", (5, 0, "Ghasi")),
        ("12345", (3, 0, "12345")),
        ("0701234567", (0, 1, "0701234567")),
        (None, (0, 0, "")),
    ],
)
async def test_ton_and_npi_of_the_sender(
    start_simulator: StartSimulator, start_client: StartClient, sender: str | None, source: tuple[int, int, str]
) -> None:
    taken: list[ShortMessage] = []
    simulator = await start_simulator(on_submit=taken.append)
    client = await (await start_client(simulator.port)).bound()
    result = await client.carrier.submit(Segment("+93701234567", sender, "gsm7", b"Hello"))
    assert result.outcome is Outcome.ACCEPTED
    assert tuple(taken[0].source) == source
    assert taken[0].validity_period == ""


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (Segment("+93701234567", "twelve chars", "gsm7", b"a"), "invalid_source"),
        (Segment("+93701234567", "Гхаси", "gsm7", b"a"), "invalid_source"),
        (Segment("+93701234567", "+" + "1" * 21, "gsm7", b"a"), "invalid_source"),
        (Segment("nobody", "Ghasi", "gsm7", b"a"), "invalid_destination"),
        (Segment("+" + "1" * 21, "Ghasi", "gsm7", b"a"), "invalid_destination"),
        (Segment("", "Ghasi", "gsm7", b"a"), "invalid_destination"),
        (Segment("+93701234567", "Ghasi", "gsm7", bytes(256)), "invalid_message"),
        (Segment("+93701234567", "Ghasi", "gsm7", b"a", part=1, parts=256), "invalid_message"),
    ],
)
async def test_what_smpp_has_no_form_for_is_refused(
    start_simulator: StartSimulator, start_client: StartClient, one: Segment, code: str
) -> None:
    client = await (await start_client((await start_simulator()).port)).bound()
    result = await client.carrier.submit(one)
    assert (result.outcome, result.error_code) == (Outcome.REFUSED, code)
    assert client.carrier.state().outstanding == 0


async def test_many_messages_keep_to_the_window(start_simulator: StartSimulator, start_client: StartClient) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, receipt_window=7))
    client = await (await start_client(simulator.port, window=20)).bound()
    carrier = client.carrier
    waiting: set[asyncio.Future] = set()
    accepted, number, most = 0, 0, 0
    while number < 1000 or waiting:
        for _ in range(min(carrier.capacity(), 1000 - number)):
            waiting.add(carrier.submit(text_to("+93701234567", str(number))))
            number += 1
        most = max(most, carrier.state().outstanding)
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        accepted += sum(result.result().outcome is Outcome.ACCEPTED for result in done)
    assert (accepted, most) == (1000, 20)
    await eventually(lambda: simulator.receipts_acknowledged == 1000)
    assert len({receipt.carrier_message_id for receipt in client.receipts}) == 1000
    assert max(client.batches) <= 7
    assert len(simulator.submissions) == 1000


async def test_throughput_is_even_and_a_cap_on_every_second(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    simulator = await start_simulator(on_submit=lambda _: times.append(loop.time()))
    client = await (await start_client(simulator.port, throughput_per_s=50)).bound()
    carrier = client.carrier
    begun = loop.time()
    waiting: list[asyncio.Future] = []
    while len(waiting) < 40:
        await eventually(carrier.capacity)
        assert carrier.capacity() <= 15  # what goes out while a dispatcher is away
        waiting += [carrier.submit(text_to("+93701234567", str(n))) for n in range(carrier.capacity())]
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {Outcome.ACCEPTED}
    assert len(times) == len(waiting)
    assert all(at - begun >= number / 50 for number, at in enumerate(times))


async def test_without_room_a_submit_is_unsent(start_simulator: StartSimulator, start_client: StartClient) -> None:
    client = await (await start_client((await start_simulator()).port, window=3)).bound()
    waiting = [client.carrier.submit(text_to("+93701234567", str(n))) for n in range(4)]
    assert client.carrier.capacity() == 0
    outcomes = [result.outcome for result in await asyncio.gather(*waiting)]
    assert outcomes == [Outcome.ACCEPTED] * 3 + [Outcome.UNSENT]
    await client.carrier.stop()
    assert (await client.carrier.submit(text_to("+93701234567"))).outcome is Outcome.UNSENT
    assert client.carrier.state().detail == "stopped"


async def test_a_receipt_is_answered_only_once_acknowledged(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    simulator = await start_simulator()
    client = await (await start_client(simulator.port)).bound()
    client.keep = True
    await client.carrier.submit(text_to("+93701234567"))
    await eventually(lambda: client.receipts)
    await client.carrier.submit(text_to("+93701230003"))  # a whole round trip, and still no acknowledgement
    assert (simulator.receipts_acknowledged, simulator.receipts_pending) == (0, 1)
    client.carrier.acknowledge(client.receipts, accepted=True)
    client.carrier.acknowledge(client.receipts, accepted=True)
    await eventually(lambda: simulator.receipts_acknowledged == 1)
    assert simulator.receipts_pending == 0


async def test_a_receipt_that_is_not_accepted_comes_again(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, retry_s=0.05))
    client = await (await start_client(simulator.port)).bound()
    client.keep = True
    await client.carrier.submit(text_to("+93701234567"))
    await eventually(lambda: client.receipts)
    client.carrier.acknowledge(client.receipts, accepted=False)
    await eventually(lambda: len(client.receipts) == 2)
    client.carrier.acknowledge(client.receipts[1:], accepted=True)
    await eventually(lambda: simulator.receipts_acknowledged == 1)
    first, second = client.receipts
    assert first.carrier_message_id == second.carrier_message_id


async def test_a_receipt_nobody_answers_comes_again(start_simulator: StartSimulator, start_client: StartClient) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=0.01, redelivery_s=0.1))
    client = await (await start_client(simulator.port)).bound()
    client.keep = True
    await client.carrier.submit(text_to("+93701234567"))
    await eventually(lambda: len(client.receipts) == 2)
    client.keep = False
    await eventually(lambda: simulator.receipts_acknowledged == 1)


async def test_receipts_come_again_after_a_lost_link(
    start_simulator: StartSimulator, start_client: StartClient
) -> None:
    simulator = await start_simulator()
    client = await (await start_client(simulator.port)).bound()
    client.keep = True
    sent = [await client.carrier.submit(text_to("+93701234567", str(n))) for n in range(5)]
    await eventually(lambda: len(client.receipts) == 5)
    stale = list(client.receipts)
    simulator.drop_links()
    await eventually(lambda: len(client.receipts) == 10)
    assert [r.carrier_message_id for r in client.receipts] == [r.carrier_message_id for r in sent] * 2
    client.carrier.acknowledge(stale, accepted=True)  # of the link that is gone: nothing happens
    client.carrier.acknowledge(client.receipts[5:], accepted=True)
    await eventually(lambda: simulator.receipts_acknowledged == 5)
    assert simulator.receipts_pending == 0


async def test_receipts_wait_while_nobody_is_bound(start_simulator: StartSimulator, start_client: StartClient) -> None:
    simulator = await start_simulator(Behaviour(receipt_delay_s=1))  # the link is gone by then
    first = await (await start_client(simulator.port)).bound()
    result = await first.carrier.submit(text_to("+93701234567"))
    await first.carrier.stop()
    other = await (await start_client(simulator.port, system_id="other")).bound()
    second = await (await start_client(simulator.port)).bound()
    await eventually(lambda: second.receipts)
    assert second.receipts[0].carrier_message_id == result.carrier_message_id
    assert other.receipts == first.receipts == []


async def test_it_connects_again_when_the_carrier_is_back(
    start_simulator: StartSimulator, start_client: StartClient, reserved_port: int
) -> None:
    simulator = await start_simulator(port=reserved_port)
    client = await (await start_client(reserved_port)).bound()
    await simulator.close()
    await eventually(lambda: "connection failed" in client.carrier.state().detail)
    assert client.carrier.capacity() == 0
    second = await start_simulator(port=reserved_port)
    await client.bound()
    assert (await client.carrier.submit(text_to("+93701234567"))).outcome is Outcome.ACCEPTED
    assert second.accepted == 1


@pytest.mark.parametrize(
    ("enforced", "cause"), [({"password": "other"}, "ESME_RINVPASWD"), ({"system_id": "other"}, "ESME_RINVSYSID")]
)
async def test_a_refused_bind_tells_its_cause_and_never_the_password(
    start_simulator: StartSimulator, start_client: StartClient, enforced: dict[str, str], cause: str
) -> None:
    simulator = await start_simulator(Behaviour(**enforced))  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        client = await start_client(simulator.port)
        await eventually(lambda: cause in client.carrier.state().detail)
        await eventually(lambda: sum(log["event"] == "carrier_bind_failed" for log in logs) >= 2)  # it tries again
        await client.carrier.stop()
    assert not client.carrier.state().bound
    assert any(cause in log.get("cause", "") for log in logs)
    assert "hunter2" not in str(logs)
    assert "hunter2" not in repr(client.carrier._configuration)


async def test_a_host_that_cannot_be_is_a_failed_connection(start_client: StartClient) -> None:
    client = await start_client(1, host="a..b")
    await eventually(lambda: "connection failed" in client.carrier.state().detail)


async def test_starting_twice_is_an_error(start_simulator: StartSimulator, start_client: StartClient) -> None:
    client = await start_client((await start_simulator()).port)
    with pytest.raises(RuntimeError, match="started already"):
        await client.carrier.start(client.on_receipts, lambda _: None)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smsc")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


async def test_tls_with_a_certificate_that_holds_and_one_that_does_not(
    start_simulator: StartSimulator, start_client: StartClient, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    simulator = await start_simulator(tls=context)
    client = await (await start_client(simulator.port, tls=True, tls_ca_file=str(certificate))).bound()
    assert (await client.carrier.submit(text_to("+93701234567"))).outcome is Outcome.ACCEPTED
    await eventually(lambda: client.receipts)
    stranger = await start_client(simulator.port, tls=True, timing=QUICK)
    await eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in stranger.carrier.state().detail)
    assert stranger.carrier.capacity() == 0
