"""The identity server's own RS256 keys: made once, sealed at rest, published as self-signed X.509 certificates.

Owns how an ID token is signed and read. Knows no user and no password.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.x509.oid import NameOID

from ghasi.identity import queries
from ghasi.identity.model import ID_TOKEN_LIFE_S, Refusal, User
from ghasi.storage.pool import Pool
from ghasi.storage.sealing import Sealer

CERTIFICATE_LIFE = timedelta(days=3650)
SUBJECT = "securetoken.system.gserviceaccount.com"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key that signs, and the public keys and certificates (PEM) of all by their kid."""

    project_id: str
    kid: str
    private_key: RSAPrivateKey
    public_keys: Mapping[str, RSAPublicKey]
    certificates: Mapping[str, str]

    @property
    def issuer(self) -> str:
        """The iss of the ID tokens, as Firebase writes it."""
        return f"https://securetoken.google.com/{self.project_id}"


async def open_keys(pool: Pool, sealer: Sealer, project_id: str) -> Keys:
    """Read the keys, and make the first one; raises SealError when they were sealed with another secret key."""
    async with pool.acquire() as connection, connection.transaction():
        await queries.lock_signing_keys(connection)
        rows = await queries.list_signing_keys(connection)
        if not rows:
            kid, certificate, private_key = await asyncio.to_thread(_make)
            sealed = sealer.seal(private_key)
            await queries.insert_signing_key(connection, kid=kid, certificate=certificate, sealed_private_key=sealed)
            rows = [(kid, certificate, sealed)]
    opened = serialization.load_der_private_key(sealer.open(rows[0][2]), password=None)
    if not isinstance(opened, RSAPrivateKey):
        raise TypeError("the signing key is not an RSA key")
    certificates = {kid: certificate for kid, certificate, _ in rows}
    public_keys = {kid: _public_key(certificate) for kid, certificate in certificates.items()}
    return Keys(project_id, rows[0][0], opened, public_keys, certificates)


def _make() -> tuple[str, str, bytes]:
    """Return kid, certificate (PEM) and private key (PKCS 8, DER) of a new key."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    kid = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()[:40]
    private_key = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return kid, certificate.public_bytes(serialization.Encoding.PEM).decode(), private_key


def _public_key(certificate: str) -> RSAPublicKey:
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a published certificate is not of an RSA key")
    return key


def sign_id_token(keys: Keys, user: User, auth_time: datetime, now: datetime) -> str:
    """Make an ID token with the claims of Firebase's, good for an hour."""
    claims: dict[str, Any] = {
        "iss": keys.issuer,
        "aud": keys.project_id,
        "auth_time": int(auth_time.timestamp()),
        "user_id": user.local_id,
        "sub": user.local_id,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + ID_TOKEN_LIFE_S,
        "email": user.email,
        "email_verified": user.email_verified,
        "firebase": {"identities": {"email": [user.email]}, "sign_in_provider": "password"},
    }
    if user.display_name:
        claims["name"] = user.display_name
    return jwt.encode(claims, keys.private_key, algorithm="RS256", headers={"kid": keys.kid})


def read_id_token(keys: Keys, token: str | None) -> tuple[str, datetime]:
    """Return the user's id and the time of the sign-in; raises Refusal INVALID_ID_TOKEN or TOKEN_EXPIRED."""
    try:
        key = keys.public_keys[jwt.get_unverified_header(token or "")["kid"]]
        claims = jwt.decode(
            token or "", key, algorithms=["RS256"], audience=keys.project_id, issuer=keys.issuer,
            options={"require": ["exp", "iat", "sub", "auth_time"]},
        )  # fmt: skip
    except jwt.ExpiredSignatureError:
        raise Refusal("TOKEN_EXPIRED") from None
    except (jwt.InvalidTokenError, KeyError, TypeError):
        raise Refusal("INVALID_ID_TOKEN") from None
    return claims["sub"], datetime.fromtimestamp(claims["auth_time"], UTC)
