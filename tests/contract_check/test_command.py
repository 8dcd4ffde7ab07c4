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


async def test_it_says_in_a_line_why_it_cannot_be_run(standing: Standing) -> None:
    url = standing.options["url"]
    runs = await asyncio.gather(
        run(unused_url()), run(url, "--only", "limit.*"), run(url, "--limit", "sends=many"), run(url, "--loud"), run()
    )
    for status, out, err in runs:
        assert (status, out) == (2, "")
        assert err.startswith("ghasi: ")
        assert len(err.splitlines()) == 1, err
