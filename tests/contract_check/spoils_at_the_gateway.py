"""How promises are broken that are about headers, time-outs and limits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ghasi.contract.check.timeouts import GROUPS
from ghasi.contract.row import LIMIT_GROUPS, LimitGroup, Row, Upstream
from ghasi.contract.table import BY_OPERATION
from ghasi.gateway.upstreams import UpstreamError, UpstreamRequest
from tests.contract_check.spoiling import Answered, Asked, Changes, with_header
from tests.contract_check.spoils import heading, is_key, saying, spoil, to
from tests.contract_check.standing import MARGIN_S, QUICKER, Standing

NO_ROUTE_PATH = to("GET", "/v1/nothing")

# headers of answers


def _proxied(_: Asked, answered: Answered) -> bool:
    return answered.get("via") is not None


spoil("headers.request_id", "one for all", heading(lambda *_: True, "x-kong-request-id", "1"))
spoil("headers.via", "none", heading(_proxied, "via", None))
spoil("headers.upstream_latency", "none", heading(_proxied, "x-kong-upstream-latency", None))
spoil("headers.proxy_latency", "no number", heading(_proxied, "x-kong-proxy-latency", "fast"))
spoil("headers.response_latency", "none", heading(NO_ROUTE_PATH, "x-kong-response-latency", None))
spoil("headers.own", "Via where nobody was asked", heading(NO_ROUTE_PATH, "via", "1.1 kong/3.9.3"))
spoil("headers.server", "none", heading(NO_ROUTE_PATH, "server", None))
spoil("headers.limits", "two numbers", heading(_proxied, "x-ratelimit-remaining-minute", "7"))
spoil(
    "headers.cors_preflight", "without Authorization",
    heading(lambda asked, _: asked.method == "OPTIONS", "access-control-allow-headers", "Content-Type"),
)  # fmt: skip
spoil(
    "headers.cors_answer", "without credentials",
    heading(lambda asked, _: asked.method != "OPTIONS", "access-control-allow-credentials", None),
)  # fmt: skip
spoil(
    "headers.cors_foreign", "everybody's",
    heading(lambda asked, _: asked.all("origin") == ["https://elsewhere.example"], "access-control-allow-origin", "*"),
)  # fmt: skip

# what services get

_FORWARDED = (
    "headers.*_id",
    "headers.[bkstu]*",
    "headers.consumer_username",
    "headers.hop_by_hop",
    "headers.account_id",
)


def forwarding(change: Callable[[UpstreamRequest, Asked], Any]) -> Changes:
    """Change what is forwarded of marked requests."""

    def forward(request: UpstreamRequest, asked: Asked) -> UpstreamRequest:
        if b"ghasi_check=" not in request.query:
            return request
        parts: dict[str, Any] = {
            "method": request.method, "path": request.path, "query": request.query, "headers": request.headers,
            "body": request.body,
        }  # fmt: skip
        return UpstreamRequest(**(parts | change(request, asked)))

    return Changes(forward=forward)


def _with(name: str, value: str | None, *, key: bool = False) -> Changes:
    """Forward another header, of users or of API keys."""

    def change(request: UpstreamRequest, asked: Asked) -> dict[str, Any]:
        return {"headers": with_header(request.headers, name, value)} if is_key(asked.token) == key else {}

    return forwarding(change)


def _letting_pass(underscores: bool) -> Changes:
    def change(request: UpstreamRequest, asked: Asked) -> dict[str, Any]:
        sent = [
            (name.encode(), value.encode())
            for name, value in asked.headers
            if "forged" in value and ("_" in name) == underscores and "custom" in name.lower()
        ]
        return {"headers": [*request.headers, *sent]}

    return forwarding(change)


def _with_hops(request: UpstreamRequest, asked: Asked) -> dict[str, Any]:
    hops = [(name.encode(), value.encode()) for name, value in asked.headers if name.lower() == "x-of-this-hop"]
    return {"headers": [*request.headers, *hops]}


for _name, _how, _changes in (
    ("account_id", "another", _with("x-account-id", "01900000-0000-7000-8000-000000000000")),
    ("user_id", "none", _with("x-user-id", None)),
    ("consumer_username", "another", _with("x-consumer-username", "somebody")),
    ("key_caller", "as a user", _with("x-consumer-username", "ghasi-user", key=True)),
    ("spoofed", "passed on", _letting_pass(underscores=False)),
    ("spoofed_underscores", "passed on", _letting_pass(underscores=True)),
    ("upstream_request_id", "another", _with("x-kong-request-id", "1")),
    ("hop_by_hop", "passed on", forwarding(_with_hops)),
    ("target", "without what is empty", forwarding(lambda asked, _: {"query": asked.query.replace(b"&empty", b"")})),
    ("body", "written anew", forwarding(lambda request, _: {"body": request.body.replace(b"\n\t", b"")})),
):  # fmt: skip
    spoil(f"headers.{_name}", _how, _changes, played=True)

# time-outs


def _late(rows: tuple[Row, ...]) -> Changes:
    """The gateway lets its client wait for longer."""

    async def wait(row: Row) -> None:
        await asyncio.sleep((row.timeout_s / 10 + MARGIN_S) / QUICKER)

    def after(asked: Asked, answered: Answered) -> Awaitable[None] | None:
        return wait(asked.row) if asked.row in rows and answered.status == 504 else None

    return Changes(after=after)


def _early(rows: tuple[Row, ...]) -> Changes:
    """The gateway has no time for an upstream that is in time."""
    return saying(
        lambda asked, answered: asked.row in rows and answered.status == 200 and "ghasi_check" in asked.query,
        {"message": "The upstream server is timing out"}, 504,
    )  # fmt: skip


def _other_words(rows: tuple[Row, ...]) -> Changes:
    return saying(lambda asked, answered: asked.row in rows and answered.status == 504, {"message": "Too slow"})


_WAYS: dict[str, tuple[str, Callable[[tuple[Row, ...]], Changes]]] = {
    "auth": ("other words", _other_words), "api_keys": ("cut early", _early), "send": ("too late", _late),
    "messages": ("too late", _late), "billing": ("too late", _late), "webhooks": ("too late", _late),
}  # fmt: skip
for _name, (_how, _way) in _WAYS.items():
    spoil(f"timeouts.{_name}", _how, _way(GROUPS[_name][1]), only=(f"timeouts.{_name}",), played=True)


def _slow(standing: Standing) -> Changes:
    """A list takes longer than its time-out, whoever is slow."""
    row = BY_OPERATION["list_api_keys"]

    def after(asked: Asked, _: Answered) -> Awaitable[None] | None:
        return asyncio.sleep((row.timeout_s + MARGIN_S) / QUICKER) if asked.row is row else None

    del standing
    return Changes(after=after)


spoil("timeouts.answers", "too late", _slow, only=("timeouts.answers",), played=True)


def _marked(status: int, *, marked: bool) -> Callable[[Asked, Answered], bool]:
    return lambda asked, answered: answered.status == status and ("ghasi_check=" in asked.query) == marked


_AT_FAULT = ("timeouts.broken_off", "timeouts.refused", "timeouts.headers", "timeouts.fallback")
spoil(
    "timeouts.broken_off", "500", saying(_marked(502, marked=True), {"message": "An unexpected error occurred"}, 500),
    only=_AT_FAULT, played=True,
)  # fmt: skip
spoil(
    "timeouts.refused", "503", saying(_marked(502, marked=False), {"message": "name resolution failed"}, 503),
    only=_AT_FAULT, played=True,
)  # fmt: skip
spoil("timeouts.headers", "without Via", heading(_marked(502, marked=True), "via", None), only=_AT_FAULT, played=True)


def _without_second(request: UpstreamRequest, asked: Asked) -> dict[str, Any]:
    tried.append(asked.query)
    if tried.count(asked.query) > 1:
        raise UpstreamError("there is no second")
    return {}


tried: list[str] = []
spoil(
    "timeouts.fallback", "none", forwarding(_without_second), only=("timeouts.fallback",), played=True
)  # fmt: skip
assert BY_OPERATION["list_messages"].upstreams == (Upstream.STORE, Upstream.ORCHESTRATOR)

# limits

_LIMITS = tuple(
    f"limits.{name}" for name in ("auth", "api_keys", "exports", "refusal", "refused_again", "other_account")
)


def _one_more(group: LimitGroup) -> Changes:
    """One more passes than is said."""
    let_pass: list[bool] = []

    def after(asked: Asked, answered: Answered) -> None:
        if asked.row is not None and asked.row.limit is group and answered.status == 429 and not let_pass:
            let_pass.append(True)
            answered.say({"code": "invalid_request"}, 422)
            answered.set("retry-after", None)

    return Changes(after=after)


for _group in LIMIT_GROUPS:
    if _group.name in {"sends", "api_keys"}:  # it says so itself
        spoil(
            f"limits.{_group.name}", "a limit of one more", limits={_group.setting: _group.default + 1},
            only=(f"limits.{_group.name}", "limits.exports"),
        )  # fmt: skip
    else:
        spoil(
            f"limits.{_group.name}", "one more passes", lambda _, group=_group: _one_more(group),
            only=(f"limits.{_group.name}", "limits.api_keys"),
        )  # fmt: skip


def _over(_: Asked, answered: Answered) -> bool:
    return answered.status == 429


def _again_later() -> Changes:
    """Every refusal begins a minute anew."""
    resets = iter(range(30, 61))

    def after(_: Asked, answered: Answered) -> None:
        if answered.status == 429:
            reset = str(next(resets, 60))
            answered.set("ratelimit-reset", reset)
            answered.set("retry-after", reset)

    return Changes(after=after)


def _out_of_step(_: Asked, answered: Answered) -> None:
    """Windows end half a minute later."""
    if (reset := answered.get("ratelimit-reset")) is not None:
        later = str((int(reset) + 29) % 60 + 1)
        answered.set("ratelimit-reset", later)
        if answered.get("retry-after") is not None:
            answered.set("retry-after", later)


def _for_all(standing: Standing) -> Changes:
    """One window for all accounts."""
    return saying(
        lambda asked, answered: asked.token == standing.options["other_token"] and asked.operation == "create_api_key",
        {"message": "API rate limit exceeded", "request_id": "1"}, 429,
    )  # fmt: skip


def _counting_bad_tokens(standing: Standing) -> Changes:
    """A refused token takes one of the window of whom it names."""
    taken: list[bool] = []

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation == "list_webhooks" and answered.status == 401:
            taken.append(True)
        if answered.get("ratelimit-remaining") is not None and taken:
            answered.set("ratelimit-remaining", str(int(answered.get("ratelimit-remaining") or 0) - len(taken)))

    del standing
    return Changes(after=after)


def _own_windows_of_keys() -> Changes:
    """What an API key uses is not its account's."""
    used: list[bool] = []

    def after(asked: Asked, answered: Answered) -> None:
        if is_key(asked.token):
            used.append(True)
        elif answered.get("ratelimit-remaining") is not None and asked.operation == "list_webhooks":
            answered.set("ratelimit-remaining", str(int(answered.get("ratelimit-remaining") or 0) + len(used)))

    return Changes(after=after)


spoil("limits.refusal", "without Retry-After", heading(_over, "retry-after", None), only=_LIMITS)
spoil("limits.refused_again", "a minute longer", lambda _: _again_later(), only=_LIMITS)
spoil("limits.window", "not the minute's", Changes(after=_out_of_step), only=("limits.window", "limits.api_keys"))
spoil("limits.other_account", "shared", _for_all, only=_LIMITS)
spoil(
    "limits.bad_tokens",
    "counted",
    _counting_bad_tokens,
    only=("limits.bad_tokens", "limits.key_shares", "limits.api_keys"),
)
spoil(
    "limits.key_shares",
    "apart",
    lambda _: _own_windows_of_keys(),
    only=("limits.bad_tokens", "limits.key_shares", "limits.api_keys"),
)
