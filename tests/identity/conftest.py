"""The local identity server on a real socket, and a client of it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography import x509

from ghasi.identity.app import ACCOUNTS, CERTIFICATES, TOKEN, identity_app
from ghasi.storage.resources import Resources
from tests.live import live

EMAIL, PASSWORD = "ann@example.com", "correct horse"


class Identity:
    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def post(self, action: str, body: Any, **arguments: Any) -> tuple[int, Any]:
        path = TOKEN if action == "token" else f"{ACCOUNTS}:{action}"
        async with self.http.post(f"{self.url}{path}?key=any", **{"json": body, **arguments}) as answer:
            return answer.status, await answer.json()

    async def refused(self, action: str, body: Any, **arguments: Any) -> str:
        status, answer = await self.post(action, body, **arguments)
        assert status == 400, answer
        message = answer["error"]["message"]
        assert answer == {
            "error": {
                "code": 400,
                "message": message,
                "errors": [{"message": message, "reason": "invalid", "domain": "global"}],
            }
        }
        return message

    async def sign_up(self, email: str = EMAIL, **fields: Any) -> Any:
        status, answer = await self.post(
            "signUp", {"email": email, "password": PASSWORD, "returnSecureToken": True, **fields}
        )
        assert status == 200, answer
        return answer

    async def certificates(self) -> dict[str, str]:
        async with self.http.get(self.url + CERTIFICATES) as answer:
            assert answer.status == 200
            assert "max-age=3600" in answer.headers["cache-control"]
            return await answer.json()

    async def claims(self, id_token: str) -> dict[str, Any]:
        """Verify as any Firebase client does: by the published certificate of the token's kid."""
        pem = (await self.certificates())[jwt.get_unverified_header(id_token)["kid"]]
        certificate = x509.load_pem_x509_certificate(pem.encode())
        key = certificate.public_key()
        certificate.verify_directly_issued_by(certificate)
        return jwt.decode(
            id_token, key, algorithms=["RS256"], audience="demo-ghasi",
            issuer="https://securetoken.google.com/demo-ghasi",
        )  # fmt: skip


@pytest.fixture
async def identity(resources: Resources) -> AsyncIterator[Identity]:
    async with live(identity_app(resources)) as url, aiohttp.ClientSession() as http:
        yield Identity(url, http)


def credentials(email: str = EMAIL, password: str = PASSWORD) -> dict[str, str]:
    return {"email": email, "password": password}


def refresh(tokens: dict[str, str]) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": tokens["refreshToken"]}
