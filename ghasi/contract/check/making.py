"""What a run makes to look at: API keys, endpoints, a message. Each is made once, and undone at the end.

Owns what they are like: an endpoint is disabled, so that nothing is ever sent to it; a message costs money and is
therefore not made in a safe run.
"""

from typing import Any

from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import Bench, unique
from ghasi.contract.check.people import Person
from ghasi.contract.check.promises import Broken, NotChecked
from ghasi.contract.row import Row
from ghasi.contract.table import BY_OPERATION

NAME = "Contract check"
WEBHOOK: dict[str, Any] = {
    "url": "https://example.com/ghasi-contract-check", "events": ["message.delivered"], "enabled": False,
    "description": NAME,
}  # fmt: skip
_NARROW = ["messages:read"]
_NOT_ALLOWED = {402, 403}
LISTS = {
    "messageId": "list_messages",
    "webhookId": "list_webhooks",
    "keyId": "list_api_keys",
    "invoiceId": "list_invoices",
}
"""Where ids of a path's parameter are listed."""


async def key(bench: Bench) -> Answer:
    """Make an API key with all scopes."""

    async def make() -> Answer:
        return await bench.make(BY_OPERATION["create_api_key"], {"name": NAME}, "revoke_api_key")

    return await bench.once("key", make)


async def key_holder(bench: Bench) -> Person:
    """Return a caller with an API key of account A: the one given, or one that is made."""
    if bench.options.api_key is not None:
        return Person("A", bench.options.api_key)
    return Person("A", made(await key(bench), "key"))


async def narrow_key_holder(bench: Bench) -> Person:
    """Return a caller with an API key that may read messages and nothing else."""
    return Person("A", made(await _narrow_key(bench), "key"))


async def revoked_key_holder(bench: Bench) -> Person:
    """Return a caller with an API key that was used and is revoked now."""
    answer = await revoked(bench)
    if answer.status >= 300:  # noqa: PLR2004 - no success
        raise NotChecked(f"no API key could be revoked: {describe(answer)}")
    return await narrow_key_holder(bench)


async def revoked(bench: Bench) -> Answer:
    """Return the answer to revoking an API key, that which had one scope."""

    async def revoke() -> Answer:
        answer = await _narrow_key(bench)
        holder = Person("A", made(answer, "key"))
        # one that is in nobody's cache would be refused in any case
        await bench.ask(BY_OPERATION["create_webhook"], holder, json={})
        revoked = await bench.ask(BY_OPERATION["revoke_api_key"], await bench.person(), id=made(answer))
        if revoked.status == BY_OPERATION["revoke_api_key"].success:
            bench.undone(made(answer))
        return revoked

    return await bench.once("revoked key", revoke)


async def _narrow_key(bench: Bench) -> Answer:
    async def make() -> Answer:
        body = {"name": NAME, "scopes": _NARROW}
        return await bench.make(BY_OPERATION["create_api_key"], body, "revoke_api_key")

    return await bench.once("narrow key", make)


async def webhook(bench: Bench) -> Answer:
    """Make an endpoint."""
    return (await _webhook_with_key(bench))[0]


async def webhook_idempotency_key(bench: Bench) -> str:
    """Return the Idempotency-Key that the endpoint was made with."""
    answer, used = await _webhook_with_key(bench)
    made(answer)
    return used


async def _webhook_with_key(bench: Bench) -> tuple[Answer, str]:
    async def make() -> tuple[Answer, str]:
        used = unique()
        row = BY_OPERATION["create_webhook"]
        headers = [("Idempotency-Key", used)]
        return await bench.make(row, WEBHOOK, "delete_webhook", headers=headers), used

    return await bench.once("webhook", make)


async def another_webhook(bench: Bench) -> Answer:
    """Make a second endpoint, so that a list has more than one."""

    async def make() -> Answer:
        return await bench.make(BY_OPERATION["create_webhook"], WEBHOOK, "delete_webhook")

    return await bench.once("another webhook", make)


async def message(bench: Bench) -> Answer:
    """Send a message; raises NotChecked in a safe run."""
    return (await _message_with_key(bench))[0]


def message_body(bench: Bench) -> dict[str, Any]:
    """Return what is sent."""
    return {"to": bench.options.to, "body": "Contract check", "reference": "contract-check"}


async def message_idempotency_key(bench: Bench) -> str:
    """Return the Idempotency-Key that the message was sent with."""
    return (await _message_with_key(bench))[1]


async def _message_with_key(bench: Bench) -> tuple[Answer, str]:
    async def make() -> tuple[Answer, str]:
        if bench.options.safe:
            raise NotChecked("--safe: it costs money")
        used = unique()
        row = BY_OPERATION["send_message"]
        headers = [("Idempotency-Key", used)]
        answer = await bench.ask(row, await bench.person(), json=message_body(bench), headers=headers)
        if answer.status in _NOT_ALLOWED:  # which countries and what balance an account has is no promise
            raise NotChecked(f"account A may not send to {bench.options.to}: {describe(answer)}")
        return answer, used

    return await bench.once("message", make)


async def known_id(bench: Bench, parameter: str) -> str:
    """Return an id of account A for a path's parameter, made or listed; raises NotChecked."""
    makers = {"messageId": message, "webhookId": webhook, "keyId": key}
    if parameter in makers and not (parameter == "messageId" and bench.options.safe):
        return made(await makers[parameter](bench))
    if parameter not in LISTS:
        raise NotChecked(f"no {parameter} is known")
    row = BY_OPERATION[LISTS[parameter]]
    rows = (await first_page(bench, row, await bench.person())).find("data")
    first = rows[0] if isinstance(rows, list) and rows else {}
    if not isinstance(first, dict) or not isinstance(first.get("id"), str):
        raise NotChecked(f"account A has none in {row.method} {row.path}")
    return str(first["id"])


async def first_page(bench: Bench, row: Row, person: Person) -> Answer:
    """Return the first page of someone's list; asked once."""
    return await bench.once(f"first page {row.operation} {person.account}", lambda: bench.ask(row, person))


def made(answer: Answer, member: str = "id") -> str:
    """Return a member of what was made; raises NotChecked where it was not made."""
    value = answer.find(member)
    if answer.status >= 300 or not isinstance(value, str):  # noqa: PLR2004 - no success
        raise NotChecked(f"nothing could be made: {describe(answer)}")
    return value


async def row_ids(bench: Bench, row: Row) -> dict[str, str]:
    """Return ids of account A for all parameters of a row's path; raises NotChecked."""
    try:
        return {name: await known_id(bench, name) for name in row.parameters}
    except Broken as error:
        raise NotChecked(f"nothing could be made: {error}") from error
