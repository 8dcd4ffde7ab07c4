"""A gateway before all four services over a database of its own, and customers who signed in to it for real."""

import asyncio
import atexit
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from ghasi.billing.accounts import customers
from ghasi.contract.row import Row, Upstream
from ghasi.contract.values import new_id
from ghasi.gateway.app import Gateway
from ghasi.gateway.upstreams import InProcessUpstream, UpstreamAnswer, UpstreamClient, UpstreamRequest, UpstreamStream
from ghasi.messages.senders.admin import add_sender
from ghasi.messages.senders.queries import StoredSender
from ghasi.messages.sending.accounts import take_accounts
from ghasi.messages.sending.prices import take_billing
from ghasi.processes.hosting import Host
from ghasi.settings import Settings
from ghasi.storage.events import outbox, postgres
from ghasi.storage.resources import Resources
from ghasi.storage.sealing import new_secret_key
from tests.asgi import Answer, request
from tests.auth.identity_provider import PROJECT, id_token

ROOMY = dict.fromkeys(
    (
        "limit_auth",
        "limit_api_keys",
        "limit_sends",
        "limit_reads",
        "limit_writes",
        "limit_previews",
        "limit_exports",
        "limit_batches",
    ),
    1_000_000,
)
_numbers = itertools.count(1)


class Switch:
    """A way to the services that a test may bend to somewhere else; what the gateway knows by then it keeps."""

    def __init__(self, client: UpstreamClient) -> None:
        self.client = client

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        return await self.client.send(request)

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        return self.client.stream(request)

    async def close(self) -> None:
        await self.client.close()


def new_address() -> str:
    """An address that nobody else calls from: sign-ins are counted by it."""
    number = next(_numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass
class Customer:
    """A person who signed in, at an address of their own."""

    world: "World"
    account_id: UUID
    user_id: UUID
    token: str
    cookie: str
    address: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def call(
        self, method: str, target: str, json: Any = None, *, body: bytes | None = None, **headers: str
    ) -> Answer:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.world.call(
            method, target, headers=self.bearer | more, json=json, body=body, client=self.address
        )

    async def create_key(self, *scopes: str, **fields: Any) -> dict[str, Any]:
        body = {"name": "a key", **({"scopes": list(scopes)} if scopes else {}), **fields}
        answer = await self.call("POST", "/v1/api-keys", body)
        assert answer.status == 201, answer.body
        return answer.json

    async def invite(self, **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/invitations", {"email": f"{new_id()}@example.com"} | fields)
        assert answer.status == 201, answer.body
        return answer.json

    async def add_person(self, role: str = "member") -> "Customer":
        """Someone who was invited into the account and came."""
        invitation = await self.invite(role=role)
        person = await self.world.sign_in(email=invitation["email"], invitation=invitation["token"])
        assert person.account_id == self.account_id
        return person

    async def create_webhook(self) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/webhooks", WEBHOOK)
        assert answer.status == 201, answer.body
        return answer.json

    async def create_delivery(self) -> tuple[str, str]:
        """Of a test event, to an endpoint of its own; returns the ids of both."""
        webhook_id = (await self.create_webhook())["id"]
        answer = await self.call("POST", f"/v1/webhooks/{webhook_id}/test", {})
        assert answer.status == 202, answer.body
        return webhook_id, answer.json["id"]

    async def create_opt_out(self, **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/opt-outs", OPT_OUT | fields)
        assert answer.status == 201, answer.body
        return answer.json

    async def add_sender(self, address: str | None = None, **fields: Any) -> StoredSender:
        """As an operator does, once messages has heard of the account; by default a number that nobody has."""
        await self.world.hear_of_accounts()
        number = address or f"+4670{next(_numbers):07}"
        return await add_sender(self.world.resources.pool, self.account_id, number, actor="operator:ann", **fields)

    async def send(self, **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/v1/messages", MESSAGE | fields)
        assert answer.status == 202, answer.body
        return answer.json


@dataclass
class World:
    """All of the API in this process."""

    gateway: Gateway
    resources: Resources
    upstreams: Switch

    async def call(self, method: str, target: str, *, client: str | None = None, **more: Any) -> Answer:
        return await request(self.gateway, method, target, client=client or new_address(), **more)

    async def sign_in(self, subject: str | None = None, *, invitation: str | None = None, **claims: Any) -> Customer:
        """A new customer, or the person of a subject, from an address not used before."""
        address = new_address()
        body = {"id_token": id_token(sub=subject or str(new_id()), **claims), "invitation": invitation}
        answer = await self.call("POST", "/v1/auth/firebase", json=body, client=address)
        assert answer.status == 200, answer.body
        session = answer.json
        return Customer(
            self,
            UUID(session["account"]["id"]),
            UUID(session["user"]["id"]),
            session["access_token"],
            cookie_of(answer),
            address,
        )

    async def hear_of_accounts(self) -> None:
        """Let messages and billing read what auth-service said of accounts and people, as their workers do."""
        await self._hear("auth", "messages", take_accounts)
        await self._hear("auth", "billing", customers.apply)

    async def hear_of_billing(self) -> None:
        """Let messages read what billing said, as its worker does."""
        await self._hear("billing", "messages", take_billing)

    async def _hear(self, source: str, consumer: str, handle: outbox.Handler) -> None:
        pool, now = self.resources.pool, datetime.now(UTC)
        async with asyncio.timeout(10):
            # any transaction on the server that still runs holds what came after it back
            while await postgres.consume(pool, source, consumer, handle) or not await postgres.has_read_until(
                pool, source, consumer, now
            ):
                await asyncio.sleep(0)


@asynccontextmanager
async def open_world(database_url: str, certificates_url: str, **changed: Any) -> AsyncIterator[World]:
    """Open the services as a process does, and a gateway before them."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "secret_key": new_secret_key(),
        "database_pool_size": 5,
        "firebase_project_id": PROJECT,
        "firebase_certs_url": certificates_url,
    }
    settings = Settings(**(given | changed))
    async with Host(settings, asyncio.Event()) as host:
        home = InProcessUpstream(await host.open_services(Upstream))
        upstreams = Switch(home)
        gateway = Gateway(settings, dict.fromkeys(Upstream, upstreams), instance="instance-1", health=_healthy)
        await gateway.start()
        assert gateway.ready
        try:
            yield World(gateway, await host.open_resources("auth"), upstreams)
        finally:
            await gateway.close()


async def _healthy() -> dict[str, Any]:
    return {"status": "ok"}


def cookie_of(answer: Answer) -> str:
    header = answer.header("set-cookie")
    assert header is not None
    return header.partition(";")[0].partition("=")[2]


MESSAGE = {"to": "+46700000010", "body": "Hello"}
OPT_OUT = {"to": "+46700000010"}
CARRIER, CARRIER_SECRET = "aggregator", "hunter2-hunter2"
QUERY_CARRIER = "old-aggregator"
CARRIERS_FILE = f"""
[[carrier]]
name = "{CARRIER}"
kind = "http"
url = "https://sms.example.com/"
body = {{ to = "{{to}}", text = "{{text}}" }}
[carrier.receipts]
secret = "{CARRIER_SECRET}"
verify = "header:X-Secret"
id = "/id"
status = "/status"
states = {{ delivered = "delivered" }}

[[carrier]]
name = "{QUERY_CARRIER}"
kind = "http"
url = "https://sms.example.net/"
body = {{ to = "{{to}}", text = "{{text}}" }}
[carrier.receipts]
secret = "{CARRIER_SECRET}"
verify = "query:secret"
format = "query"
id = "/id"
status = "/status"
states = {{ delivered = "delivered" }}
"""
WEBHOOK = {"url": "https://example.com/hooks", "events": ["message.*"]}
BODIES: dict[str, dict[str, Any]] = {
    "sign_in_with_firebase": {"id_token": "replaced by a fresh one"},
    "update_account": {"name": "Kabul Bakery"},
    "update_preferences": {"time_zone": "Asia/Kabul", "locale": "fa-AF"},
    "update_user": {"role": "member"},
    "create_invitation": {"email": "omid@example.com"},
    "create_api_key": {"name": "a key"},
    "send_message": MESSAGE,
    "preview_message": MESSAGE,
    "send_batch": {"body": "Hello {{name}}", "recipients": [{"to": "+46700000010", "variables": {"name": "Ann"}}]},
    "create_opt_out": OPT_OUT,
    "set_spending_limit": {"spending_limit": "50.00"},
    "update_sender": {"default": True, "pool": False},
    "create_webhook": WEBHOOK,
    "update_webhook": WEBHOOK,
    "send_test_event": {"event_type": "message.delivered"},
    "recover_deliveries": {"since": "2026-01-01T00:00:00Z"},
    "replay_events": {"since": "2026-01-01T00:00:00Z"},
    "dry_run_event": {"event_type": "message.delivered"},
    "update_billing_profile": {"legal_name": "Kabul Bakery Ltd", "address": ["12 Flower Street", "Kabul"]},
}


ResourceId = UUID | str | tuple[str, ...] | None


def target_of(row: Row, resource_id: ResourceId = None) -> str:
    """The row's path, its parameters being a resource's id (several, one each) or one that nobody has."""
    path = row.path
    ids = resource_id if isinstance(resource_id, tuple) else [resource_id] * len(row.parameters)
    for name, given in zip(row.parameters, ids, strict=True):
        path = path.replace(f"{{{name}}}", str(given or new_id()))
    return path


def body_of(row: Row) -> dict[str, Any] | None:
    """A good body for a row, or None where it has none."""
    if row.operation == "sign_in_with_firebase":
        return {"id_token": id_token(sub=str(new_id()))}
    return BODIES.get(row.operation)


async def ask(customer: Customer, row: Row, *, resource_id: ResourceId = None, query: str = "", **more: Any) -> Answer:
    """A good request for a row by someone who is signed in; `resource_id` is of a resource, else there is none."""
    given = {} if "body" in more or "json" in more else {"json": body_of(row)}
    return await customer.call(
        row.method, target_of(row, resource_id) + query, cookie=f"ghasi_refresh={customer.cookie}", **given, **more
    )


@cache
def unused_url() -> str:
    """An address where nothing listens: its port is taken, as long as this process runs, by a socket that does not."""
    reserved = socket.socket()
    atexit.register(reserved.close)
    reserved.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{reserved.getsockname()[1]}"


@asynccontextmanager
async def misbehaving(how: str) -> AsyncIterator[str]:
    """The URL of a server that, once it has a request, hangs, closes or resets."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if how == "hangs":
                await reader.read()
            elif how == "resets":
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, for 0 s: close sends RST
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
