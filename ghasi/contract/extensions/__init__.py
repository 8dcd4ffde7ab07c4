"""What goes beyond the contract, by service; a client that knows only the contract never needs it."""

from ghasi.contract.extensions import auth, billing, messages, webhooks

EXTENSIONS = auth.ROWS + messages.ROWS + webhooks.ROWS + billing.ROWS
