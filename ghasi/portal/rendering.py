"""Turns templates into pages and parts of pages, and serves the built assets, named by a hash of what is in them."""

import json
import mimetypes
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ghasi.portal.formats import ANYBODY, FILTERS, reader_of
from ghasi.portal.sessions import ROLE, Portal, Visit, find_claims

HERE = Path(__file__).parent
FOREVER = "public, max-age=31536000, immutable"
THEMES = frozenset({"light", "dark"})
NAVIGATION = (
    ("/", "layout-dashboard", "Dashboard"),
    ("/messages", "message-square", "Messages"),
    ("/senders", "contact", "Senders"),
    ("/api-keys", "key-round", "API keys"),
    ("/webhooks", "webhook", "Webhooks"),
    ("/billing", "receipt", "Billing"),
    ("/settings", "settings", "Settings"),
    ("/reference", "book-open", "API reference"),
)
"""The sidebar: path, icon and words."""
STATUS_TONES = {
    "delivered": "good", "sent": "active", "undelivered": "bad", "failed": "bad", "expired": "bad",
    "canceled": "warn", "unknown": "warn", "active": "good", "enabled": "good", "paid": "good", "succeeded": "good",
    "disabled": "warn", "pending": "active", "open": "active", "revoked": "bad", "overdue": "bad",
    "uncollectible": "bad",
    "scheduled": "active", "received": "good",
}  # fmt: skip
"""The tones of what badges say; what is not named is plain."""


class AssetsMissingError(Exception):
    """The scripts and styles are not built; the text says how to build them."""


@dataclass(slots=True)
class _File:
    """A built file, and its content by what it is encoded with."""

    media_type: str
    contents: dict[str, bytes] = field(default_factory=dict)


class Assets:
    """The built files, read once: `portal.css` is served as `/assets/portal.HASH.css`, to be kept for ever.

    Raises AssetsMissingError where there are none.
    """

    def __init__(self, folder: Path = HERE / "static") -> None:
        try:
            names: dict[str, str] = json.loads((folder / "manifest.json").read_text())
            self._icons: dict[str, str] = json.loads((folder / "icons.json").read_text())
            self._paths = {name: f"/assets/{hashed}" for name, hashed in names.items()}
            self._files = {hashed: _read(folder, hashed) for hashed in names.values()}
        except FileNotFoundError as error:
            text = f"The portal's scripts and styles are not built ({error.filename} is missing): run `make assets`."
            raise AssetsMissingError(text) from None

    def path(self, name: str) -> str:
        """Return the path of a file; raises KeyError when there is none."""
        return self._paths[name]

    def icon(self, name: str, classes: str = "") -> Markup:
        """Return a lucide icon, hidden from screen readers; raises KeyError when there is none of that name."""
        head = Markup(
            '<svg class="icon {}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
            'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
        ).format(classes)
        # our own build's, of a package that the lock file pins
        return head + Markup(self._icons[name]) + Markup("</svg>")  # noqa: S704 - see above

    async def serve(self, request: Request) -> Response:
        """Answer with a file, in the smallest form that the browser takes, or 404."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        headers = {"Cache-Control": FOREVER}
        content = found.contents[""]
        if len(found.contents) > 1:
            headers["Vary"] = "Accept-Encoding"
            accepted = accepted_encodings(request.headers.get("accept-encoding", ""))
            encoding = next((one for one in ("br", "gzip") if one in accepted and one in found.contents), "")
            if encoding:
                headers["Content-Encoding"] = encoding
                content = found.contents[encoding]
        return Response(content, media_type=found.media_type, headers=headers)


def _read(folder: Path, name: str) -> _File:
    file = _File(mimetypes.guess_type(name)[0] or "application/octet-stream")
    file.contents[""] = (folder / name).read_bytes()
    for encoding, suffix in (("gzip", ".gz"), ("br", ".br")):
        encoded = folder / f"{name}{suffix}"
        if encoded.exists():
            file.contents[encoding] = encoded.read_bytes()
    return file


def accepted_encodings(header: str) -> set[str]:
    """Read Accept-Encoding (RFC 9110, section 12.5.3)."""
    items = [item.replace(" ", "").lower().partition(";q=") for item in header.split(",")]
    return {name for name, _, weight in items if not weight or weight.strip("0.")}


@lru_cache(1)
def assets() -> Assets:
    """Return the built files; raises AssetsMissingError."""
    return Assets()


async def serve_asset(request: Request) -> Response:
    """Answer with a built file."""
    return await assets().serve(request)


def _tone(status: str) -> str:
    return STATUS_TONES.get(status, "plain")


def _current(path: str) -> str:
    """Return the navigation's path that a page lies under; an empty text for none."""
    return next((to for to, _, _ in NAVIGATION if path == to or (to != "/" and path.startswith(f"{to}/"))), "")


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_templates.globals |= {
    "asset": lambda name: assets().path(name),
    "icon": lambda name, classes="": assets().icon(name, classes),
    "navigation": NAVIGATION,
    "tone_of": _tone,
}
_templates.filters |= FILTERS


@dataclass(frozen=True, slots=True)
class Toast:
    """A short notice in the corner; `retry` offers to repeat the request it answers."""

    text: str
    tone: Literal["good", "bad", "plain"] = "good"
    retry: bool = False


def render(template: str, *, visit: Visit | None = None, request: Request | None = None, **context: Any) -> str:
    """Render a template; everything in it is escaped.

    Templates know besides `context`: claims (None when signed out), reader, theme, path, current, test_mode, api_url.
    """
    request = visit.request if visit is not None else request
    known: dict[str, Any] = {
        "claims": None, "reader": ANYBODY, "theme": "", "path": "", "current": "", "test_mode": False, "api_url": "",
    }  # fmt: skip
    if request is not None:
        portal: Portal = request.app.state.portal
        claims = visit.claims if visit is not None else find_claims(request)
        if claims is not None and (visit is not None or ROLE in claims.roles):
            known["claims"] = claims
            known["reader"] = reader_of(request, claims.locale, claims.zoneinfo)
        else:
            known["reader"] = reader_of(request)
        theme = request.cookies.get("ghasi_theme", "")
        known["theme"] = theme if theme in THEMES else ""
        known["path"] = request.url.path
        known["current"] = _current(request.url.path)
        known["test_mode"] = portal.settings.dev
        known["api_url"] = portal.settings.public_api_url
    return _templates.get_template(template).render(known | context)


def page(
    template: str, status: int = 200, *, visit: Visit | None = None, request: Request | None = None, **context: Any
) -> HTMLResponse:
    """Answer with a whole page; `visit` for who is signed in, else `request`."""
    return HTMLResponse(render(template, visit=visit, request=request, **context), status)


def part(
    template: str,
    status: int = 200,
    *,
    visit: Visit | None = None,
    request: Request | None = None,
    toast: Toast | None = None,
    refresh: str | None = None,
    close_dialog: bool = False,
    **context: Any,
) -> HTMLResponse:
    """Answer an htmx request with a part of a page.

    `toast` is shown, the parts that the selector `refresh` names load again, and `close_dialog` closes what is open.
    """
    response = HTMLResponse(render(template, visit=visit, request=request, **context), status)
    add_events(response, toast=toast, refresh=refresh, close_dialog=close_dialog)
    return response


def nothing(toast: Toast | None = None, refresh: str | None = None, *, close_dialog: bool = True) -> Response:
    """Answer an htmx request that changes no part by itself (204)."""
    response = Response(status_code=204)
    add_events(response, toast=toast, refresh=refresh, close_dialog=close_dialog)
    return response


def add_events(
    response: Response, *, toast: Toast | None = None, refresh: str | None = None, close_dialog: bool = False
) -> None:
    """Tell the page's script what to do besides swapping, by HX-Trigger; the JSON is ASCII, as headers are."""
    events: dict[str, Any] = {}
    if toast is not None:
        events["toast"] = _notice(toast)
    if refresh is not None:
        events["refresh"] = refresh
    if close_dialog:
        events["closeDialog"] = {}
    if events:
        response.headers["HX-Trigger"] = json.dumps(events)


def is_htmx(request: Request) -> bool:
    """Say whether the page's script asks, and not the browser for a page."""
    return request.headers.get("hx-request") == "true"


def go_to(request: Request, path: str, toast: Toast | None = None) -> Response:
    """Lead to another page of the portal; `toast` is shown there."""
    response = Response(headers={"HX-Redirect": path}) if is_htmx(request) else RedirectResponse(path, 303)
    if toast is not None:
        value = quote(json.dumps(_notice(toast)), safe="")
        portal: Portal = request.app.state.portal
        secure = "; Secure" if portal.is_secure else ""
        # no HttpOnly: the page's script shows it
        request.state.set_cookies.append(f"ghasi_flash={value}; Max-Age=60; Path=/; SameSite=Lax{secure}")
    return response


def _notice(toast: Toast) -> dict[str, Any]:
    return {"text": toast.text, "tone": toast.tone, "retry": toast.retry}
