"""Message ids as SMSCs write them: in an answer one way, in a receipt another.

Owns the one form in which the two are compared. An id of a form nobody asked about is never changed.
"""

from collections.abc import Callable

from ghasi.carriers.smpp.configuration import IdForm

LONGEST_ID = 64  # SMPP 3.4, 5.3.2.12: 65 octets with the NUL


def _text(written: str) -> str:
    return written


def _hexadecimal(written: str) -> str:
    return _number(written, 16)


def _decimal(written: str) -> str:
    return _number(written, 10) if written.isdigit() else written


def _number(written: str, base: int) -> str:
    """Write a number as hexadecimal digits in small letters without zeros before; what is no number stays as it is."""
    if written.isascii() and written.isalnum():
        try:
            return f"{int(written, base):x}"
        except ValueError:
            pass
    return written


_READERS: dict[IdForm, Callable[[str], str]] = {"text": _text, "hex": _hexadecimal, "decimal": _decimal}


def reader_of(form: IdForm) -> Callable[[str], str]:
    """Return what turns an id of a form into the one that ids are compared in."""
    return _READERS[form]
