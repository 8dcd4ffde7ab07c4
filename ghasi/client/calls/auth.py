"""Calls of auth-service."""

from collections.abc import Sequence
from datetime import datetime
from types import NoneType

from ghasi.client.transport import Transport
from ghasi.contract import shapes


class AuthCalls(Transport):
    """One method for each route of auth-service; see client.api.Ghasi."""

    async def sign_in_with_firebase(self, id_token: str, invitation: str | None = None) -> shapes.Session:
        """Exchange a Firebase ID token for a session; with an invitation's token a new person joins its account."""
        body = shapes.FirebaseSignIn(id_token=id_token, invitation=invitation)
        return self._signed_in(await self._call("sign_in_with_firebase", shapes.Session, body=body))

    async def refresh_session(self) -> shapes.Session:
        """Exchange `refresh_cookie` for a new session; the cookie is replaced."""
        return self._signed_in(await self._call("refresh_session", shapes.Session))

    async def sign_out(self) -> None:
        """Revoke the refresh cookie (an extension of the contract); the access token ends by itself."""
        await self._call("sign_out", NoneType)
        self.token = self.refresh_cookie = None

    async def get_me(self) -> shapes.Me:
        """Return the signed-in user and account."""
        return await self._call("get_me", shapes.Me)

    async def get_json_web_keys(self) -> shapes.JsonWebKeySet:
        """Return the public keys that sign access tokens."""
        return await self._call("get_json_web_keys", shapes.JsonWebKeySet)

    async def list_api_keys(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.ApiKey]:
        """Return a page of the account's API keys."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_api_keys", shapes.Page[shapes.ApiKey], query=query)

    async def create_api_key(
        self,
        name: str,
        *,
        scopes: Sequence[shapes.Scope] | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.CreatedApiKey:
        """Create an API key; `key` is shown this once."""
        body = shapes.NewApiKey(name=name, scopes=None if scopes is None else list(scopes), expires_at=expires_at)
        return await self._call("create_api_key", shapes.CreatedApiKey, body=body, idempotency_key=idempotency_key)

    async def revoke_api_key(self, key_id: str) -> None:
        """Revoke an API key."""
        await self._call("revoke_api_key", NoneType, path={"keyId": key_id})

    async def get_account(self) -> shapes.AccountDetail:
        """Return the account and the caller's role in it."""
        return await self._call("get_account", shapes.AccountDetail)

    async def update_account(self, name: str) -> shapes.AccountDetail:
        """Rename the account."""
        return await self._call("update_account", shapes.AccountDetail, body=shapes.AccountInput(name=name))

    async def get_preferences(self) -> shapes.Preferences:
        """Return the caller's time zone and locale."""
        return await self._call("get_preferences", shapes.Preferences)

    async def update_preferences(self, time_zone: str | None, locale: str | None) -> shapes.Preferences:
        """Set the caller's time zone and locale; None is the browser's own. The next token carries them."""
        body = shapes.PreferencesInput(time_zone=time_zone, locale=locale)
        return await self._call("update_preferences", shapes.Preferences, body=body)

    async def list_users(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Member]:
        """Return a page of the people in the account."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_users", shapes.Page[shapes.Member], query=query)

    async def update_user(self, user_id: str, role: shapes.Role) -> shapes.Member:
        """Change a person's role."""
        body = shapes.MemberInput(role=role)
        return await self._call("update_user", shapes.Member, path={"userId": user_id}, body=body)

    async def remove_user(self, user_id: str) -> None:
        """Take a person out of the account."""
        await self._call("remove_user", NoneType, path={"userId": user_id})

    async def list_invitations(self, *, limit: int = 50, cursor: str | None = None) -> shapes.Page[shapes.Invitation]:
        """Return a page of the invitations that were not taken up yet."""
        query = shapes.PageQuery(limit=limit, cursor=cursor)
        return await self._call("list_invitations", shapes.Page[shapes.Invitation], query=query)

    async def create_invitation(self, email: str, role: shapes.Role = "member") -> shapes.CreatedInvitation:
        """Invite a person; `token` is shown this once."""
        body = shapes.NewInvitation(email=email, role=role)
        return await self._call("create_invitation", shapes.CreatedInvitation, body=body)

    async def revoke_invitation(self, invitation_id: str) -> None:
        """Take an invitation back."""
        await self._call("revoke_invitation", NoneType, path={"invitationId": invitation_id})

    def _signed_in(self, session: shapes.Session) -> shapes.Session:
        self.token = session.access_token
        return session
