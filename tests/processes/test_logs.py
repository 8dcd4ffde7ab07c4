"""What a log line looks like, and what never stands in one."""

import json
import subprocess
import sys
from typing import Any

SECRET = "s3cr3t-value"
PROGRAM = """
import logging, structlog
from ghasi.processes.logs import configure_logs
log = structlog.get_logger("ghasi.test")
configure_logs("worker", {level!r})
{body}
"""


def lines(body: str, level: str = "info", **options: Any) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body, level=level)],
        capture_output=True, text=True, timeout=30, check=True, **options,
    )  # fmt: skip
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_says_when_how_bad_which_part_and_what() -> None:
    (line,) = lines("log.info('message_sent', request_id='r1', count=3)")
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info", "part": "worker", "logger": "ghasi.test", "event": "message_sent", "request_id": "r1",
        "count": 3,
    }  # fmt: skip


def test_fields_named_like_secrets_are_redacted_at_any_depth() -> None:
    (line,) = lines(
        f"log.info('x', authorization='{SECRET}', access_token='{SECRET}', password='{SECRET}', api_key='{SECRET}',"
        f" secret_key='{SECRET}', body='{SECRET}', text=b'{SECRET}', headers=[{{'Set-Cookie': '{SECRET}'}}],"
        f" client_secret={{'a': '{SECRET}'}}, webhook_proxy='http://a:{SECRET}@b:1', key_id='k1', tokens=7, token=None)"
    )
    assert SECRET not in json.dumps(line)
    assert line["access_token"] == "[redacted]"
    assert (line["key_id"], line["tokens"], line["token"]) == ("k1", 7, None)


def test_what_looks_like_a_secret_is_redacted_wherever_it_stands() -> None:
    body = (
        "try:\n    raise ValueError('no: ghk_abcdefghijklmnop, whsec_QUJDREVGRw==')\n"
        "except ValueError:\n    log.exception('failed', url='postgresql://ghasi:hunter22@db/x', "
        "other='postgresql:///x?user=ghasi&password=hunter23', "
        "note='Bearer eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl')"
    )
    (line,) = lines(body)
    text = json.dumps(line)
    for part in ("abcdefghijklmnop", "QUJDREVGRw", "hunter22", "hunter23", "eyJzdWIiOiIx", "c2lnbmF0dXJl"):
        assert part not in text
    assert "ValueError: no: [redacted]" in line["exception"]


def test_no_row_that_the_database_refused_is_shown() -> None:
    body = f"""
import asyncpg
refused = asyncpg.CheckViolationError("new row violates a constraint")
refused.detail = "Failing row contains (1, +93701234567,\\n{SECRET})."
try:
    try:
        raise refused
    except asyncpg.PostgresError as error:
        log.warning("a", detail=str(error))
        raise RuntimeError("the batch failed") from error
except RuntimeError:
    log.exception("b")
try:
    raise asyncpg.DataError("invalid input for query argument $7: ['{SECRET}'] (expected str)")
except asyncpg.DataError as error:
    log.warning("c", exc_info=error)
"""
    shown = lines(body)
    assert SECRET not in json.dumps(shown)
    assert "93701234567" not in json.dumps(shown)
    assert shown[0]["detail"] == "new row violates a constraint\nDETAIL: [redacted]"
    assert "new row violates a constraint" in shown[1]["exception"]
    assert "query argument $7: [redacted]" in shown[2]["exception"]


def test_libraries_lines_are_of_the_same_form_and_their_small_talk_is_left_out() -> None:
    found = lines(
        "logging.getLogger('uvicorn.error').info('Started server process')\n"
        "logging.getLogger('uvicorn.access').error('GET /')\n"
        "logging.getLogger('uvicorn.error').warning('Invalid HTTP request received.')\n"
        "logging.getLogger('asyncio').error('slow callback %s', 'ghk_abcdefghijklmnop')"
    )
    assert [(line["logger"], line["event"]) for line in found] == [("asyncio", "slow callback [redacted]")]


def test_the_level_is_the_least_logged() -> None:
    found = lines("log.debug('a'); log.info('b'); log.warning('c')", level="warning")
    assert [line["event"] for line in found] == ["c"]


def test_whatever_is_logged_comes_out() -> None:
    (line,) = lines(r"log.info('x', lone='\ud800', thing=object, number=float('nan'), nested={1: {2}})")
    assert line["lone"] == "\ud800"


def test_a_closed_stderr_breaks_nothing() -> None:
    body = "import os, sys\nos.close(2)\nlog.info('x')\nsys.exit(0)"
    assert lines(body) == []
