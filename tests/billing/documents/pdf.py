"""PDF as a reader sees it: what stands where, as a picture, and glyphs that no font has."""

import ctypes
import io
import unicodedata
from collections import defaultdict
from typing import NamedTuple

import pypdf
import pypdfium2
from PIL import Image
from pypdf.generic import ByteStringObject, TextStringObject

POINTS_PER_MILLIMETRE = 72 / 25.4


class Line(NamedTuple):
    """What stands on a line from the left to the right, whatever the direction of reading, and where, in points."""

    text: str
    left: float
    right: float
    top: float


def lines_of(pdf: bytes) -> list[Line]:
    """The lines of all pages from top to bottom; columns side by side are one line."""
    lines = []
    for page in pypdfium2.PdfDocument(pdf):
        text, height = page.get_textpage(), page.get_height()
        rows: dict[float, list[tuple[float, float, str]]] = defaultdict(list)
        x, y = ctypes.c_double(), ctypes.c_double()
        for n in range(text.count_chars()):
            character = chr(pypdfium2.raw.FPDFText_GetUnicode(text, n))
            if unicodedata.category(character)[0] not in "CZ":
                pypdfium2.raw.FPDFText_GetCharOrigin(text, n, x, y)
                rows[round(y.value)].append((x.value, text.get_charbox(n)[2], character))
        for baseline in sorted(rows, reverse=True):
            row = sorted(rows[baseline])
            shown = "".join(character for _, _, character in row)
            lines.append(Line(shown, row[0][0], max(right for _, right, _ in row), height - baseline))
    return lines


def on_paper(text: str) -> str:
    """How Arabic letters stand on paper from the left to the right, without spaces."""
    return "".join(text.split())[::-1]


def missing_glyphs(pdf: bytes) -> int:
    """How often the glyph for what a font has not (.notdef) is shown."""
    missing = 0
    for page in pypdf.PdfReader(io.BytesIO(pdf)).pages:
        contents = page.get_contents()
        assert contents is not None
        for operands, operator in contents.operations:
            if operator in (b"Tj", b"TJ"):
                for shown in operands[0] if operator == b"TJ" else operands:
                    if isinstance(shown, (ByteStringObject, TextStringObject)):
                        glyphs = shown.original_bytes
                        missing += sum(glyphs[n : n + 2] == b"\0\0" for n in range(0, len(glyphs), 2))
    return missing


def pictures_of(pdf: bytes) -> list[Image.Image]:
    """The pages in grey, two pixels a millimetre."""
    return [page.render(scale=2 * 25.4 / 72).to_pil().convert("L") for page in pypdfium2.PdfDocument(pdf)]


def is_within_margins(picture: Image.Image) -> bool:
    """Nothing but paper in the outer 18 mm at the sides, 15 mm above and 8 mm below; and something between them."""
    box = Image.eval(picture, lambda grey: 255 - grey).getbbox()
    if box is None:
        return False
    per_millimetre = picture.width / 210
    left, top, right, bottom = (edge / per_millimetre for edge in box)
    return left >= 18 and top >= 15 and right <= 192 and bottom <= 289
