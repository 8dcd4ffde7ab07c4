"""Names what changed between two versions of the contract, and whether it breaks those who use the older one.

Reads OpenAPI documents as `ghasi contract openapi` prints them, with their `x-ghasi-` extensions. Owns no rule about
what breaks: that is the table in `kinds`.
"""

from ghasi.contract.comparing.changes import Change, compare
from ghasi.contract.comparing.documents import Document, DocumentUnreadable, read_document
from ghasi.contract.comparing.kinds import LEVELS, MIRRORS, Level

__all__ = ["LEVELS", "MIRRORS", "Change", "Document", "DocumentUnreadable", "Level", "compare", "read_document"]
