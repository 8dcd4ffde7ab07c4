"""What messages' events tell services alone: who asked for a message, and by which carrier it went."""

from datetime import datetime
from typing import Any

import msgspec

from ghasi.carriers.simulated_phone import SimulatorAddress, send_from_phone, write_parts
from ghasi.contract.values import new_id
from ghasi.messages.senders.admin import add_sender
from ghasi.messages.sending.scheduling import release_due
from ghasi.storage.pool import Pool
from ghasi.storage.resources import Resources
from tests.messages.conftest import Customer
from tests.messages.test_dispatch_carriers import Site, site
from tests.messages.test_hardening import until
from tests.messages.test_scheduling import in_an_hour, make_due
from tests.messages.test_senders import tell_of

__all__ = ["site"]
KID = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
ONE_CARRIER = """
[[carrier]]
name = "north"
kind = "smpp"
class = "premium"
host = "127.0.0.1"
port = {port}
system_id = "ghasi"
password = "simulator"
"""


async def private_parts(pool: Pool, message_id: str) -> list[tuple[str, Any]]:
    rows = await pool.fetch(
        "SELECT type, private FROM messages.outbox WHERE subject_id = $1::uuid ORDER BY sequence", message_id
    )
    return [(row["type"], msgspec.json.decode(row["private"])) for row in rows]


async def send_as(customer: Customer, credential: str, **fields: str) -> str:
    body = {"to": "+46700000010", "body": "Hello", **fields}
    answer = await customer.call("POST", "/v1/messages", body, x_credential_identifier=credential)
    assert answer.status == 202
    return str(answer.json["id"])


async def test_the_credential_and_the_carrier_are_told_of_what_is_sent(
    customer: Customer, pool: Pool, site: Site
) -> None:
    site.file.write_text(ONE_CARRIER.format(port=site.a.port))
    site.start()
    key = str(new_id())
    by_key, by_user = await send_as(customer, key), await send_as(customer, KID)
    for message_id, asked in ((by_key, {"credential": key, "api_key": True}), (by_user, {"credential": KID})):
        await customer.until(message_id, "delivered")
        went = asked | {"carrier": "north", "carrier_class": "premium"}
        assert await private_parts(pool, message_id) == [
            ("message.accepted", asked), ("message.sent", went), ("message.delivered", went),
        ]  # fmt: skip
    stored = await pool.fetch("SELECT DISTINCT carrier_class FROM messages.messages")
    assert [row["carrier_class"] for row in stored] == ["premium"]


async def test_no_customer_sees_it(customer: Customer, pool: Pool, site: Site) -> None:
    site.file.write_text(ONE_CARRIER.format(port=site.a.port))
    site.start()
    message_id = await send_as(customer, str(new_id()))
    await customer.until(message_id, "delivered")
    told = " ".join(row["data"] for row in await pool.fetch("SELECT data FROM messages.outbox"))
    shown = [await customer.call("GET", target) for target in (f"/v1/messages/{message_id}", "/v1/messages")]
    for text in (told, *(answer.body.decode() for answer in shown)):
        assert "delivered" in text
        assert "premium" not in text
        assert "credential" not in text


async def test_a_scheduled_message_tells_when_it_was_accepted(
    customer: Customer, pool: Pool, resources: Resources
) -> None:
    key = str(new_id())
    message_id = await send_as(customer, key, send_at=in_an_hour())
    await make_due(pool)
    await release_due(pool, resources.bells)
    asked = {"credential": key, "api_key": True}
    (first, scheduled), (second, accepted) = await private_parts(pool, message_id)
    assert (first, scheduled, second) == ("message.scheduled", asked, "message.accepted")
    at = datetime.fromisoformat(accepted.pop("accepted_at"))
    assert accepted == asked
    assert at == await pool.fetchval("SELECT accepted_at FROM messages.messages")


async def test_an_inbound_message_tells_its_carrier(customer: Customer, pool: Pool, site: Site) -> None:
    await tell_of(pool, customer)
    await add_sender(pool, customer.account_id, "+46700001000", actor="operator:test")
    site.file.write_text(ONE_CARRIER.format(port=site.a.port))
    site.start()
    await site.bound(north=True)
    await send_from_phone(
        SimulatorAddress("127.0.0.1", site.a.port), write_parts("+93701234567", "+46700001000", "Hi", 9)
    )

    async def received() -> Any:
        return await pool.fetchval("SELECT id::text FROM messages.messages WHERE direction = 'inbound'")

    await until(received)
    assert await private_parts(pool, await received()) == [
        ("message.received", {"carrier": "north", "carrier_class": "premium"})
    ]
