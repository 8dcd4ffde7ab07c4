"""What a client says of itself is not believed; upstreams receive the contract's three headers and the gateway's."""

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghasi import __version__
from ghasi.contract.row import Row, Upstream
from ghasi.contract.table import ROWS
from ghasi.gateway.app import Gateway
from ghasi.gateway.headers import read_headers
from ghasi.gateway.upstreams import HttpUpstream
from tests.asgi import request
from tests.gateway.services import ACCOUNT_ID, USER_ID, AuthService, Recorder, bearer, running
from tests.live import live

FORGED = [
    ("X-Account-Id", "forged"), ("X-User-Id", "forged"), ("X-Consumer-Username", "forged"), ("X-Consumer-ID", "forged"),
    ("X-Consumer-Custom-ID", "forged"), ("X-Consumer-Groups", "forged"), ("X-Credential-Identifier", "forged"),
    ("X-Credential-Username", "forged"), ("X-Anonymous-Consumer", "forged"), ("X-Ghasi-Upstream-Secret", "forged"),
    ("X-Ghasi-Portal-Secret", "forged"), ("X-Ghasi-Anything", "forged"), ("X-Kong-Request-Id", "forged"),
    ("X-Kong-Anything", "forged"), ("X-Forwarded-For", "forged"), ("X-Forwarded-Proto", "forged"),
    ("X-Forwarded-Host", "forged"), ("X-Forwarded-Prefix", "forged"), ("X-Real-IP", "forged"), ("Forwarded", "forged"),
]  # fmt: skip
HOP_BY_HOP = [
    ("Keep-Alive", "forged"), ("TE", "forged"), ("Proxy-Authorization", "forged"), ("Proxy-Authenticate", "forged"),
    ("Proxy-Connection", "forged"), ("X-Named", "forged"), ("Trailer", "forged"),
]  # fmt: skip


async def test_an_upstream_receives_the_contracts_three_of_the_verified_caller(
    gateway: Gateway, upstream: Recorder
) -> None:
    answer = await request(gateway, "POST", "/v1/messages", headers=bearer(), json={"to": "+93701234567"})
    received = upstream.last
    assert received.all("x-account-id") == [ACCOUNT_ID]
    assert received.all("x-user-id") == [USER_ID]
    assert received.all("x-consumer-username") == ["ghasi-user"]
    assert received.all("x-credential-identifier") == ["first"]
    assert received.all("x-kong-request-id") == [answer.header("x-kong-request-id")]
    assert received.all("x-forwarded-for") == ["127.0.0.1"]
    assert received.all("x-forwarded-proto") == ["http"]
    assert received.all("x-forwarded-port") == ["8000"]
    assert received.body == b'{"to":"+93701234567"}'


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation)
async def test_over_sockets_nothing_forged_reaches_any_upstream(auth: AuthService, row: Row) -> None:
    upstream = Recorder()
    forged = [*FORGED, *((name.replace("-", "_"), value) for name, value in FORGED), *HOP_BY_HOP]
    forged += [
        ("Connection", "keep-alive, X-Named"),
        ("Cookie", "a=b; c=d"),
        ("Idempotency-Key", "k1"),
        *bearer().items(),
    ]
    async with live(upstream) as upstream_url:
        split = {name: HttpUpstream(upstream_url, "the-proof") for name in row.upstreams if name is not Upstream.AUTH}
        if row.upstream is Upstream.AUTH:
            async with running(auth, upstream) as gateway, live(gateway, server_header=False) as url:
                await send(url, row, forged)
        else:
            async with running(auth, split) as gateway, live(gateway, server_header=False) as url:
                await send(url, row, forged)
    if row.operation == "get_json_web_keys":
        return  # the gateway's own upstream in these tests, which records nothing
    received = upstream.last
    assert not [header for header in received.headers if "forged" in header[1]]
    assert not [name for name, _ in received.headers if "_" in name]
    verified = row.auth.value == "bearer"
    assert received.all("x-account-id") == ([ACCOUNT_ID] if verified else [])
    assert received.all("x-user-id") == ([USER_ID] if verified else [])
    assert received.all("x-consumer-username") == (["ghasi-user"] if verified else [])
    assert received.all("x-forwarded-for") == ["127.0.0.1"]
    assert received.all("x-ghasi-upstream-secret") == ([] if row.upstream is Upstream.AUTH else ["the-proof"])
    assert received.all("cookie") == ["a=b; c=d"]
    assert received.all("idempotency-key") == ["k1"]
    assert received.all("authorization") == [bearer_value for name, bearer_value in forged if name == "authorization"]


async def send(url: str, row: Row, headers: list[tuple[str, str]]) -> None:
    path = row.path.replace("{", "").replace("}", "")
    async with aiohttp.ClientSession() as client, client.request(row.method, url + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


@given(
    st.sampled_from([name.lower() for name, _ in FORGED]),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=30, max_size=30),
)
def test_no_spelling_of_a_forged_name_gets_through(name: str, changes: list[tuple[bool, bool]]) -> None:
    spelled = "".join(
        ("_" if under and letter == "-" else letter.upper() if upper else letter)
        for letter, (under, upper) in zip(name, changes, strict=False)
    )
    assert read_headers([(spelled.encode(), b"forged")]).kept == []


def test_header_names_are_remembered_in_bounds() -> None:
    for number in range(3000):
        read_headers([(b"x-made-up-%d" % number, b"1")])
    assert len(read_headers.__globals__["_decisions"]) <= 1000
    assert read_headers([(b"x-user-id", b"1"), (b"x_user_id", b"1"), (b"x-ok", b"1")]).kept == [(b"x-ok", b"1")]


async def test_a_connection_header_cannot_take_away_what_the_gateway_says(gateway: Gateway, upstream: Recorder) -> None:
    headers = bearer() | {"connection": "close, X-Account-Id, X-Forwarded-For, Authorization"}
    assert (await request(gateway, "GET", "/v1/messages", headers=headers)).status == 200
    assert upstream.last.all("x-account-id") == [ACCOUNT_ID]
    assert upstream.last.all("x-forwarded-for") == ["127.0.0.1"]


async def test_a_proxied_answer_over_sockets_is_the_upstreams_with_kongs_headers(auth: AuthService) -> None:
    upstream = Recorder(
        status=202,
        headers=[
            (b"content-type", b"application/json"), (b"server", b"their-server"), (b"x-their", b"kept"),
            (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"connection", b"x-private"), (b"x-private", b"dropped"),
            (b"keep-alive", b"timeout=5"), (b"x-kong-request-id", b"theirs"),
            (b"date", b"Sun, 22 Nov 2020 00:00:00 GMT"),
        ],
    )  # fmt: skip
    async with (
        live(upstream, server_header=False) as upstream_url,
        running(auth, {Upstream.ORCHESTRATOR: HttpUpstream(upstream_url)}) as gateway,
        live(gateway, server_header=False) as url,
        aiohttp.ClientSession() as client,
        client.post(f"{url}/v1/messages", headers=bearer(), json={}) as answer,
    ):
        assert answer.status == 202
        assert await answer.json() == {"from": "upstream"}
        headers = answer.headers
    assert headers.getall("server") == ["their-server"]
    assert headers.getall("x-their") == ["kept"]
    assert headers.getall("set-cookie") == ["a=1", "b=2"]
    assert headers.getall("via") == [f"1.1 ghasi/{__version__}"]
    assert headers.getall("x-kong-request-id") == upstream.last.all("x-kong-request-id")
    assert int(headers["x-kong-upstream-latency"]) >= 0
    assert int(headers["x-kong-proxy-latency"]) >= 0
    assert len(headers.getall("date")) == 1
    assert headers.getall("content-length") == [str(len(upstream.body))]
    assert not headers.keys() & {"x-private", "keep-alive", "x-kong-response-latency", "transfer-encoding"}


async def test_an_upstream_without_a_server_header_is_ghasi(gateway: Gateway) -> None:
    answer = await request(gateway, "GET", "/v1/messages", headers=bearer())
    assert answer.all("server") == [f"ghasi/{__version__}"]
    assert answer.all("content-length") == ["19"]


async def test_an_answer_without_content_has_no_length(gateway: Gateway, upstream: Recorder) -> None:
    upstream.status, upstream.body, upstream.headers = 204, b"", []
    answer = await request(gateway, "DELETE", "/v1/webhooks/x", headers=bearer())
    assert (answer.status, answer.body, answer.all("content-length")) == (204, b"", [])


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"), ("GET", "/v1"), ("GET", "/v1/messages/"), ("GET", "/v1/Messages"), ("GET", "//v1/messages"),
        ("PATCH", "/v1/messages"), ("HEAD", "/v1/messages"), ("DELETE", "/v1/messages"), ("PUT", "/v1/api-keys"),
        ("GET", "/v1/messages/a/b"), ("GET", "/v1/messages/a%2Fb"), ("POST", "/internal/api-keys/find"),
        ("POST", "/internal/gateway-lease"), ("POST", "/v1/../internal/gateway-lease"), ("POST", "/healthz"),
        ("OPTIONS", "/v1/messages"), ("GET", "/v1/messagesx"), ("TRACE", "/v1/messages"),
    ],
)  # fmt: skip
async def test_what_is_no_row_is_no_route(gateway: Gateway, upstream: Recorder, method: str, target: str) -> None:
    answer = await request(gateway, method, target, headers=bearer())
    assert answer.status == 404
    assert answer.json == {
        "message": "no Route matched with those values",
        "request_id": answer.header("x-kong-request-id"),
    }
    assert answer.header("server") == f"ghasi/{__version__}"
    assert answer.header("x-kong-response-latency")
    assert answer.header("via") is None
    assert not upstream.received


@pytest.mark.parametrize(
    "target", ["/v1/messages/%2e%2e", "/v1/messages/a%20b%C3%A9", "/v1/messages/x?limit=5&to=%2B93"]
)
async def test_over_http_the_path_and_query_arrive_as_they_were(auth: AuthService, target: str) -> None:
    upstream = Recorder()
    async with (
        live(upstream) as upstream_url,
        running(auth, {Upstream.STORE: HttpUpstream(upstream_url + "/")}) as gateway,
    ):
        assert (await request(gateway, "GET", target, headers=bearer())).status == 200
    path, _, query = target.partition("?")
    assert upstream.last.path.replace("..", "%2e%2e") == path
    assert upstream.last.query == query
