"""What receivers are told: the page, its vectors, our client and other people's packages agree on each delivery."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from ghasi.client import webhooks as client
from ghasi.portal.pages import verification
from ghasi.storage.resources import Resources
from ghasi.webhooks.delivering.signing import key_of, sign
from tests.node import NODE, PEERS, need
from tests.webhooks.conftest import Customer, Receiver, publish, until, working

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
FOREVER = 1e12


def block(name: str, language: str) -> str:
    """The code behind a comment of the page."""
    found = re.search(rf"<!-- {name} -->\n```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


VECTORS: list[dict[str, Any]] = json.loads(block("vectors", "json"))
PYTHON, JAVASCRIPT = block("verify: python", "python"), block("verify: javascript", "javascript")


def headers_of(vector: dict[str, Any], **changes: str) -> dict[str, str]:
    headers = {
        "webhook-id": vector["id"],
        "webhook-timestamp": str(vector["timestamp"]),
        "webhook-signature": vector["signature"],
    }
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def refusals(vector: dict[str, Any]) -> list[tuple[str, dict[str, str], bytes]]:
    """A secret, headers and a body of which the page says that they have to be refused."""
    secret, body, signature = vector["secret"], vector["body"].encode(), vector["signature"]
    spoiled = "whsec_" + base64.b64encode(b"another secret altogether").decode()
    return [
        (spoiled, headers_of(vector), body),
        (secret, headers_of(vector), body + b" "),
        (secret, headers_of(vector), body[:-1]),
        (secret, headers_of(vector, webhook_id="other"), body),
        (secret, headers_of(vector, webhook_timestamp=str(vector["timestamp"] + 1)), body),
        (secret, headers_of(vector, webhook_timestamp="soon"), body),
        (secret, headers_of(vector, webhook_timestamp=""), body),
        (secret, headers_of(vector, webhook_signature=signature.replace("v1,", "v1a,")), body),
        (secret, headers_of(vector, webhook_signature=signature.replace("v1,", "v2,")), body),
        (secret, headers_of(vector, webhook_signature=signature.replace("v1,", "")), body),
        (secret, headers_of(vector, webhook_signature="v1,"), body),
        (secret, headers_of(vector, webhook_signature="v1,é"), body),
        (secret, headers_of(vector, webhook_signature=""), body),
        (secret, {name: value for name, value in headers_of(vector).items() if name != "webhook-id"}, body),
        (secret, {name: value for name, value in headers_of(vector).items() if name != "webhook-timestamp"}, body),
        (secret, {name: value for name, value in headers_of(vector).items() if name != "webhook-signature"}, body),
        (secret, {}, body),
    ]


def shown_python() -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(PYTHON, scope)  # noqa: S102 - as a reader would run it
    verify: Callable[..., Any] = scope["verify"]
    return verify


async def node(program: str, asked: Any, *, within: Path | None = None) -> Any:
    """Run a program on standard input's JSON; returns its JSON."""
    process = await asyncio.create_subprocess_exec(
        NODE, "--input-type=module", "-e", program, cwd=within,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


HARNESS = """
import { text } from "node:stream/consumers";
const outcomes = JSON.parse(await text(process.stdin)).map(({ secret, headers, body, tolerance }) => {
  try {
    return { event: verify(secret, headers, Buffer.from(body, "base64"), tolerance) };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(outcomes));
"""


def asking(secret: str, headers: dict[str, str], body: bytes, tolerance: float | None = None) -> dict[str, Any]:
    asked = {"secret": secret, "headers": headers, "body": base64.b64encode(body).decode()}
    return asked if tolerance is None else asked | {"tolerance": tolerance}


async def shown_javascript(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    need("standardwebhooks")  # of which the page's code needs nothing but Node
    outcomes: list[dict[str, Any]] = await node(JAVASCRIPT + HARNESS, asked)
    return outcomes


async def npm(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    need("standardwebhooks")
    outcomes: list[dict[str, Any]] = await node((PEERS / "webhooks.mjs").read_text(), asked, within=PEERS)
    return outcomes


# ---- the page


def test_the_portal_shows_the_pages_code() -> None:
    shown = dict(verification.SNIPPETS)
    assert shown["Python"] == f"{PYTHON}\n\n{block('receive: python', 'python')}"
    assert shown["JavaScript"] == f"{JAVASCRIPT}\n{block('receive: javascript', 'javascript')}"


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_are_what_we_send(vector: dict[str, Any]) -> None:
    made = sign([key_of(vector["secret"])], vector["id"], vector["timestamp"], vector["body"].encode())
    assert made in vector["signature"].split()
    assert client.verify(vector["body"], headers_of(vector), vector["secret"], FOREVER) == json.loads(vector["body"])
    for secret, headers, body in refusals(vector):
        with pytest.raises(client.VerificationError):
            client.verify(body, headers, secret, FOREVER)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_pages_python(vector: dict[str, Any]) -> None:
    verify, body = shown_python(), vector["body"].encode()
    assert verify(vector["secret"], headers_of(vector), body, FOREVER) == json.loads(body)
    titled = {name.title(): value for name, value in headers_of(vector).items()}
    assert verify(vector["secret"], titled, body, FOREVER) == json.loads(body)
    for secret, headers, other in refusals(vector):
        with pytest.raises(ValueError, match="no "):
            verify(secret, headers, other, FOREVER)
    with pytest.raises(ValueError, match="too old"):
        verify(vector["secret"], headers_of(vector, webhook_timestamp=str(int(time.time()) - 301)), body)


async def test_the_pages_javascript() -> None:
    asked = [asking(one["secret"], headers_of(one), one["body"].encode(), FOREVER) for one in VECTORS]
    assert await shown_javascript(asked) == [{"event": json.loads(one["body"])} for one in VECTORS]
    asked = [asking(*one, FOREVER) for vector in VECTORS for one in refusals(vector)]
    asked += [
        asking(one["secret"], headers_of(one, webhook_timestamp=str(int(time.time()) - 301)), b"") for one in VECTORS
    ]
    assert {outcome.get("error") for outcome in await shown_javascript(asked)} == {
        "no webhook, or too old", "no signature matches"
    }  # fmt: skip


async def test_other_peoples_packages_make_the_vectors_signatures() -> None:
    """Neither verifies what is more than five minutes old, so they sign."""
    made = await npm([asking(one["secret"], headers_of(one), one["body"].encode()) for one in VECTORS])
    for vector, outcome in zip(VECTORS, made, strict=True):
        assert outcome["signature"] in vector["signature"].split()
        assert outcome["error"] == "Message timestamp too old"
        at = datetime.fromtimestamp(vector["timestamp"], UTC)
        signature = standardwebhooks.Webhook(vector["secret"]).sign(vector["id"], at, vector["body"])
        assert signature == outcome["signature"]


# ---- what we deliver


async def test_everybody_verifies_what_is_delivered(
    resources: Resources, customer: Customer, receiver: Receiver
) -> None:
    """By the old secret and by the new one, while one takes the other's place; and nobody what was changed."""
    endpoint = await customer.create(receiver.url)
    replaced = await customer.call("POST", f"/v1/webhooks/{endpoint['id']}/rotate")
    secrets = (endpoint["secret"], replaced.json["secret"])
    async with working(resources):
        await publish(resources.pool, customer.account_id)
        await publish(resources.pool, customer.account_id, reference='سلام 🥖 \\ "/" \u2028 \x7f')
        await until(lambda: len(receiver.ids) == 2)
    verify = shown_python()
    asked, spoiled, expected = [], [], []
    for got in receiver.got:
        event = json.loads(got.body)
        assert len(got.headers["webhook-signature"].split()) == 2
        for secret in secrets:
            assert client.verify(got.body, got.headers, secret) == event
            assert standardwebhooks.Webhook(secret).verify(got.body, got.headers) == event
            assert verify(secret, got.headers, got.body) == event
            asked.append(asking(secret, got.headers, got.body))
            spoiled.append(asking(secret, got.headers, got.body.replace(b"delivered", b"failed", 1)))
            expected.append(event)
    assert [outcome["event"] for outcome in await npm(asked)] == expected
    assert [outcome["event"] for outcome in await shown_javascript(asked)] == expected
    for outcomes in (await npm(spoiled), await shown_javascript(spoiled)):
        assert all("error" in outcome for outcome in outcomes)
