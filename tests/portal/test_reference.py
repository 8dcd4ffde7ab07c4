"""The API reference: its page, and the document that it shows."""

import json
import re

from openapi_spec_validator import OpenAPIV31SpecValidator

from ghasi.contract.table import INTERNAL, ROWS
from tests.client.fake_api import FakeApi
from tests.portal.conftest import Browser, token


async def test_the_page_names_every_operation_and_asks_the_api_nothing(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    shown = await browser.get("/reference")
    assert shown.status == 200
    links = [attributes["href"] for tag, attributes in shown.tags if tag == "a" and "data-reference-link" in attributes]
    assert sorted(links) == sorted(f"#{row.operation}" for row in ROWS)
    assert not [row for row in INTERNAL if row.operation in shown.raw]
    assert "https://api.example.com" in shown.text
    scripts = [attributes["src"] for tag, attributes in shown.tags if tag == "script"]
    assert any(re.fullmatch(r"/assets/reference\.[0-9a-f]{16}\.js", str(script)) for script in scripts)
    (place,) = [attributes for _, attributes in shown.tags if "data-reference" in attributes]
    assert (await browser.get(str(place["data-reference"]))).status == 200
    assert api.seen == []


async def test_the_document_is_of_this_installation_and_kept_until_it_changes(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    shown = await browser.get("/reference/openapi.json")
    assert (shown.status, shown.headers["content-type"]) == (200, "application/json")
    assert shown.headers["cache-control"] == "private, no-cache"
    document = json.loads(shown.raw)
    OpenAPIV31SpecValidator(document).validate()
    assert document["servers"] == [{"url": "https://api.example.com"}]
    (sample,) = document["paths"]["/v1/messages"]["post"]["x-codeSamples"]
    assert sample["source"].startswith("curl -X POST https://api.example.com/v1/messages \\\n")
    assert "$GHASI_API_KEY" in sample["source"]
    again = await browser.get("/reference/openapi.json", If_None_Match=f'"other", W/{shown.headers["etag"]}')
    assert (again.status, again.raw) == (304, "")
    assert again.headers["etag"] == shown.headers["etag"]
    changed = await browser.get("/reference/openapi.json", If_None_Match='"other"')
    assert (changed.status, changed.raw) == (200, shown.raw)
    assert api.seen == []


async def test_the_document_is_compressed_for_who_takes_it(browser: Browser) -> None:
    browser.set(ghasi_access=token())
    small = await browser.get("/reference/openapi.json", Accept_Encoding="gzip")
    plain = await browser.get("/reference/openapi.json", Accept_Encoding="identity")
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert small.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert json.loads(small.raw) == json.loads(plain.raw)
    assert int(small.headers["content-length"]) * 4 < int(plain.headers["content-length"])


async def test_neither_is_for_strangers(browser: Browser) -> None:
    for path in ("/reference", "/reference/openapi.json"):
        shown = await browser.get(path)
        assert shown.status == 303
        assert shown.headers["location"].startswith("/sign-in?next=%2Freference")
        browser.set(ghasi_access=token(roles=("owner",)))
        assert (await browser.get(path)).status == 403
        browser.http.cookie_jar.clear()
