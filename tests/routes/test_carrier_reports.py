"""Carriers' reports through the gateway: no caller, no limit, and nothing of their query in any log."""

import structlog

from ghasi.contract.values import new_id
from tests.routes.world import CARRIER, CARRIER_SECRET, QUERY_CARRIER, World


async def test_a_report_is_proved_by_its_secret_alone(roomy: World) -> None:
    target = f"/v1/carriers/{CARRIER}/receipts?key=hunter2"
    receipt = {"id": str(new_id()), "status": "delivered"}
    proved = {"x-secret": CARRIER_SECRET, "authorization": "Bearer no-token-of-ours", "x-account-id": "spoofed"}
    with structlog.testing.capture_logs() as logs:
        assert (await roomy.call("POST", target, headers=proved, json=receipt)).status == 204
        assert (await roomy.call("POST", target, headers=proved, body=b"hunter2")).status == 422
        spoofed = {"x-account-id": str(new_id()), "x-user-id": str(new_id()), "x-consumer-username": "ghasi-key"}
        assert (await roomy.call("POST", target, headers=spoofed, json=receipt)).status == 401
        assert (await roomy.call("GET", target, headers=proved)).status == 422, "its receipts are in bodies"
    assert "carrier_report_unreadable" in [entry["event"] for entry in logs]
    assert "hunter2" not in str(logs)


async def test_a_report_by_get_or_post_has_its_receipt_in_the_query(roomy: World) -> None:
    target = f"/v1/carriers/{QUERY_CARRIER}/receipts?status=delivered&secret={CARRIER_SECRET}"
    with structlog.testing.capture_logs() as logs:
        for method in ("GET", "POST"):
            assert (await roomy.call(method, f"{target}&id={new_id()}")).status == 204
            assert (await roomy.call(method, target)).status == 422
            assert (await roomy.call(method, f"{target}er&id={new_id()}")).status == 401
        assert (await roomy.call("GET", target.replace(QUERY_CARRIER, "nobody"))).status == 404
    assert CARRIER_SECRET not in str(logs)
