"""What a run does besides judging: it is told less, it costs nothing, it leaves nothing behind, it shows no secret."""

import json
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from rich.console import Console

from ghasi.contract.check import (
    BROKEN,
    HELD,
    NOT_CHECKED,
    CannotCheck,
    Options,
    as_json,
    as_junit,
    check,
    read_limits,
    read_upstreams,
    show,
)
from ghasi.contract.check.options import Played
from ghasi.contract.row import READ_LIMIT, Upstream
from tests.contract_check.spoiling import Answered, Asked, Changes
from tests.contract_check.spoils import NO_ROUTE, saying
from tests.contract_check.standing import Standing, TurningClock, set_limits
from tests.routes.world import unused_url

NOBODY = {"token": None, "other_token": None, "identity": None, "expired_token": None}


async def get(standing: Standing, path: str) -> Any:
    headers = {"Authorization": f"Bearer {standing.options['token']}"}
    async with aiohttp.ClientSession() as http, http.get(standing.options["url"] + path, headers=headers) as response:
        assert response.status == 200
        return await response.json()


@pytest.fixture(autouse=True)
def fresh(standing: Standing) -> None:
    set_limits(standing)


async def test_without_anybody_what_needs_nobody_is_checked(standing: Standing) -> None:
    report = await standing.check(**NOBODY)
    assert report.count(BROKEN) == 0
    states = {outcome.promise.id: (outcome.state, outcome.why) for outcome in report.outcomes}
    assert states["claims.sub"] == (NOT_CHECKED, "no --token")
    assert states["callers.expired"] == (NOT_CHECKED, "no --expired-token")
    assert states["limits.sends"] == (NOT_CHECKED, "no --token")
    assert states["shapes.refresh_session"] == (NOT_CHECKED, "no --refresh-cookie")
    for held in (
        "routes.get_usage.exists",
        "callers.create_webhook.token_required",
        "callers.foreign_key",
        "limits.auth",
    ):
        assert states[held] == (HELD, ""), held
    assert report.count(HELD) > 160


async def test_with_a_token_alone_nearly_all_is_checked(standing: Standing) -> None:
    report = await standing.check(**NOBODY | {"token": standing.options["token"]})
    assert report.count(BROKEN) == 0
    whys = {outcome.why for outcome in report.outcomes if outcome.state == NOT_CHECKED}
    assert whys == {
        "no --other-token",
        "no --expired-token",
        "no --identity",
        "no --refresh-cookie",
        "no --upstream NAME=HOST:PORT",
    }
    assert report.count(HELD) > 250


async def test_people_sign_up_where_no_token_is_given(standing: Standing) -> None:
    report = await standing.check("claims.*", "ownership.*", "shapes.refresh_*", token=None, other_token=None)
    assert [outcome.promise.id for outcome in report.outcomes if outcome.state == BROKEN] == []
    missing = {outcome.why for outcome in report.outcomes if outcome.state == NOT_CHECKED}
    assert missing == {"account A has none in GET /v1/billing/invoices"}


async def test_a_token_that_is_refused_is_the_only_thing_broken(standing: Standing) -> None:
    report = await standing.check(**NOBODY | {"token": standing.options["expired_token"]})
    broken = [outcome.promise.id for outcome in report.outcomes if outcome.state == BROKEN]
    assert broken == ["claims.exp", "callers.token_accepted"]
    [why] = {outcome.why for outcome in report.outcomes if outcome.promise.id == "errors.not_json"}
    assert why == 'the token of account A is refused: 401 {"exp": "token expired"}'


async def test_a_safe_run_sends_no_message_and_counts_sending_all_the_same(standing: Standing) -> None:
    accepted: list[int] = []

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation in {"send_message", "send_batch"}:
            accepted.append(answered.status)

    report = await standing.check(changes=Changes(after=after), safe=True)
    assert report.count(BROKEN) == 0
    assert set(accepted) <= {401, 404, 422, 429}
    assert accepted.count(422) >= 60
    unsafe = [outcome.promise.id for outcome in report.outcomes if outcome.why == "--safe: it costs money"]
    assert unsafe == ["errors.message_replay", "errors.message_reused_key", "shapes.send_message"]


async def test_an_account_that_may_not_send_breaks_no_promise(standing: Standing) -> None:
    changes = saying(
        lambda asked, _: asked.operation == "send_message" and b'"Contract check"' in asked.body,
        {"code": "insufficient_balance"}, 402,
    )  # fmt: skip
    report = await standing.check("shapes.send_message", changes=changes)
    [outcome] = report.outcomes
    assert outcome.why == 'account A may not send to +46700000010: 402 {"code": "insufficient_balance"}'


async def test_what_is_made_is_deleted_whatever_happens(standing: Standing) -> None:
    for changes in (Changes(), saying(lambda asked, answered: asked.operation == "list_webhooks", {"data": 7}, 200)):
        report = await standing.check("errors.*", "shapes.*", "ownership.*", "callers.key_*", changes=changes)
        assert report.left_behind == ()
        assert (await get(standing, "/v1/webhooks"))["data"] == []
        assert (await get(standing, "/v1/api-keys"))["data"] == []


async def test_what_cannot_be_deleted_is_told(standing: Standing) -> None:
    changes = saying(lambda asked, _: asked.operation == "delete_webhook", {"code": "internal_error"}, 500)
    report = await standing.check("errors.replay", changes=changes)
    [left] = report.left_behind
    assert left.startswith("DELETE /v1/webhooks/")
    assert left.endswith(': 500 {"code": "internal_error"}')


async def test_extensions_may_be_missing_or_be_left_out(standing: Standing) -> None:
    """Another maker's deployment is no worse for lacking what the contract does not have."""
    missing = saying(lambda asked, _: asked.row is not None and asked.row.extension, NO_ROUTE, 404)
    report = await standing.check(
        "routes.*", "callers.*", "shapes.*", "limits.exports", changes=missing, extensions=None
    )
    assert [(outcome.promise.id, outcome.seen) for outcome in report.outcomes if outcome.state == BROKEN] == []
    assert sum(outcome.why == "this extension is not there" for outcome in report.outcomes) > 100
    report = await standing.check("routes.*", changes=missing, extensions=False)
    assert report.count(HELD) == len(report.outcomes) == 16 + 6
    report = await standing.check("routes.*", changes=missing, extensions=True)
    assert report.count(BROKEN) == len(report.outcomes) - 22


# limits that others use too


async def test_a_window_that_is_used_up_is_waited_for(standing: Standing) -> None:
    told: list[str] = []
    standing.spoiler.clock = clock = TurningClock()
    for _ in range(READ_LIMIT.default + 1):
        async with aiohttp.request(
            "GET", standing.options["url"] + "/v1/webhooks",
            headers={"Authorization": f"Bearer {standing.options['token']}"},
        ) as response:  # fmt: skip
            status = response.status
    assert status == 429
    options = Options(**standing.options | {"only": ("shapes.list_webhooks", "limits.reads", "limits.window")})
    report = await check(options, clock=clock, tell=told.append)
    assert report.count(HELD) == 3
    assert any("waiting" in text and "reads" in text for text in told), told


async def test_who_calls_meanwhile_disturbs_a_count_and_is_no_fault(standing: Standing) -> None:
    """Somebody takes two of the window while it is counted: it is counted again in the next minute."""
    taken: list[bool] = []

    def before(asked: Asked) -> None:
        if asked.operation == "export_messages" and len(taken) < 3:
            taken.append(True)

    def after(asked: Asked, answered: Answered) -> None:
        if asked.operation == "export_messages" and len(taken) == 3 and answered.status == 422:
            left = int(answered.get("ratelimit-remaining") or 0)
            answered.set("ratelimit-remaining", str(left - 2))
            answered.set("x-ratelimit-remaining-minute", str(left - 2))
            taken.append(True)

    report = await standing.check("limits.exports", changes=Changes(before=before, after=after))
    assert len(taken) == 4
    assert report.count(HELD) == 1


async def test_other_limits_are_told(standing: Standing) -> None:
    set_limits(standing, limit_api_keys=7, limit_sends=12)
    report = await standing.check("limits.api_keys", "limits.sends", limits={"api_keys": 7, "sends": 12})
    assert report.count(HELD) == 2


# what is printed


async def test_reports_have_everything_and_no_secret(standing: Standing) -> None:
    seen: list[str] = [standing.options[name] for name in ("token", "other_token", "expired_token")]

    def after(asked: Asked, answered: Answered) -> None:
        """Whatever is refused repeats what it was sent; keys and secrets are noted."""
        if answered.status in {200, 201} and asked.operation in {"create_api_key", "create_webhook"}:
            seen.extend(str(value) for name, value in answered.json.items() if name in {"key", "secret"})
        if answered.status >= 400:
            answered.say({"message": f"no: {' '.join(asked.all('authorization'))}"})

    report = await standing.check(changes=Changes(after=after))
    assert report.count(BROKEN) > 50
    out = StringIO()
    show(Console(file=out, width=160), report)
    texts = [as_json(report), as_junit(report), out.getvalue()]
    for text in texts:
        assert "[hidden]" in text
        assert not [secret for secret in seen if secret in text or secret[-40:] in text]
        assert 'Contract check"' not in text  # the message's text
    found = json.loads(texts[0])
    assert found["broken"] == report.count(BROKEN)
    assert len(found["promises"]) == len(report.outcomes)
    suites = ET.fromstring(texts[1])  # noqa: S314 - our own
    assert sum(int(suite.get("tests", "")) for suite in suites) == len(report.outcomes)
    assert (
        sum(int(suite.get("failures", "")) for suite in suites) == len(suites.findall(".//failure")) == found["broken"]
    )
    assert len(suites.findall(".//skipped")) == found["not_checked"]


@pytest.mark.parametrize("width", [80, 160])
async def test_the_table_fits_its_terminal(standing: Standing, width: int) -> None:
    report = await standing.check("claims.*", "routes.*", "callers.*", issuer="https://elsewhere.example")
    out = StringIO()
    show(Console(file=out, width=width), report)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith(f"{report.count(HELD)} held, 1 broken, 0 not checked at http://127.0.0.1:")
    words = " ".join(out.getvalue().split())
    assert "expected iss: https://elsewhere.example" in words
    assert "seen iss: https://api.ghasi.io" in words


# what cannot be run


async def test_what_cannot_be_reached_cannot_be_checked() -> None:
    with pytest.raises(CannotCheck, match="cannot be reached"):
        await check(Options(url=unused_url()))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Options(url="api.ghasi.io"),
        lambda: Options(url="https://api.ghasi.io", origin="portal"),
        lambda: read_limits(("sends",)),
        lambda: read_limits(("mails=3",)),
        lambda: read_limits(("sends=0",)),
        lambda: read_upstreams(("webhooks=127.0.0.1:1",)),
        lambda: read_upstreams(("message-store=127.0.0.1",)),
        lambda: read_upstreams(("message-store=127.0.0.1:70000",)),
        lambda: read_upstreams(("message-store=127.0.0.1:1,elsewhere",)),
    ],
)
def test_flags_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(CannotCheck):
        wrong()


def test_flags_are_read() -> None:
    assert read_limits(("sends=1000", "auth=3")) == {"sends": 1000, "auth": 3}
    assert read_upstreams(("message-store=[::1]:9001", "auth-service=0.0.0.0:9002,http://127.0.0.1:8101")) == {
        Upstream.STORE: Played("::1", 9001),
        Upstream.AUTH: Played("0.0.0.0", 9002, "http://127.0.0.1:8101"),  # noqa: S104 - it is only read
    }
