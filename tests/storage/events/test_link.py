"""The connection to NATS: whom it trusts, what it says of itself, and that every wait has an end."""

import asyncio
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from ghasi.storage.events.link import Link, NatsAwayError, Server
from tests.engines import Engine, nats_server

PASSWORD = "p@ss:w/rd"


async def connects(url: str) -> bool:
    link = Link(url)
    try:
        connection = await link.connection()
        return await connection.ask(connection.client.rtt()) > 0
    except NatsAwayError:
        return False
    finally:
        await link.close()


async def test_credentials_are_those_of_the_url_and_no_log_has_them() -> None:
    with nats_server("--user", "ghasi", "--pass", PASSWORD) as nats:
        address = f"127.0.0.1:{nats.port}"
        assert await connects(f"nats://ghasi:p%40ss%3Aw%2Frd@{address}")
        with capture_logs() as logs:
            for wrong in ("ghasi:wrong-secret@", "wrong-secret@", ""):
                assert not await connects(f"nats://{wrong}{address}")
        reasons = {entry["reason"] for entry in logs if entry["event"] == "nats_away"}
        assert reasons == {"nats: 'Authorization Violation'"}
        assert "secret" not in str(logs)
    assert "secret" not in repr(Server.of("nats://ghasi:secret@host"))


async def test_one_of_several_servers_is_enough(nats: Engine) -> None:
    assert await connects(f"nats://127.0.0.1:1, {nats.url}")
    assert not await connects("nats://127.0.0.1:1,nats://127.0.0.1:2")


async def test_tls_is_asked_for_and_the_certificate_verified(
    nats: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    _make_certificate(certificate, key)
    with nats_server("--tlscert", str(certificate), "--tlskey", str(key)) as encrypted:
        url = f"tls://127.0.0.1:{encrypted.port}"
        assert not await connects(url)  # nobody has signed it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await connects(url)
    with capture_logs() as logs:
        assert not await connects(nats.url.replace("nats:", "tls:"))
    assert "the server offers no TLS" in str(logs)


@pytest.mark.parametrize("credentials", ["ghasi:hidden", "hidden"])
async def test_credentials_go_to_nobody_without_the_tls_that_was_asked_for(credentials: str) -> None:
    """Whoever sits between may say that there is none, and ask for them."""
    told = bytearray()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","auth_required":true,"max_payload":1048576}\r\n')
        told.extend(await reader.read(4096))
        writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with capture_logs() as logs:
            assert not await connects(f"tls://{credentials}@{address}")
        assert not told
        assert [entry["reason"] for entry in logs if entry["event"] == "nats_away"] == ["the server offers no TLS"]
        assert not await connects(f"nats://{credentials}@{address}")
        assert b"hidden" in told


async def test_a_server_that_hangs_is_given_up_and_found_again() -> None:
    with nats_server() as nats:
        link = Link(nats.url)
        connection = await link.connection()
        nats.pause()
        await asyncio.sleep(0.05)
        began = asyncio.get_running_loop().time()
        with pytest.raises(NatsAwayError):
            await connection.ask(connection.client.request("$JS.API.INFO", timeout=0.2))
        assert not connection.is_open
        with pytest.raises(NatsAwayError):
            await link.connection()
        assert asyncio.get_running_loop().time() - began < 4
        nats.resume()
        async with asyncio.timeout(2):
            while True:
                try:
                    assert (await link.connection()).is_open
                    break
                except NatsAwayError:
                    await asyncio.sleep(0.05)
        await link.close()


async def test_who_waits_is_told_when_the_server_dies() -> None:
    with nats_server() as nats:
        link = Link(nats.url)
        connection = await link.connection()
        waiting = asyncio.create_task(connection.within(asyncio.get_running_loop().create_future(), 20))
        await asyncio.sleep(0.05)
        nats.kill()
        with pytest.raises(NatsAwayError):
            async with asyncio.timeout(2):
                await waiting
        await link.close()


def _make_certificate(certificate: Path, key: Path) -> None:
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nats")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
