"""The asynchronous Python client of the API: one method for each route of the contract.

Owns what each call takes and gives. How it is made is transport's; it knows nothing of the services behind.
"""

from ghasi.client.calls.auth import AuthCalls
from ghasi.client.calls.billing import BillingCalls
from ghasi.client.calls.messages import MessageCalls
from ghasi.client.calls.webhooks import WebhookCalls
from ghasi.client.errors import ApiError, ApiUnreachableError, GhasiError
from ghasi.client.transport import REFRESH_COOKIES, RefreshCookie, open_session

__all__ = [
    "REFRESH_COOKIES", "ApiError", "ApiUnreachableError", "Ghasi", "GhasiError", "RefreshCookie", "open_session",
]  # fmt: skip


class Ghasi(AuthCalls, MessageCalls, WebhookCalls, BillingCalls):
    """Calls the API at `base_url` for one caller: `token` is an API key or an access token.

    Used as an async context manager it opens a session of its own unless it is given one (see open_session). Every
    method raises ApiError for an answer that is an error and ApiUnreachableError when there is none in time. Signing
    in and refreshing set `token` and `refresh_cookie`.
    """
