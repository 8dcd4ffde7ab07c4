"""The start page."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ghasi.portal.access import signed_in
from ghasi.portal.rendering import page
from ghasi.portal.sessions import Visit


async def show_dashboard(_: Request, visit: Visit) -> Response:
    """Show the shell; it needs no call of the API."""
    return page("dashboard/dashboard.html", visit=visit)


ROUTES = [Route("/", signed_in(show_dashboard))]
