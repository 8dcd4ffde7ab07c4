"""What a real Kong 3.9.3 does otherwise than the embedded gateway is no fault: its answers, case by case."""

import pytest

from ghasi.contract.check import HELD
from tests.contract_check.spoiling import Answered, Asked, Changes
from tests.contract_check.standing import PORTAL, Standing

OWN = {401, 404, 413, 429}


def as_kong(asked: Asked, answered: Answered) -> None:
    """Write an answer as Kong does: other names of servers, other cases of headers, plain text, floors for ceilings."""
    proxied = answered.get("via") is not None
    if proxied:
        answered.set("via", "1.1 kong/3.9.3")
        answered.set("server", "uvicorn")
    else:
        answered.set("server", "kong/3.9.3")
    if answered.status in {502, 503, 504} and not asked.all("accept"):
        answered.body = f"{answered.json['message']}\nrequest_id: {answered.json['request_id']}".encode()
        answered.set("content-type", "text/plain; charset=utf-8")
    if answered.status == 413:  # the size is looked at before anything is counted
        answered.headers = [header for header in answered.headers if "ratelimit" not in header[0]]
    if len(asked.all("authorization")) > 1:
        answered.status, answered.body = 400, b"<html><h1>400 Bad Request</h1></html>"
        answered.headers = [("content-type", "text/html; charset=utf-8"), ("server", "kong/3.9.3")]
    if asked.all("origin") and answered.get("vary") is not None:  # of a single origin Kong tells whoever asks
        answered.set("access-control-allow-origin", PORTAL)
    reset = answered.get("ratelimit-reset")
    if reset is not None and int(reset) > 1:
        for name in ("ratelimit-reset", *(("retry-after",) if answered.status == 429 else ())):
            answered.set(name, str(int(reset) - 1))
    if answered.get("content-type") == "application/json":
        answered.set("content-type", "application/json; charset=utf-8")
    answered.headers = [(name.title(), value) for name, value in answered.headers]


async def test_kongs_own_ways_are_no_fault(standing: Standing) -> None:
    report = await standing.check(changes=Changes(after=as_kong))
    assert [one for one in report.outcomes if one.state != HELD and not one.why.startswith("no --upstream")] == []


@pytest.mark.usefixtures("quicker")
async def test_kongs_own_words_of_services_at_fault_are_no_fault(standing: Standing) -> None:
    def after(asked: Asked, answered: Answered) -> None:
        asked.headers = [header for header in asked.headers if header[0].lower() != "accept"]
        as_kong(asked, answered)

    report = await standing.check("timeouts.*", "headers.*", changes=Changes(after=after), played=True)
    assert [one for one in report.outcomes if one.state != HELD] == []
