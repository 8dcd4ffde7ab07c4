"""The asynchronous Python client of the API: one method for each route of the contract.

Owns how a call is written and its answer read; time-outs and paths come from the contract's table. It keeps no
cookies but the refresh cookie it was given, repeats nothing by itself and knows nothing of the services behind.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import UNSET, UnsetType
from yarl import URL

from ghasi.client.errors import ApiError, ApiUnreachableError, GhasiError, read_error
from ghasi.contract import shapes
from ghasi.contract.table import BY_OPERATION, Auth

__all__ = ["ApiError", "ApiUnreachableError", "Ghasi", "GhasiError", "RefreshCookie", "open_session"]

T = TypeVar("T")
REFRESH_COOKIES = ("__Host-ghasi_refresh", "ghasi_refresh")
"""The refresh cookie's names: the first where the API's URL is https."""


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """The refresh token in its cookie; `set_cookie` is the header that set it, to be handed on to a browser."""

    name: str
    value: str
    set_cookie: str = ""


def open_session() -> aiohttp.ClientSession:
    """Open a session that several clients may share: it keeps no cookies, so that none is sent for another."""
    # shorter than servers keep idle connections, so that no POST goes out on one that is just being closed
    connector = aiohttp.TCPConnector(keepalive_timeout=4)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class Ghasi:
    """Calls the API at `base_url` for one caller: `token` is an API key or an access token.

    Used as an async context manager it opens a session of its own unless it is given one (see open_session). Every
    method raises ApiError for an answer that is an error and ApiUnreachableError when there is none in time. Signing
    in and refreshing set `token` and `refresh_cookie`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        refresh_cookie: RefreshCookie | None = None,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.refresh_cookie = refresh_cookie
        self._session = session
        self._owns_session = session is None
        self._headers = dict(headers or {})

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, if it is this client's own."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    # auth-service

    async def sign_in_with_firebase(self, id_token: str) -> shapes.Session:
        """Exchange a Firebase ID token for a session."""
        body = shapes.FirebaseSignIn(id_token=id_token)
        return self._signed_in(await self._call("sign_in_with_firebase", shapes.Session, body=body))

    async def refresh_session(self) -> shapes.Session:
        """Exchange `refresh_cookie` for a new session; the cookie is replaced."""
        return self._signed_in(await self._call("refresh_session", shapes.Session))

    async def sign_out(self) -> None:
        """Revoke the refresh cookie (an extension of the contract); the access token ends by itself."""
        await self._call("sign_out", NoneType)
        self.token = self.refresh_cookie = None

    async def get_me(self) -> shapes.Me:
        """Return the signed-in user and account."""
        return await self._call("get_me", shapes.Me)

    async def list_api_keys(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.ApiKey]:
        """Return a page of the account's API keys."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_api_keys", shapes.Page[shapes.ApiKey], query=query)

    async def create_api_key(
        self,
        name: str,
        *,
        scopes: Sequence[shapes.Scope] | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.CreatedApiKey:
        """Create an API key; `key` is shown this once."""
        body = shapes.NewApiKey(name=name, scopes=None if scopes is None else list(scopes), expires_at=expires_at)
        return await self._call("create_api_key", shapes.CreatedApiKey, body=body, idempotency_key=idempotency_key)

    async def revoke_api_key(self, key_id: str) -> None:
        """Revoke an API key."""
        await self._call("revoke_api_key", NoneType, path={"keyId": key_id})

    # sms-orchestrator and message-store

    async def send_message(
        self,
        to: str,
        body: str,
        *,
        sender: str | None = None,
        reference: str | None = None,
        send_at: datetime | None = None,
        validity_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.Message:
        """Send a message; with an idempotency key the call may be repeated for 24 hours and sends once."""
        message = shapes.NewMessage(
            to=to, body=body, sender=sender, reference=reference, send_at=send_at, validity_s=validity_s
        )
        return await self._call("send_message", shapes.Message, body=message, idempotency_key=idempotency_key)

    async def list_messages(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: shapes.MessageStatus | None = None,
        to: str | None = None,
        sender: str | None = None,
        reference: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> shapes.Page[shapes.Message]:
        """Return a page of messages, newest first."""
        query = shapes.MessageQuery(
            limit=limit, cursor=cursor, status=status, to=to, sender=sender, reference=reference,
            created_after=created_after, created_before=created_before,
        )  # fmt: skip
        return await self._call("list_messages", shapes.Page[shapes.Message], query=query)

    async def iterate_messages(self, *, page_size: int = 100, **filters: Any) -> AsyncIterator[shapes.Message]:
        """Go through all messages that list_messages' filters let pass, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list_messages(limit=page_size, cursor=cursor, **filters)
            for message in page.data:
                yield message
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get_message(self, message_id: str) -> shapes.MessageDetail:
        """Return a message with the statuses it has passed."""
        return await self._call("get_message", shapes.MessageDetail, path={"messageId": message_id})

    # webhook-dispatcher

    async def list_webhooks(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Webhook]:
        """Return a page of the account's endpoints."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_webhooks", shapes.Page[shapes.Webhook], query=query)

    async def create_webhook(
        self,
        url: str,
        events: Sequence[str],
        *,
        description: str | UnsetType | None = UNSET,
        enabled: bool | UnsetType = UNSET,
        headers: dict[str, str] | UnsetType | None = UNSET,
        idempotency_key: str | None = None,
    ) -> shapes.CreatedWebhook:
        """Create an endpoint; `secret` is shown this once."""
        body = shapes.WebhookInput(
            url=url, events=list(events), description=description, enabled=enabled, headers=headers
        )
        return await self._call("create_webhook", shapes.CreatedWebhook, body=body, idempotency_key=idempotency_key)

    async def update_webhook(
        self,
        webhook_id: str,
        url: str,
        events: Sequence[str],
        *,
        description: str | UnsetType | None = UNSET,
        enabled: bool | UnsetType = UNSET,
        headers: dict[str, str] | UnsetType | None = UNSET,
    ) -> shapes.Webhook:
        """Change an endpoint; what is left out of description, enabled and headers stays."""
        body = shapes.WebhookInput(
            url=url, events=list(events), description=description, enabled=enabled, headers=headers
        )
        return await self._call("update_webhook", shapes.Webhook, path={"webhookId": webhook_id}, body=body)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete an endpoint and what is still to be delivered to it."""
        await self._call("delete_webhook", NoneType, path={"webhookId": webhook_id})

    # billing-service

    async def list_invoices(
        self, *, limit: int = 50, cursor: str | None = None, status: shapes.InvoiceStatus | None = None
    ) -> shapes.Page[shapes.Invoice]:
        """Return a page of invoices, newest first."""
        query = shapes.InvoiceQuery(limit=limit, cursor=cursor, status=status)
        return await self._call("list_invoices", shapes.Page[shapes.Invoice], query=query)

    async def get_invoice(self, invoice_id: str) -> shapes.InvoiceDetail:
        """Return an invoice with its lines."""
        return await self._call("get_invoice", shapes.InvoiceDetail, path={"invoiceId": invoice_id})

    async def get_usage(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        granularity: Literal["hour", "day", "month"] = "day",
        group_by: Literal["country", "status"] | None = None,
    ) -> shapes.Usage:
        """Return usage from `since` (inclusive) to `until` (exclusive); by default the current UTC month."""
        query = shapes.UsageQuery(since=since, until=until, granularity=granularity, group_by=group_by)
        return await self._call("get_usage", shapes.Usage, query=query)

    # how a call is made

    def _signed_in(self, session: shapes.Session) -> shapes.Session:
        self.token = session.access_token
        return session

    async def _call(
        self,
        operation: str,
        shape: type[T],
        *,
        path: Mapping[str, str] | None = None,
        query: shapes.Input | None = None,
        body: shapes.Input | None = None,
        idempotency_key: str | None = None,
    ) -> T:
        """Make one call; `shape` NoneType is for operations that answer with nothing."""
        if self._session is None:
            raise RuntimeError("use the client as an async context manager, or give it a session")
        row = BY_OPERATION[operation]
        target = row.path.format_map({name: quote(value, safe="") for name, value in (path or {}).items()})
        headers = dict(self._headers)
        if row.auth is Auth.BEARER and self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if row.auth is Auth.REFRESH_COOKIE and self.refresh_cookie is not None:
            headers["Cookie"] = f"{self.refresh_cookie.name}={self.refresh_cookie.value}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                row.method,
                URL(f"{self.base_url}{target}", encoded=True).with_query(_query(query)),
                data=None if body is None else msgspec.json.encode(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=row.timeout_s),
                allow_redirects=False,
            ) as answer:
                raw = await answer.read()
        except TimeoutError as error:
            raise ApiUnreachableError(operation, f"no answer within {row.timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ApiUnreachableError(operation, str(error) or type(error).__name__) from error
        if answer.status != row.success:
            raise read_error(answer.status, answer.headers, raw)
        if row.auth is not Auth.BEARER:
            self._take_cookie(answer.headers.getall("Set-Cookie", []))
        return _decode(answer, raw, shape)

    def _take_cookie(self, set_cookies: Sequence[str]) -> None:
        for set_cookie in set_cookies:
            name, _, value = set_cookie.partition(";")[0].strip().partition("=")
            if name in REFRESH_COOKIES:
                self.refresh_cookie = RefreshCookie(name, value, set_cookie)


def _query(query: shapes.Input | None) -> dict[str, str]:
    values = {} if query is None else msgspec.to_builtins(query)
    return {name: str(value) for name, value in values.items() if value is not None}


def _decode(answer: aiohttp.ClientResponse, raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw or b"null", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        request_id = answer.headers.get("X-Kong-Request-Id")
        raise ApiError(answer.status, "invalid_answer", str(error), request_id) from error
