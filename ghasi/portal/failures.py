"""Answers for what goes wrong, in plain words: an API that is away, a limit, a page that does not exist.

A browser that asks for a page gets a page. The page's script (htmx) gets a toast, and besides it, for a part that was
to be shown, an error state in its place; what a form holds is left alone.
"""

from http import HTTPStatus
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route

from ghasi.client.errors import ApiError, ApiUnreachableError
from ghasi.portal.rendering import Toast, add_events, is_htmx, page, part

RATE_LIMITED = "Rate limit exceeded — please try again shortly."
"""The words of the contract's section 5."""
UNREACHABLE = "Ghasi cannot be reached right now. Please try again in a moment."
UNEXPECTED = "Ghasi gave an answer that was not expected. Please try again in a moment."
SIGN_IN_HEADER = "X-Ghasi-Sign-In"
SIGN_IN = "/sign-in"
log = structlog.get_logger("ghasi.portal")


def explain(error: ApiError | ApiUnreachableError) -> tuple[int, str]:
    """Return the status to answer with and a sentence for people."""
    if isinstance(error, ApiUnreachableError):
        log.warning("api_unreachable", operation=error.operation, reason=error.reason)
        return HTTPStatus.SERVICE_UNAVAILABLE, UNREACHABLE
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return HTTPStatus.TOO_MANY_REQUESTS, RATE_LIMITED
    if error.status == HTTPStatus.NOT_FOUND:
        return HTTPStatus.NOT_FOUND, "There is nothing at this address, or it is another account's."
    if HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        error.status != HTTPStatus.UNAUTHORIZED
    ):
        return error.status, error.message
    log.warning("api_failed", status=error.status, code=error.code, request_id=error.request_id)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return HTTPStatus.SERVICE_UNAVAILABLE, UNREACHABLE
    return HTTPStatus.BAD_GATEWAY, UNEXPECTED


async def answer_api_failure(request: Request, error: Exception) -> Response:
    """Say that the API did not give what was needed, and offer to try again."""
    if not isinstance(error, ApiError | ApiUnreachableError):
        raise error
    status, text = explain(error)
    reference = error.request_id if isinstance(error, ApiError) else None
    if is_htmx(request):
        response = _answer_script(request, status, text, retry=status >= HTTPStatus.INTERNAL_SERVER_ERROR)
    else:
        titles: dict[int, str] = {429: "Too many requests", 403: "Not allowed", 404: "Page not found"}
        title = titles.get(status, "Something is not working")
        response = page(
            "failure.html", status, request=request, title=title, text=text, reference=reference,
            retry=status != HTTPStatus.NOT_FOUND,
        )  # fmt: skip
    if isinstance(error, ApiError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = f"{error.retry_after_s:.0f}"
    return response


def _answer_script(request: Request, status: int, text: str, *, retry: bool) -> Response:
    """Answer htmx: a toast, and for a part that was to be shown its error state; a form stays as it is."""
    toast = Toast(text, "bad", retry=retry)
    if request.method == "GET":
        return part("failure_part.html", status, request=request, text=text, toast=toast)
    response = Response(status_code=status, headers={"HX-Reswap": "none"})
    add_events(response, toast=toast)
    return response


async def answer_signed_out(request: Request, error: Exception) -> Response:
    """Lead a visitor without a session to the sign-in page, and from there back."""
    del error
    if is_htmx(request):
        return Response(status_code=401, headers={SIGN_IN_HEADER: SIGN_IN, "HX-Reswap": "none"})
    path = request.url.path
    if request.method not in {"GET", "HEAD"} or path == "/":
        return RedirectResponse(SIGN_IN, 303)
    whole = f"{path}?{request.url.query}" if request.url.query else path
    return RedirectResponse(f"{SIGN_IN}?next={quote(whole, safe='')}", 303)


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
    if is_htmx(request):
        response = _answer_script(request, status, text, retry=status == HTTPStatus.REQUEST_TIMEOUT)
    else:
        response = page("failure.html", status, request=request, title=title, text=text, reference=None, retry=False)
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
    if is_htmx(request):
        return _answer_script(request, 500, text, retry=True)
    return page("failure.html", 500, title=title, text=text, reference=None, retry=True)


def foreign_page() -> Response:
    """Refuse a form that another site sent."""
    text = "This form came from another site. Open the page here and send it again."
    return page("failure.html", 403, title="Not allowed", text=text, reference=None, retry=False)
