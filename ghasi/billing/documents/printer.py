"""The printing of documents as PDF, by typst, in fonts that come as packages.

Owns the thread that prints, and what is loaded for it once something is printed: 10 MB and the fonts. The looks are
document.typ's. The same document is the same bytes.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghasi.billing.documents.content import describe
from ghasi.billing.documents.document import Document

if TYPE_CHECKING:
    import typst

TEMPLATE = Path(__file__).with_name("document.typ")
_FONT_PACKAGES = ("manimgx_fonts", "fontpkg_ibm_plex_sans_arabic")
"""Packages that hold font files and no code: see docs/decisions/0020-documents.md."""


class Printer:
    """Prints documents in a thread of its own, one at a time: it takes 10 ms a page, and none from the event loop."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        """Take the one thread: a compiler is no two threads' at once."""
        self._thread = thread
        self._template = TEMPLATE.read_bytes()
        self._fonts = font_folders()
        self._compiler: typst.Compiler | None = None

    async def print(self, document: Document) -> bytes:
        """Return the PDF; whoever stops waiting before it is begun leaves nothing behind."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._print, document)

    def _print(self, document: Document) -> bytes:
        # what the file says of its own making, so that the clock has no part in it
        made_at = document.issued_at or document.period_end
        if self._compiler is None:
            self._compiler = make_compiler(self._fonts)
        pdf = self._compiler.compile(
            self._template, format="pdf", sys_inputs=inputs_of(document), timestamp=int(made_at.timestamp())
        )
        if not isinstance(pdf, bytes):
            raise TypeError("a document is one file")
        return pdf


@asynccontextmanager
async def open_printer() -> AsyncIterator[Printer]:
    """Give a printer, and end its thread afterwards."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")
    try:
        yield Printer(thread)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def make_compiler(fonts: list[str]) -> "typst.Compiler":
    """Make a compiler that knows our fonts and none of the system's: the same document looks the same everywhere."""
    import typst  # noqa: PLC0415 - see the module

    return typst.Compiler(ignore_system_fonts=True, font_paths=fonts)


def font_folders() -> list[str]:
    """Return where our fonts are; raises ModuleNotFoundError where one of their packages is not installed."""
    return [str(_folder(package)) for package in _FONT_PACKAGES]


def inputs_of(document: Document) -> dict[str, str]:
    """Return what the template is given."""
    return {"content": msgspec.json.encode(describe(document)).decode()}


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the fonts of {package} are not installed")
    return Path(spec.origin).parent
