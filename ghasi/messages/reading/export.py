"""message-store's CSV of an account's messages, made and sent in pieces.

Owns the file: RFC 4180 (CRLF, quotes where they are needed) in UTF-8 without a byte order mark, a header row, newest
first, an empty cell where a message has no value. Holds a page of messages at a time and no transaction: what was
accepted after the export began is not in it.
"""

import csv
import io
import re
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from ghasi.contract.serving import Caller
from ghasi.contract.shapes import MessageExportQuery
from ghasi.contract.values import decimal_string, id_rfc3339, optional_rfc3339, spreadsheet_text
from ghasi.messages.reading.list_queries import find_messages
from ghasi.storage.pool import Pool, Record

HEADER = (
    "id", "created_at", "direction", "to", "from", "body", "encoding", "segments", "status", "price", "currency",
    "error_code", "reference", "country", "sent_at", "completed_at",
)  # fmt: skip
PAGE_ROWS = 1000
MOST_LOOKED_AT = 50_000
PIECE_ROWS = 100
"""Written without a pause, some 2 ms: other requests of the process come in between."""
_E164 = re.compile(r"\+[0-9]{1,15}")


async def export_messages(pool: Pool, caller: Caller, query: MessageExportQuery) -> AsyncGenerator[bytes, None]:
    """Yield the file, its header with the first rows; what the database raises for the first page comes before that."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    after: UUID | None = None
    while True:
        found = await find_messages(
            pool, caller.account_id, query, after, most=PAGE_ROWS, most_looked_at=MOST_LOOKED_AT
        )
        for start in range(0, len(found.rows), PIECE_ROWS):
            writer.writerows(map(_cells, found.rows[start : start + PIECE_ROWS]))
            yield _take(text)
        after = found.after
        if after is None:
            break
    if text.tell():
        yield _take(text)


def _take(text: io.StringIO) -> bytes:
    """Return what was written, and begin anew."""
    written = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return written


def _cells(row: Record) -> Sequence[str | int | None]:
    priced = row["price_micros"] is not None and row["currency"] is not None
    return (
        str(row["id"]),
        id_rfc3339(row["id"]),
        row["direction"],
        _number(row["recipient"]),
        _number(row["sender"]),
        spreadsheet_text(row["body"]),
        row["encoding"],
        row["segments"],
        row["status"],
        decimal_string(row["price_micros"]) if priced else None,
        row["currency"] if priced else None,
        row["error_code"],
        spreadsheet_text(row["reference"]),
        row["country"],
        optional_rfc3339(row["sent_at"]),
        optional_rfc3339(row["completed_at"]),
    )


def _number(text: str | None) -> str | None:
    """Return a number or name; E.164 stays as it is, since a plus and digits alone can only be a number."""
    return text if text is None or _E164.fullmatch(text) else spreadsheet_text(text)
