"""What a new account does first: a key, a message, a webhook; ticked off by what the API has.

Owns the list on the dashboard and the snippets that send a message as they are pasted. Who is done with it is in a
cookie, so that nobody asks the API again.
"""

import asyncio
import hashlib
import json
import shlex

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.portal.access import signed_in
from ghasi.portal.rendering import part
from ghasi.portal.sessions import Portal, Visit

COOKIE = "ghasi_steps"
YEAR_S = 31536000
MESSAGE = {"to": "+93701234567", "body": "Hello from Ghasi"}


def are_over(visit: Visit) -> bool:
    """Say whether this account has done the steps, or someone at this browser has put them away."""
    return visit.request.cookies.get(COOKIE) == _mark(visit)


def _mark(visit: Visit) -> str:
    return hashlib.sha256(visit.claims.account_id.encode("utf-8", "replace")).hexdigest()[:16]


def _remember(visit: Visit) -> None:
    portal: Portal = visit.request.app.state.portal
    secure = "; Secure" if portal.is_secure else ""
    cookie = f"{COOKIE}={_mark(visit)}; Max-Age={YEAR_S}; Path=/; HttpOnly; SameSite=Lax{secure}"
    visit.request.state.set_cookies.append(cookie)


def _gone() -> Response:
    """Answer htmx so that the list leaves the page."""
    return Response(headers={"HX-Reswap": "delete"}, media_type="text/html")


async def show_steps(_: Request, visit: Visit) -> Response:
    """Show what is done and what is left; when nothing is left, nothing."""
    keys, messages, webhooks = await asyncio.gather(
        visit.ask(lambda api: api.list_api_keys(limit=1)),
        visit.ask(lambda api: api.list_messages(limit=1)),
        visit.ask(lambda api: api.list_webhooks(limit=1)),
    )
    done = {"key": bool(keys.data), "message": bool(messages.data), "webhook": bool(webhooks.data)}
    if all(done.values()):
        _remember(visit)
        return _gone()
    portal: Portal = visit.request.app.state.portal
    return part("dashboard/steps.html", visit=visit, done=done, snippets=snippets(portal.settings.public_api_url))


async def dismiss(_: Request, visit: Visit) -> Response:
    """Put the list away."""
    _remember(visit)
    return _gone()


def snippets(api_url: str) -> list[tuple[str, str]]:
    """Return (language, code) that sends a message with the key in GHASI_API_KEY.

    Each needs nothing but the language itself, and works in a file as well as pasted at its prompt.
    """
    url = f"{api_url.rstrip('/')}/v1/messages"
    body = json.dumps(MESSAGE)
    curl = f"""curl {shlex.quote(url)} \\
  -H "Authorization: Bearer $GHASI_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d {shlex.quote(body)}"""
    python = f"""import json, os, urllib.request

request = urllib.request.Request(
    {json.dumps(url)},
    data=json.dumps({body}).encode(),
    headers={{
        "Authorization": f"Bearer {{os.environ['GHASI_API_KEY']}}",
        "Content-Type": "application/json",
    }},
)
print(urllib.request.urlopen(request).read().decode())"""
    script = f"""fetch({json.dumps(url)}, {{
  method: "POST",
  headers: {{
    Authorization: `Bearer ${{process.env.GHASI_API_KEY}}`,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({body}),
}}).then((response) => response.json()).then(console.log);"""
    return [("curl", curl), ("Python", python), ("JavaScript", script)]


ROUTES = [
    Route("/dashboard/steps", signed_in(show_steps)),
    Route("/dashboard/steps/dismiss", signed_in(dismiss), methods=["POST"]),
]
