"""One file of a source, what a source is, and what no file of it may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from cascade.io.dicom.keys import Keys
from cascade.io.files import PARTIAL_PREFIX
from cascade.io.image import RADIOGRAPH_SUFFIXES

SUFFIXES = (*RADIOGRAPH_SUFFIXES, ".ima")
"""Names that end so are images whatever they hold; other names are looked into."""

MAX_FILE_BYTES = 1 << 30
"""A larger file or archive member is refused: a radiograph has some tens of MB."""

HEAD_BYTES = 132
_PREAMBLE_LESS_VRS = frozenset((b"UI", b"CS", b"UL", b"SH", b"DA", b"LO"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image that was found, or a thing that could not be looked into.

    Attributes:
        path: its name in the results: relative to the source, ``/`` between the parts,
            ``archive.zip!member`` inside a zip or tar; of a DICOMweb server hashes of its UIDs.
        file: the file on disk that holds it; None where a server does.
        member: its place in a zip's directory, or where its bytes begin in a tar; None where
            ``file`` is the image itself.
        failure: why it will not be read; None where it may be.
        size: how many bytes of a tar it has; None where it lies in no tar.
        url: where a DICOMweb server has it; None where a disk does.
        in_parent: it is read by one process for all: going back in a compressed tar is dear.
        facts: what the listing knows of it, as it stands there; None where its header is to be
            read. Not kept by ``to_json``.
    """

    path: str
    file: Path | None = None
    member: int | None = None
    failure: str | None = None
    size: int | None = None
    url: str | None = None
    in_parent: bool = False
    facts: Keys | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values, those that say something."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "facts"
        }
        if self.file is not None:
            values["file"] = str(self.file)
        return {name: value for name, value in values.items() if value is not None and value != ""}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        """What ``to_json`` gave."""
        file = value.get("file")
        return cls(**{**value, "file": None if file is None else Path(file)})


class Source(Protocol):
    """Where the files of an archive lie.

    Attributes:
        name: for messages and results; it names no patient unless the user's own path does.
        description: printable, equal for equal sources; by it an interrupted work is known again.
    """

    name: str
    description: str

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """The entries, streamed, in no promised order, no path twice.

        Args:
            ignored: a one-element list that receives the number of files of no image kind.

        Raises:
            InputError: the source cannot be listed.
        """


class UnsafeEntryError(ValueError):
    """An image that is refused before it is read; the message holds no identifier."""


def too_large() -> str:
    """Why a file is refused that is larger than ``MAX_FILE_BYTES``."""
    return f"larger than {MAX_FILE_BYTES >> 20} MiB"


def looks_like_image(head: bytes) -> bool:
    r"""Whether a file's first 132 bytes are those of a DICOM, PNG, JPEG or TIFF file.

    >>> looks_like_image(bytes(128) + b"DICM")
    True
    >>> looks_like_image(b"\x89PNG\r\n\x1a\n")
    True
    >>> looks_like_image(b"<html>")
    False
    """
    if head[128:132] == b"DICM" or is_picture(head):
        return True
    # A DICOM data set without its preamble begins with group 0008 (or 0002), explicit or implicit.
    if len(head) < 8 or head[1] or head[0] not in (2, 8) or head[3]:
        return False
    return head[4:6] in _PREAMBLE_LESS_VRS or int.from_bytes(head[4:8], "little") <= 64


def is_picture(head: bytes) -> bool:
    """Whether a file's first bytes are those of a PNG, JPEG or TIFF file."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*"))


def is_no_image_name(name: str) -> bool:
    """An index, a Mac's resource fork, or work left unfinished."""
    return name.upper() == "DICOMDIR" or name.startswith(("._", PARTIAL_PREFIX))


def printable(name: str) -> str:
    r"""A file name that UTF-8 can hold; bytes that are not text are written as ``\xff``.

    >>> printable("röntgen\udcff.dcm")
    'röntgen\\xff.dcm'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
