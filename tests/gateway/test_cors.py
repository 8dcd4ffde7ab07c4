"""The portal's pages may read the API from a browser; other sites' may not."""

import pytest

from ghasi.contract.cross_origin import origin_of
from ghasi.gateway.app import Gateway
from tests.asgi import request
from tests.gateway.services import Recorder, bearer

PORTAL = "https://portal.ghasi.io"
OTHERS = ["https://evil.example", "https://portal.ghasi.io.evil.example", "http://portal.ghasi.io", "null",
          "https://portal.ghasi.io:8443", "https://PORTAL.ghasi.io", ""]  # fmt: skip


def cors_headers(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.startswith("access-control-")}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/messages", {"GET", "POST"}),
        ("/v1/webhooks/0190", {"GET", "PUT", "DELETE"}),
        ("/v1/auth/refresh", {"POST"}),
    ],
)
async def test_a_preflight_of_the_portal_is_allowed(
    gateway: Gateway, upstream: Recorder, path: str, methods: set[str]
) -> None:
    headers = {"origin": PORTAL, "access-control-request-method": "POST"}
    answer = await request(gateway, "OPTIONS", path, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    allowed = cors_headers(answer.headers)
    assert set(allowed.pop("access-control-allow-methods").split(", ")) == methods
    assert allowed == {
        "access-control-allow-origin": PORTAL,
        "access-control-allow-credentials": "true",
        "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key",
        "access-control-max-age": "3600",
    }
    assert answer.header("vary") == "Origin"
    assert answer.header("ratelimit-limit") is None
    assert not upstream.received


@pytest.mark.parametrize("origin", OTHERS)
async def test_a_preflight_from_elsewhere_is_told_nothing(gateway: Gateway, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    answer = await request(gateway, "OPTIONS", "/v1/messages", headers=headers)
    assert not cors_headers(answer.headers)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/messages", {}),
        ("/v1/messages", {"origin": PORTAL}),
        ("/v1/messages", {"access-control-request-method": "POST"}),
        ("/v1/nothing", {"origin": PORTAL, "access-control-request-method": "POST"}),
    ],
)
async def test_options_that_are_no_preflight_of_a_row_are_no_route(
    gateway: Gateway, path: str, headers: dict[str, str]
) -> None:
    answer = await request(gateway, "OPTIONS", path, headers=headers)
    assert (answer.status, answer.json["message"]) == (404, "no Route matched with those values")


@pytest.mark.parametrize(
    ("token", "target", "status"),
    [(None, "/v1/messages", 200), ("garbage", "/v1/messages", 401), (None, "/v1/nothing", 404)],
)
async def test_every_answer_to_the_portal_can_be_read_and_no_other_sites(
    gateway: Gateway, token: str | None, target: str, status: int
) -> None:
    answer = await request(gateway, "GET", target, headers=bearer(token) | {"origin": PORTAL})
    assert answer.status == status
    assert cors_headers(answer.headers) == {
        "access-control-allow-origin": PORTAL,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
        "X-RateLimit-Limit-Minute, X-RateLimit-Remaining-Minute, Retry-After, X-Kong-Request-Id",
    }
    assert answer.header("vary") == "Origin"
    for origin in OTHERS:
        answer = await request(gateway, "GET", target, headers=bearer(token) | {"origin": origin})
        assert (answer.status, cors_headers(answer.headers)) == (status, {})
    assert not cors_headers((await request(gateway, "GET", target, headers=bearer(token))).headers)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://portal.ghasi.io", "https://portal.ghasi.io"),
        ("https://Portal.Ghasi.io:443/app/", "https://portal.ghasi.io"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://portal:80/", "http://portal"),
        ("http://[::1]:3000/x", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origin_of(url) == origin
