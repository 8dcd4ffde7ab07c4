"""The upstreams of the mock: requests decoded by the contract's shapes, answered by its examples and by the memory.

Owns what each operation answers. Most follow from their rows: a list, one of its things, a creation, a document that a
PUT changes, or else the example. Nothing is ever sent to anybody, and nothing is priced or billed.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from ghasi.contract.emit.examples import EXAMPLES
from ghasi.contract.errors import Problem
from ghasi.contract.keys import key_prefix, new_key
from ghasi.contract.row import Row
from ghasi.contract.serving import Call, Handler, Receive, Reply, Scope, Send, ServiceApp
from ghasi.contract.shapes import SCOPES
from ghasi.contract.table import ROWS
from ghasi.contract.values import new_id, rfc3339
from ghasi.gateway.mock.answers import example_body, shape_name
from ghasi.gateway.mock.memory import Json, Memory, fields_of, is_list, project
from ghasi.gateway.mock.messages import Messages
from ghasi.gateway.mock.people import API_KEY, People
from ghasi.gateway.mock.preferences import read_wish
from ghasi.messages.numbers import parse_recipient, parse_sender
from ghasi.settings import Settings
from ghasi.webhooks.delivering.addresses import parse_url
from ghasi.webhooks.delivering.signing import new_secret

API_KEYS, WEBHOOKS = "/v1/api-keys", "/v1/webhooks"
INVITED = timedelta(days=7)
MOST_ANSWERS = 1000
"""Kept for requests that are tried again with their Idempotency-Key."""
_BLANK: Mapping[str, Json] = {
    "create_api_key": {"scopes": list(SCOPES), "expires_at": None, "last_used_at": None},
    "create_webhook": {
        "description": None, "enabled": True, "disabled_reason": None, "header_names": [], "filter": None,
        "metadata": {}, "rate_per_s": None, "fifo": None, "failing_since": None,
    },
    "create_opt_out": {"from": None, "source": "api"},
}  # fmt: skip
"""What a new thing has where its request says nothing."""
_REPLAYED = [(b"idempotent-replayed", b"true")]
_CREATED = 201


class Services:
    """Every upstream in one app; `people` and `memory` are what it knows."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.memory = Memory()
        self.people = People(settings, self.memory)
        self._messages = Messages(self.memory, clock)
        self._sleep = sleep
        self._answered: dict[tuple[str, str], tuple[bytes, Reply]] = {}
        special = self._special()
        handlers = {row.operation: special.get(row.operation, self._answer) for row in ROWS}
        handlers |= {name: special[name] for name in ("find_api_key", "hold_gateway_lease")}
        self._app = ServiceApp({name: partial(self._once, handler) for name, handler in handlers.items()})
        [ready] = self.memory.lists[API_KEYS].values()
        ready |= {"name": "Ready", "prefix": key_prefix(API_KEY), "scopes": list(SCOPES), "expires_at": None}
        self.people.grant(API_KEY, ready)

    def _special(self) -> dict[str, Handler]:
        """Return the handlers of operations of which their rows don't say enough."""
        people = self.people
        return {
            "sign_in_with_firebase": people.sign_in_with_firebase, "refresh_session": people.refresh_session,
            "sign_out": people.sign_out, "get_me": people.get_me, "get_json_web_keys": people.get_json_web_keys,
            "find_api_key": people.find_api_key, "hold_gateway_lease": people.hold_gateway_lease,
            "send_message": self._send, "send_batch": self._send_batch, "preview_message": self._preview,
            "cancel_message": partial(self._change_message, self._messages.cancel),
            "redact_message": partial(self._change_message, self._messages.redact),
            "set_spending_limit": self._set_spending_limit,
        }  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as late as it wishes."""
        await self._app(scope, receive, send)

    async def _once(self, handler: Handler, call: Call) -> Reply:
        """Call a handler, as late as the request wishes; one that was answered before is not done again."""
        await self._sleep(read_wish(call.headers, call.row).wait_s)
        key = call.idempotency_key if call.row.idempotent_by_key else None
        if key is None:
            return await handler(call)
        known, body = self._answered.get((call.row.operation, key)), msgspec.json.encode(call.body)
        if known is not None:
            if known[0] != body:
                raise Problem("idempotency_key_reused")
            if call.row.success == _CREATED:  # its secret is shown once
                raise Problem("already_created", f"This Idempotency-Key already created {known[1].body['id']}.")
            return Reply(known[1].body, headers=_REPLAYED)
        reply = await handler(call)
        self._answered[call.row.operation, key] = body, reply
        if len(self._answered) > MOST_ANSWERS:
            del self._answered[next(iter(self._answered))]
        return reply

    async def _answer(self, call: Call) -> Reply:
        """Answer as the row says."""
        row = call.row
        thing = self.memory.find(row, call.path)
        if row.method == "DELETE" and thing is not None:
            self._delete(row, thing)
        if row.media is not None:
            return Reply(example_body(row))
        return Reply(None if row.response is None else self._resource(call, thing))

    def _resource(self, call: Call, thing: Json | None) -> Json:
        """Return what an operation shows; `thing` is what its path ends in."""
        row, memory = call.row, self.memory
        if is_list(row):
            return memory.page(row, call.query)
        if row.method == "POST" and row.path in memory.lists:
            return self._create(call)
        if thing is not None and row.operation == "rotate_webhook_secret":
            return project({**thing, "secret": new_secret()}, row.response)
        if row.method == "POST":
            return dict(EXAMPLES[shape_name(row.response)])
        shown = thing if thing is not None and row.path.endswith("}") else memory.document(row)
        if row.operation == "update_user" and call.body.role != "owner":
            self.people.require_other_owner(shown["id"])
        if row.method == "PUT":
            self._update(call, shown)
        return project(shown, row.response)

    # what people expect to be remembered

    def _create(self, call: Call) -> Json:
        row, now = call.row, rfc3339(datetime.now(UTC))
        example = EXAMPLES[shape_name(row.response)]
        blank = _BLANK.get(row.operation, {})
        given = {name: value for name, value in fields_of(call.body, example).items() if value is not None}
        item = {**example, **blank, **given, "id": str(new_id()), "created_at": now}
        shown: Json = {}
        if row.operation == "create_api_key":
            key = new_key()
            item["prefix"], shown["key"] = key_prefix(key), key
            self.people.grant(key, item)
        elif row.operation == "create_webhook":
            parse_url(call.body.url, dev=True)
            item |= {"updated_at": now, "header_names": sorted(call.body.headers or {})}
            shown["secret"] = new_secret()
        elif row.operation == "create_opt_out":
            parse_recipient(call.body.to)
            parse_sender(call.body.sender)
        elif row.operation == "create_invitation":
            item["expires_at"] = rfc3339(datetime.now(UTC) + INVITED)
            shown["token"] = f"ghi_{secrets.token_urlsafe(24)}"
        return project({**self.memory.add(row.path, item), **shown}, row.response)

    @staticmethod
    def _update(call: Call, item: Json) -> None:
        if call.row.operation == "update_webhook":
            parse_url(call.body.url, dev=True)
            item["updated_at"] = rfc3339(datetime.now(UTC))
            if isinstance(call.body.headers, dict | None):
                item["header_names"] = sorted(call.body.headers or {})
        item |= fields_of(call.body, item)
        if item.get("metadata", {}) is None:
            item["metadata"] = {}

    def _delete(self, row: Row, thing: Json) -> None:
        if row.operation == "remove_user":
            self.people.require_other_owner(thing["id"])
        if row.operation == "revoke_api_key":
            self.people.revoke(thing["id"])
        del self.memory.lists[row.path.rpartition("/")[0]][thing["id"]]

    async def _send(self, call: Call) -> Reply:
        return Reply(project(self._messages.send(call), call.row.response))

    async def _send_batch(self, call: Call) -> Reply:
        return Reply(self._messages.send_batch(call))

    async def _preview(self, call: Call) -> Reply:
        return Reply(self._messages.preview(call))

    async def _change_message(self, change: Callable[[Json], None], call: Call) -> Reply:
        message = self.memory.find(call.row, call.path) or {}
        change(message)
        return Reply(project(message, call.row.response))

    async def _set_spending_limit(self, call: Call) -> Reply:
        balance = self.memory.document(call.row)
        balance["own_spending_limit"] = call.body.spending_limit
        return Reply(balance)
