"""Pages for what goes wrong, in plain words: an API that is away, a limit, a page that does not exist."""

from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal.rendering import page

RATE_LIMITED = "Rate limit exceeded — please try again shortly."
"""The words of the contract's section 5."""
UNREACHABLE = "Ghasi cannot be reached right now. Please try again in a moment."
log = structlog.get_logger("ghasi.portal")


def explain(error: ApiError | ApiUnreachableError) -> tuple[int, str]:
    """Return the status to answer with and a sentence for people."""
    if isinstance(error, ApiUnreachableError):
        log.warning("api_unreachable", operation=error.operation, reason=error.reason)
        return HTTPStatus.SERVICE_UNAVAILABLE, UNREACHABLE
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return HTTPStatus.TOO_MANY_REQUESTS, RATE_LIMITED
    if error.status == HTTPStatus.FORBIDDEN:
        return HTTPStatus.FORBIDDEN, error.message
    log.warning("api_failed", status=error.status, code=error.code, request_id=error.request_id)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return HTTPStatus.SERVICE_UNAVAILABLE, UNREACHABLE
    return HTTPStatus.BAD_GATEWAY, "Ghasi gave an answer that was not expected. Please try again in a moment."


async def answer_api_failure(_: Request, error: Exception) -> Response:
    """Say that the API did not give what the page needs, and offer to try again."""
    if not isinstance(error, ApiError | ApiUnreachableError):
        raise error
    status, text = explain(error)
    titles = {HTTPStatus.TOO_MANY_REQUESTS: "Too many requests", HTTPStatus.FORBIDDEN: "Not allowed"}
    reference = error.request_id if isinstance(error, ApiError) else None
    title = titles.get(HTTPStatus(status), "Something is not working")
    response = page("failure.html", status, title=title, text=text, reference=reference, retry=True)
    if isinstance(error, ApiError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = f"{error.retry_after_s:.0f}"
    return response


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer for pages that do not exist and forms that are none."""
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
    texts = {
        HTTPStatus.NOT_FOUND: ("Page not found", "There is nothing at this address."),
        HTTPStatus.METHOD_NOT_ALLOWED: ("Not possible", "This address cannot be used that way."),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("Too large", "That form was larger than it can be."),
        HTTPStatus.REQUEST_TIMEOUT: ("Too slow", "That form did not arrive whole. Please send it again."),
    }
    title, text = texts.get(status, ("Not possible", status.phrase))
    response = page("failure.html", status, title=title, text=text, reference=None, retry=False)
    response.headers.update((isinstance(error, HTTPException) and error.headers) or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """Return what an address takes, from all its routes: Starlette names the first one's alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return {
        method
        for route in routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


async def answer_disconnect(_: Request, error: Exception) -> Response:
    """Answer nobody: the browser went away while it sent."""
    del error
    return Response(status_code=400)


async def answer_fault(request: Request, error: Exception) -> Response:
    """Answer for a fault of the portal's own."""
    log.error("internal_error", path=request.url.path, error=type(error).__name__)
    title, text = "Something broke", "That is our fault, and it has been noted. Please try again."
    return page("failure.html", 500, title=title, text=text, reference=None, retry=True)


def foreign_page() -> Response:
    """Refuse a form that another site sent."""
    text = "This form came from another site. Open the page here and send it again."
    return page("failure.html", 403, title="Not allowed", text=text, reference=None, retry=False)
