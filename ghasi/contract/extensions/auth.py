"""Routes of auth-service beyond the contract."""

from ghasi.contract import shapes
from ghasi.contract.row import AUTH_LIMIT, READ_LIMIT, TIMEOUT_AUTH_S, WRITE_LIMIT, Auth, Row, Upstream

ROWS: tuple[Row, ...] = (
    Row(
        operation="sign_out", method="POST", path="/v1/auth/logout", upstreams=(Upstream.AUTH,),
        auth=Auth.REFRESH_COOKIE, limit=AUTH_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204, extension=True,
        problems=("foreign_origin",), summary="Revoke the refresh token and all its successors",
    ),
    Row(
        operation="get_json_web_keys", method="GET", path="/.well-known/jwks.json", upstreams=(Upstream.AUTH,),
        auth=Auth.NONE, limit=None, timeout_s=TIMEOUT_AUTH_S, response=shapes.JsonWebKeySet, extension=True,
        summary="The public keys that sign access tokens",
    ),
    Row(
        operation="get_account", method="GET", path="/v1/account", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.AccountDetail, problems=("user_not_found",),
        extension=True, summary="Show the account and the caller's role in it",
    ),
    Row(
        operation="update_account", method="PUT", path="/v1/account", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.AccountInput, response=shapes.AccountDetail,
        problems=("user_not_found", "owner_required"), extension=True, summary="Rename the account; owners only",
    ),
    Row(
        operation="get_preferences", method="GET", path="/v1/preferences", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, response=shapes.Preferences,
        problems=("user_not_found",), extension=True, summary="Show the caller's time zone and locale",
    ),
    Row(
        operation="update_preferences", method="PUT", path="/v1/preferences", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.PreferencesInput,
        response=shapes.Preferences, problems=("user_not_found",), extension=True,
        summary="Set the caller's time zone and locale; the next access token carries them",
    ),
    Row(
        operation="list_users", method="GET", path="/v1/users", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, query=shapes.PageQuery, response=shapes.Page[shapes.Member],
        problems=("user_not_found", "invalid_cursor"), extension=True, summary="List the people in the account",
    ),
    Row(
        operation="update_user", method="PUT", path="/v1/users/{userId}", upstreams=(Upstream.AUTH,), auth=Auth.BEARER,
        limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.MemberInput, response=shapes.Member,
        problems=("user_not_found", "owner_required", "not_found", "last_owner"), extension=True,
        summary="Change a person's role; owners only",
    ),
    Row(
        operation="remove_user", method="DELETE", path="/v1/users/{userId}", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204,
        problems=("user_not_found", "owner_required", "not_found", "last_owner"), extension=True,
        summary="Take a person out of the account, within a second; owners, and everybody themselves",
    ),
    Row(
        operation="list_invitations", method="GET", path="/v1/invitations", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=READ_LIMIT, timeout_s=TIMEOUT_AUTH_S, query=shapes.PageQuery,
        response=shapes.Page[shapes.Invitation], problems=("user_not_found", "invalid_cursor"), extension=True,
        summary="List invitations that were not taken up yet",
    ),
    Row(
        operation="create_invitation", method="POST", path="/v1/invitations", upstreams=(Upstream.AUTH,),
        auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, body=shapes.NewInvitation, success=201,
        response=shapes.CreatedInvitation,
        problems=("user_not_found", "owner_required", "already_member", "too_many_invitations"), extension=True,
        summary="Invite a person by e-mail address; the token is shown once. Owners only",
    ),
    Row(
        operation="revoke_invitation", method="DELETE", path="/v1/invitations/{invitationId}",
        upstreams=(Upstream.AUTH,), auth=Auth.BEARER, limit=WRITE_LIMIT, timeout_s=TIMEOUT_AUTH_S, success=204,
        problems=("user_not_found", "owner_required", "not_found"), extension=True, summary="Take an invitation back",
    ),
)  # fmt: skip
