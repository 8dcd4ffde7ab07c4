"""Promises about who may call: no token, tokens that nobody should believe, API keys, the refresh cookie."""

from collections.abc import Awaitable, Callable
from functools import partial

from ghasi.contract.check import expecting, making, tokens
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import NO_BODY, SHORT_S, Bench
from ghasi.contract.check.claims import get_kid
from ghasi.contract.check.promises import Broken, NotChecked, Promise, source_of
from ghasi.contract.keys import new_key
from ghasi.contract.row import Auth, Row
from ghasi.contract.statuses import UNAUTHORIZED
from ghasi.contract.table import BY_OPERATION, ROWS

POLL_S = 0.1
PROBE = BY_OPERATION["list_webhooks"]
"""Where bad tokens are tried; what is refused costs nothing of its window."""
_REFUSED = {400, 401}


async def _token_required(row: Row, bench: Bench) -> None:
    await bench.there(row)
    answer = await bench.anonymous(row)
    expecting.kong(answer, 401, "Unauthorized")
    expecting.challenge(answer, token=False)


async def _with(bench: Bench, *authorizations: str, query: str = "") -> Answer:
    """Ask with Authorization headers of whatever kind."""
    headers = [("Authorization", value) for value in authorizations]
    return await bench.ask(PROBE, headers=headers, query=query)


async def _no_bearer(authorization: str, bench: Bench) -> None:
    answer = await _with(bench, authorization)
    expecting.kong(answer, 401, "Unauthorized")
    expecting.challenge(answer, token=False)


async def _bad_token(make: Callable[[Bench], Awaitable[str]], message: str, bench: Bench) -> None:
    answer = await _with(bench, f"Bearer {await make(bench)}")
    expecting.kong(answer, 401, message)
    expecting.challenge(answer, token=True)


async def _garbage(_: Bench) -> str:
    return "not-a-token"


async def _forged(bench: Bench, *, kid: str | None = None, algorithm: str = "RS256") -> str:
    return tokens.forged(kid, tokens.usual_claims(bench.options.issuer, bench.clock.time()), algorithm)


async def _forged_with_known_kid(bench: Bench, algorithm: str = "RS256") -> str:
    return await _forged(bench, kid=await get_kid(bench), algorithm=algorithm)


async def _tampered(bench: Bench) -> str:
    person = await bench.person()
    return tokens.with_claims(person.token, account_id="01900000-0000-7000-8000-000000000000")


async def _bit_flipped(bench: Bench) -> str:
    return tokens.with_bad_signature((await bench.person()).token)


async def _token_accepted(bench: Bench) -> None:
    person = await bench.candidate("A", bench.options.token)
    expecting.success(await bench.ask(PROBE, person), PROBE.success)


async def _two_tokens(bench: Bench) -> None:
    person = await bench.person()
    answer = await _with(bench, f"Bearer {await _forged_with_known_kid(bench)}", person.authorization)
    if answer.status not in _REFUSED:
        raise Broken("401, or 400 by Kong's own server", describe(answer))
    if answer.status == 401:  # noqa: PLR2004 - in Kong's words
        expecting.kong(answer, 401, *UNAUTHORIZED)


async def _query_token(bench: Bench) -> None:
    person = await bench.person()
    for name in ("jwt", "access_token"):
        answer = await _with(bench, query=f"?{name}={person.token}")
        expecting.kong(answer, 401, "Unauthorized")


async def _expired(bench: Bench) -> None:
    if bench.options.expired_token is None:
        raise NotChecked("no --expired-token")
    answer = await _with(bench, f"Bearer {bench.options.expired_token}")
    expecting.kong(answer, 401, "token expired", member="exp")
    expecting.challenge(answer, token=True)


async def _other_issuer(bench: Bench) -> None:
    if bench.options.other_issuer_token is None:
        raise NotChecked("no --other-issuer-token: only the deployment's key can sign one")
    answer = await _with(bench, f"Bearer {bench.options.other_issuer_token}")
    expecting.kong(answer, 401, "Unauthorized")
    expecting.challenge(answer, token=True)


async def _unknown_key(key: str, bench: Bench) -> None:
    answer = await _with(bench, f"Bearer {key}")
    expecting.kong(answer, 401, "Unauthorized")
    expecting.challenge(answer, token=True)


async def _key_accepted(bench: Bench) -> None:
    expecting.success(await bench.ask(PROBE, await making.key_holder(bench)), PROBE.success)


async def _user_only(row: Row, bench: Bench) -> None:
    await bench.there(row)
    holder = await making.key_holder(bench)
    answer = await bench.ask(row, holder, json={} if row.body is not None else NO_BODY)
    expecting.problem(answer, "user_required")


async def _key_scope(bench: Bench) -> None:
    holder = await making.narrow_key_holder(bench)
    row = BY_OPERATION["create_webhook"]
    expecting.problem(await bench.ask(row, holder, json={}), "insufficient_scope")


async def _key_revoked(bench: Bench) -> None:
    holder = await making.revoked_key_holder(bench)
    deadline = bench.clock.monotonic() + SHORT_S
    while True:
        answer = await bench.ask(PROBE, holder)
        if answer.status == 401 or bench.clock.monotonic() > deadline:  # noqa: PLR2004 - what is waited for
            break
        await bench.clock.pause(POLL_S)
    expecting.kong(answer, 401, "Unauthorized")
    expecting.challenge(answer, token=True)


async def _cookie_required(bench: Bench) -> None:
    expecting.problem(await bench.anonymous(BY_OPERATION["refresh_session"]), "refresh_token_missing")


async def _bad_id_token(bench: Bench) -> None:
    expecting.problem(await bench.anonymous(BY_OPERATION["sign_in_with_firebase"]), "invalid_id_token")


def _bearer_rows(*, user_only: bool = False) -> tuple[Row, ...]:
    return tuple(row for row in ROWS if row.auth is Auth.BEARER and not (user_only and row.scope is not None))


PROMISES: tuple[Promise, ...] = (
    Promise("callers.token_accepted", "A user's token is accepted", "contract 2", _token_accepted),
    *(
        Promise(
            f"callers.{row.operation}.token_required", f"{row.method} {row.path} without a token is Kong's 401",
            source_of(2, extension=row.extension), partial(_token_required, row), row.extension,
        )
        for row in _bearer_rows()
    ),
    Promise(
        "callers.basic", "Basic credentials are no token: 401", "design 5", partial(_no_bearer, "Basic bm9ib2R5Om5v")
    ),
    *(
        Promise(f"callers.{name}", says, "contract 3", partial(_bad_token, make, message))
        for name, says, make, message in (
            ("garbage", "What is no JWT is refused", _garbage, "Bad token; invalid JSON"),
            ("alg_none", "A token without signature (alg none) is refused",
             partial(_forged_with_known_kid, algorithm="none"), "Bad token; invalid alg"),
            ("alg_hs256", "A token signed by HS256 is refused",
             partial(_forged_with_known_kid, algorithm="HS256"), "Invalid algorithm"),
            ("foreign_key", "A token signed by another key is refused", _forged_with_known_kid,
             "Invalid signature"),
            ("bad_signature", "A token with a damaged signature is refused", _bit_flipped,
             "Invalid signature"),
            ("tampered_claims", "A token whose claims were changed is refused", _tampered,
             "Invalid signature"),
            ("unknown_kid", "A token of a key that is not published is refused",
             partial(_forged, kid="nobody-has-this-kid"), "No credentials found for given 'kid'"),
            ("no_kid", "A token without a kid is refused", _forged, "No mandatory 'kid' in claims"),
            ("empty_kid", "A token with an empty kid is refused", partial(_forged, kid=""),
             "Invalid 'kid' in claims"),
        )
    ),
    Promise("callers.expired", "An expired token is refused: 401 under exp", "contract 3", _expired),
    Promise("callers.other_issuer", "A token of another iss is refused", "contract 3", _other_issuer),
    Promise("callers.two_tokens", "Two different tokens are refused", "design 5", _two_tokens),
    Promise("callers.query_token", "A token in the query (?jwt=) is none", "design 5", _query_token),
    Promise("callers.cookie_required", "Refreshing without the cookie is 401", "contract 2", _cookie_required),
    Promise("callers.bad_id_token", "Signing in with what is no ID token is 401", "contract 2", _bad_id_token),
    Promise(
        "callers.unknown_key", "An unknown API key is refused: 401", "extension", partial(_unknown_key, new_key()), True
    ),
    Promise(
        "callers.malformed_key", "What only looks like an API key is refused: 401", "extension",
        partial(_unknown_key, "ghk_tooshort"), True,
    ),
    Promise("callers.key_accepted", "An API key is accepted", "extension", _key_accepted, True),
    Promise("callers.key_scope", "An API key without the scope is 403", "extension", _key_scope, True),
    Promise("callers.key_revoked", "A revoked API key stops within a second", "extension", _key_revoked, True),
    *(
        Promise(
            f"callers.{row.operation}.user_only", f"{row.method} {row.path} takes no API key: 403", "extension",
            partial(_user_only, row), True,
        )
        for row in _bearer_rows(user_only=True)
    ),
)  # fmt: skip
