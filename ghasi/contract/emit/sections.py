"""The sections of the API reference: which operation stands under which heading, as customers look for it.

Owns the names, the order and the texts of OpenAPI's tags. They follow paths, not services: who sends a message and who
shows it is no customer's concern.
"""

from ghasi.contract.row import Row

SECTIONS = {
    "Messages": "Send messages and see what became of them.",
    "Senders": "Numbers and names to send from, and people who asked for no more messages.",
    "API keys": "Keys by which your programs use this API. These operations take a user's access token.",
    "Webhooks": "Endpoints of yours that are told what becomes of messages, and what was delivered to them.",
    "Billing": "What was used, what it costs, and the invoices.",
    "Account": "The account, its users and their preferences. These operations take a user's access token.",
    "Sign-in": "Access tokens of users, and the keys that sign them.",
    "Carriers": "What carriers over HTTP report back. Customers need none of it.",
}
"""Name to description, in the order in which they are shown."""
_BY_SEGMENT = {
    "messages": "Messages",
    "senders": "Senders",
    "opt-outs": "Senders",
    "carriers": "Carriers",
    "api-keys": "API keys",
    "webhooks": "Webhooks",
    "billing": "Billing",
    "account": "Account",
    "preferences": "Account",
    "users": "Account",
    "invitations": "Account",
    "auth": "Sign-in",
    "jwks.json": "Sign-in",
}


def section_of(row: Row) -> str:
    """Return the section of a row; one that nobody has described has the name of its path's second part."""
    segment = row.path.split("/")[2]
    return _BY_SEGMENT.get(segment, segment.replace("-", " ").capitalize())
