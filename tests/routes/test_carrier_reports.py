"""Carriers' reports through the gateway: no caller, no limit, and nothing of their query in any log."""

import structlog

from ghasi.contract.values import new_id
from tests.routes.world import CARRIER, CARRIER_SECRET, World


async def test_a_report_is_proved_by_its_secret_alone(roomy: World) -> None:
    target = f"/v1/carriers/{CARRIER}/receipts?key=hunter2"
    receipt = {"id": str(new_id()), "status": "delivered"}
    proved = {"x-secret": CARRIER_SECRET, "authorization": "Bearer no-token-of-ours", "x-account-id": "spoofed"}
    with structlog.testing.capture_logs() as logs:
        assert (await roomy.call("POST", target, headers=proved, json=receipt)).status == 204
        assert (await roomy.call("POST", target, headers=proved, body=b"hunter2")).status == 422
        spoofed = {"x-account-id": str(new_id()), "x-user-id": str(new_id()), "x-consumer-username": "ghasi-key"}
        assert (await roomy.call("POST", target, headers=spoofed, json=receipt)).status == 401
        assert (await roomy.call("GET", target, headers=proved)).status == 404
    assert "carrier_report_unreadable" in [entry["event"] for entry in logs]
    assert "hunter2" not in str(logs)
