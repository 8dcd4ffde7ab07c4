"""Pages, the shell around them, and the built assets."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ghasi.portal.rendering import Assets, AssetsMissingError, Toast, add_events, nothing, render
from tests.client.fake_api import FakeApi
from tests.portal.conftest import Browser, token

PORTAL = Path(__file__).parents[2] / "ghasi/portal"
STATIC = PORTAL / "static"
MANIFEST: dict[str, str] = json.loads((STATIC / "manifest.json").read_text())
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
FOREVER = "public, max-age=31536000, immutable"


async def test_hostile_claims_are_text(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token(email=HOSTILE, name=HOSTILE, account_name=HOSTILE, sub=HOSTILE))
    for path in ("/", "/nowhere"):
        shown = await browser.get(path)
        assert shown.text.count(HOSTILE) >= 2
        assert "<script>" not in shown.raw
        assert "<img src=x" not in shown.raw


async def test_the_shell_marks_where_one_is(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    shown = await browser.get("/")
    current = [attributes["href"] for _, attributes in shown.tags if attributes.get("aria-current") == "page"]
    assert current == ["/"]
    assert "Test mode" not in shown.text
    assert shown.input("main")["tabindex"] == "-1"
    assert ("form", {"method": "post", "action": "/sign-out"}) in shown.tags


@pytest.mark.parametrize(
    ("cookie", "theme", "scheme"),
    [("", None, "light dark"), ("dark", "dark", "dark"), ("light", "light", "light"), ('"><b', None, "light dark")],
)
async def test_the_theme_is_there_before_the_script(
    browser: Browser, api: FakeApi, *, cookie: str, theme: str | None, scheme: str
) -> None:
    browser.set(ghasi_access=token(), ghasi_theme=cookie)
    tags = dict((await browser.get("/")).tags)
    assert tags["html"].get("data-theme") == theme
    schemes = [attributes for tag, attributes in (await browser.get("/")).tags if tag == "meta"]
    assert {"name": "color-scheme", "content": scheme} in schemes


async def test_assets_are_kept_for_ever_under_their_hash(browser: Browser, api: FakeApi) -> None:
    browser.set(ghasi_access=token())
    shown = await browser.get("/")
    paths = {str(attributes.get("href") or attributes.get("src")) for tag, attributes in shown.tags if tag != "a"}
    linked = {path for path in paths if path.startswith("/assets/")}
    assert {Path(path).suffix for path in linked} == {".svg", ".woff2", ".css", ".js"}
    types = {".svg": "image/svg+xml", ".woff2": "font/woff2", ".css": "text/css", ".js": "text/javascript"}
    for path in linked:
        assert re.fullmatch(r"/assets/[\w-]+\.[0-9a-f]{16}\.\w+", path)
        async with browser.http.get(browser.url + path) as asset:
            assert (asset.status, asset.headers["cache-control"]) == (200, FOREVER)
            assert asset.headers["content-type"].partition(";")[0] == types[Path(path).suffix]
            assert await asset.read() == (STATIC / Path(path).name).read_bytes()
    for path in ("/assets/portal.css", "/assets/..%2fapp.py", "/assets/manifest.json", "/assets/icons.json"):
        assert (await browser.get(path)).status == 404


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_assets_are_sent_as_small_as_the_browser_takes_them(
    browser: Browser, *, accepted: str, encoding: str | None
) -> None:
    name = MANIFEST["portal.css"]
    async with browser.http.request(
        "GET", f"{browser.url}/assets/{name}", headers={"Accept-Encoding": accepted}, auto_decompress=False
    ) as asset:
        assert (asset.headers.get("content-encoding"), asset.headers["vary"]) == (encoding, "Accept-Encoding")
        raw = await asset.read()
    suffix = {"br": ".br", "gzip": ".gz", None: ""}[encoding]
    assert raw == (STATIC / f"{name}{suffix}").read_bytes()
    if encoding == "gzip":
        assert gzip.decompress(raw) == (STATIC / name).read_bytes()


def test_scripts_and_styles_stay_small() -> None:
    sizes = {
        name: len((STATIC / f"{hashed}.gz").read_bytes())
        for name, hashed in MANIFEST.items()
        if name.endswith((".js", ".css")) and not name.startswith("reference")
    }
    frame = {name: size for name, size in sizes.items() if not name.startswith("sign_in")}
    assert sum(frame.values()) < 60_000, frame


def test_the_style_sheet_asks_for_nothing_elsewhere() -> None:
    style = (STATIC / MANIFEST["portal.css"]).read_text()
    asked = re.findall(r"url\(\s*[\"']?([^\"')]*)", style)
    assert asked
    assert all(url.startswith(("/assets/inter-", "data:image/svg+xml")) for url in asked)
    assert "@import" not in style
    assert "light-dark(" in style


def test_third_parties_licences_are_kept() -> None:
    text = (STATIC / MANIFEST["LICENSES.txt"]).read_text()
    for name in ("htmx.org", "uplot", "lucide-static", "@fontsource-variable/inter", "basecoat-css", "tailwindcss"):
        assert f"\n{name} " in f"\n{text}"


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((PORTAL / "assets/package-lock.json").read_text())
    for package in lock["packages"].values():
        assert "resolved" not in package
    assert "registry" not in json.dumps(lock)


def test_without_assets_the_portal_says_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match="make assets"):
        Assets(tmp_path)
    # as the process that hosts the portal sees it
    code = (
        "import ghasi.portal.rendering as r, pathlib; r.Assets.__init__.__defaults__ = (pathlib.Path('/nowhere'),)\n"
        "from ghasi.portal.app import portal_app; from ghasi.settings import Settings; portal_app(Settings())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run `make assets`" in done.stderr


def test_events_for_the_page_are_ascii() -> None:
    response = nothing(Toast("Sent — سلام"), refresh="#list")
    assert response.status_code == 204
    raw = response.headers["hx-trigger"]
    assert raw.isascii()
    assert json.loads(raw) == {
        "toast": {"text": "Sent — سلام", "tone": "good", "retry": False},
        "refresh": "#list",
        "closeDialog": {},
    }
    add_events(response)
    assert response.headers["hx-trigger"] == raw


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    with pytest.raises(KeyError):
        Assets().icon("no-such-icon")
    with pytest.raises(KeyError):
        Assets().path("no-such-file")
    assert "<html" in render("failure.html", title="T", text="t", reference=None, retry=False)
