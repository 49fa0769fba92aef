"""What keeps identifiers out of results, messages and logs."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable


def short_hash(value: str, key: str = "") -> str:
    """16 hex digits that stand for an identifier.

    Without a key anyone who has a list of UIDs can find the one that was hashed; with a key (HMAC)
    only its holder can.

    >>> short_hash("1.2.840")
    'a664433065199647'
    >>> short_hash("1.2.840", key="secret") == short_hash("1.2.840")
    False
    """
    if key:
        return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()[:16]
    return hashlib.sha256(value.encode()).hexdigest()[:16]


_UNSAFE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|‘[^’]*’|“[^”]*”"), "…"),  # quoted: a header's value
    (re.compile(r"['\"`].*"), "…"),  # a quote that does not end
    (re.compile(r"\S*\^\S*"), "…"),  # a DICOM person name
    (re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/]+)+[\\/]?"), "…"),  # a path
    (re.compile(r"\d+(?:\.\d+){3,}"), "…"),  # a UID
    (re.compile(r"\d{5,}"), "#"),  # a date, a number of a patient
    (re.compile(r"\s+"), " "),
)


def safe_text(text: str, names: Iterable[str] = ()) -> str:
    """A message as one line without what it may quote from the header or the file's name.

    Args:
        text: the message.
        names: the file's own names, which may hold spaces and so not look like a path.

    >>> safe_text("/data/Jane Doe/1.dcm holds 'DOE^JANE' of 19700101", ["/data/Jane Doe/1.dcm"])
    'the file holds … of #'
    """
    text = "".join(c if c.isprintable() else " " for c in text[:2000])
    for name in names:
        text = text.replace(name, "the file")
    for pattern, substitute in _UNSAFE:
        text = pattern.sub(substitute, text)
    text = text.strip()
    return text if len(text) <= 200 else text[:199] + "…"


def safe_reason(error: BaseException, names: Iterable[str] = ()) -> str:
    """An error's class and its message as ``safe_text``.

    >>> safe_reason(ValueError("could not convert string to float: 'DOE^JANE'"))
    'ValueError: could not convert string to float: …'
    >>> safe_reason(FileNotFoundError(2, "No such file or directory", "/home/doe/x.dcm"))
    'FileNotFoundError: No such file or directory'
    """
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {safe_text(message, names)}".removesuffix(": ")
