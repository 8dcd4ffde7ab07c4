"""`ghasi contract check` as CI runs it: exit status, JSON, JUnit, and secrets from the environment."""

import asyncio
import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.contract_check.spoils import heading
from tests.contract_check.standing import Standing, set_limits
from tests.routes.world import unused_url


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ghasi", "contract", "check", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("GHASI_")} | environment,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_it_exits_by_what_it_found(standing: Standing, tmp_path: Path) -> None:
    set_limits(standing)
    url, token = standing.options["url"], standing.options["token"]
    junit = tmp_path / "contract.xml"
    only = ("--only", "headers.via", "--only", "callers.token_accepted")
    status, out, err = await run(url, *only, GHASI_CHECK_TOKEN=token)
    assert (status, err) == (0, "")
    assert "2 held, 0 broken, 0 not checked" in out
    with standing.spoiler.changing(heading(lambda *_: True, "via", None)):
        status, out, err = await run(url, *only, "--json", "--junit", str(junit), GHASI_CHECK_TOKEN=token)
    assert (status, err) == (1, "")
    found = {one["id"]: one["outcome"] for one in json.loads(out)["promises"]}
    assert found == {"callers.token_accepted": "held", "headers.via": "broken"}
    [failure] = ET.parse(junit).getroot().findall(".//failure")  # noqa: S314 - our own
    assert failure.text == "A service's answer has Via\nexpected Via\nseen no Via on 200 with JSON of data, next_cursor"


async def test_what_it_is_given_has_to_be_good(standing: Standing, tmp_path: Path) -> None:
    """A secret that CI lacks, or a run that looked at nothing, is not a green one."""
    set_limits(standing)
    url = standing.options["url"]
    only = ("--only", "routes.head")
    runs = await asyncio.gather(
        run(url, *only, GHASI_CHECK_TOKEN=""),
        run(url, *only, "--other-token", "not-a-token"),
        run(url, "--only", "claims.sub", "--identity", unused_url()),
        run(url, *only, "--junit", str(tmp_path / "no" / "folder.xml")),
        run(url, "--only", "ownership.get_message"),
    )
    assert [status for status, _, _ in runs] == [2] * 5
    errors = [err for _, _, err in runs]
    assert errors[:2] == ["ghasi: --token: it is empty\n", "ghasi: --other-token: it is no JWT\n"]
    assert "gave no answer" in errors[2]
    assert errors[3].startswith("ghasi: --junit: ")
    assert "1 held" in runs[3][1]  # the report is not lost with the file
    assert errors[4] == ""
    assert "no --token" in runs[4][1]


async def _no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n")
    await writer.drain()
    writer.close()


async def test_what_speaks_no_http_is_told_in_a_line() -> None:
    server = await asyncio.start_server(_no_http, "127.0.0.1", 0)
    async with server:
        status, out, err = await run(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "cannot be reached" in err


async def test_it_says_in_a_line_why_it_cannot_be_run(standing: Standing) -> None:
    url = standing.options["url"]
    runs = await asyncio.gather(
        run(unused_url()), run(url, "--only", "limit.*"), run(url, "--limit", "sends=many"), run(url, "--loud"), run()
    )
    for status, out, err in runs:
        assert (status, out) == (2, "")
        assert err.startswith("ghasi: ")
        assert len(err.splitlines()) == 1, err
