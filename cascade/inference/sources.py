"""Where an archive's images lie: a folder tree, a .zip, or one file.

``find_entries`` lists them, ``EntryReader`` reads one. Nothing is ever unpacked to disk, no link is
followed out of the source, and whatever cannot be read safely is an entry that carries its reason,
so that nothing is lost in silence.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cascade.errors import InputError
from cascade.io.files import PARTIAL_PREFIX
from cascade.io.image import RADIOGRAPH_SUFFIXES

SUFFIXES = (*RADIOGRAPH_SUFFIXES, ".ima")
"""Names that end so are images whatever they hold; other names are looked into."""

MAX_FILE_BYTES = 1 << 30
"""A larger file or zip member is refused: a radiograph has some tens of MB."""

MAX_RATIO = 200.0
"""A zip member that is compressed further is refused (deflate reaches 1,000 on a bomb)..."""

RATIO_FLOOR_BYTES = 1 << 20
"""...unless it is so small that it can do no harm."""

_HEAD_BYTES = 132
_PREAMBLE_LESS_VRS = frozenset((b"UI", b"CS", b"UL", b"SH", b"DA", b"LO"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image that was found, or a thing that could not be looked into.

    Attributes:
        path: its name in the results: relative to the source, ``/`` between the parts, and
            ``archive.zip!member`` inside a zip.
        file: the file on disk that holds it.
        member: its place in the zip's directory; None where ``file`` is the image itself.
        failure: why it will not be read; None where it may be.
    """

    path: str
    file: Path
    member: int | None = None
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**dataclasses.asdict(self), "file": str(self.file)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        """From plain values."""
        return cls(**{**value, "file": Path(value["file"])})


class UnsafeEntryError(ValueError):
    """An image that is refused before it is read; the message holds no identifier."""


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


def find_entries(
    source: Path,
    suffixes: Collection[str] = SUFFIXES,
    exclude: Path | None = None,
    ignored: list[int] | None = None,
) -> Iterator[Entry]:
    """List the images of a source.

    A name that ends in one of ``suffixes`` is an image; any other file is one if its first bytes
    say so (DICOM files often bear no suffix). ``DICOMDIR`` is an index, not an image.

    Args:
        source: a folder, a ``.zip`` or an image file.
        suffixes: in lower case, with the dot.
        exclude: a folder not to look into (the output, where it lies inside the source).
        ignored: a one-element list that receives the number of files of no image kind.

    Yields:
        Entries in no promised order, no path twice.

    Raises:
        InputError: the source is missing or is neither a file nor a folder.
    """
    count = ignored if ignored is not None else [0]
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder, a .zip or an image file")
    if source.is_dir():
        root = source.resolve()
        excluded = exclude.resolve() if exclude is not None else None
        yield from _find_in_folder(root, root, frozenset(suffixes), excluded, count)
    elif source.is_file():
        yield from _find_in_file(source, source.name, frozenset(suffixes), count)
    else:
        raise InputError(f"{source} is neither a file nor a folder")


def printable(name: str) -> str:
    r"""A file name that UTF-8 can hold; bytes that are not text are written as ``\xff``.

    >>> printable("röntgen\udcff.dcm")
    'röntgen\\xff.dcm'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _find_in_folder(
    folder: Path, root: Path, suffixes: frozenset[str], excluded: Path | None, ignored: list[int]
) -> Iterator[Entry]:
    pending = [folder]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError as error:
            path = printable(folder.relative_to(root).as_posix())
            yield Entry(path, folder, failure=f"{type(error).__name__}: {error.strerror}")
            continue
        for child in children:
            file = Path(child.path)
            path = printable(file.relative_to(root).as_posix())
            if child.is_dir(follow_symlinks=False):
                if file != excluded:
                    pending.append(file)
                continue
            if child.is_symlink():
                target = file.resolve()
                if not target.is_relative_to(root):
                    yield Entry(path, file, failure="a symbolic link that leaves the source")
                    continue
                if target.is_dir():
                    continue  # lies inside the source: it is visited under its own name
            yield from _find_in_file(file, path, suffixes, ignored)


def _find_in_file(
    file: Path, path: str, suffixes: frozenset[str], ignored: list[int]
) -> Iterator[Entry]:
    try:
        if not stat.S_ISREG(file.stat().st_mode) or _is_no_image_name(file.name):
            ignored[0] += 1
            return
        suffix = file.suffix.lower()
        if suffix == ".zip":
            yield from _find_in_zip(file, path, suffixes, ignored)
            return
        if suffix in suffixes:
            yield Entry(path, file)
            return
        with file.open("rb") as stream:
            is_image = looks_like_image(stream.read(_HEAD_BYTES))
    except OSError as error:
        yield Entry(path, file, failure=f"{type(error).__name__}: {error.strerror}")
        return
    if is_image:
        yield Entry(path, file)
    else:
        ignored[0] += 1


def _is_no_image_name(name: str) -> bool:
    """An index, a Mac's resource fork, or work left unfinished."""
    return name.upper() == "DICOMDIR" or name.startswith(("._", PARTIAL_PREFIX))


def _find_in_zip(
    file: Path, path: str, suffixes: frozenset[str], ignored: list[int]
) -> Iterator[Entry]:
    seen: dict[str, int] = {}
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        yield Entry(path, file, failure=f"{type(error).__name__}: not a readable zip")
        return
    with archive:
        for index, info in enumerate(archive.infolist()):
            if info.is_dir():
                continue
            name = printable(info.filename.replace("\\", "/"))
            seen[name] = seen.get(name, 0) + 1
            entry = f"{path}!{name}" + (f"#{seen[name]}" if seen[name] > 1 else "")
            if refusal := refuse_member(info):
                yield Entry(entry, file, index, failure=refusal)
                continue
            base = PurePosixPath(name)
            if _is_no_image_name(base.name):
                ignored[0] += 1
            elif base.suffix.lower() == ".zip":
                yield Entry(entry, file, index, failure="a zip inside a zip is not opened")
            elif base.suffix.lower() in suffixes or _member_is_image(archive, info):
                yield Entry(entry, file, index)
            else:
                ignored[0] += 1


def _member_is_image(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(info) as stream:
            return looks_like_image(stream.read(_HEAD_BYTES))
    except Exception:  # a damaged member: let the reader say what is wrong with it
        return True


def refuse_member(info: zipfile.ZipInfo) -> str | None:
    """Why a zip member is not read; None where it may be.

    Its declared size is what ``zipfile`` reads at most, so a lie there is a damaged member.

    >>> refuse_member(zipfile.ZipInfo("../../escape.dcm"))
    'a path that leaves the zip'
    """
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        return "a path that leaves the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a symbolic link inside a zip"
    if info.flag_bits & 1:
        return "encrypted: unpack it with its password first"
    if info.file_size > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES >> 20} MiB"
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > RATIO_FLOOR_BYTES and ratio > MAX_RATIO:
        return f"compressed more than {MAX_RATIO:.0f} to 1: a zip bomb?"
    return None


class EntryReader:
    """Opens entries; keeps the last zip open, since its members come one after the other."""

    def __init__(self) -> None:
        """Begin with no zip open."""
        self._zip: zipfile.ZipFile | None = None
        self._file: Path | None = None

    def open(self, entry: Entry) -> Path | BinaryIO:
        """What the image reader gets: the path of a file, or a zip member in memory.

        Raises:
            UnsafeEntryError: refused, too large or empty.
            OSError: the file cannot be opened.
            zipfile.BadZipFile: the zip or the member is damaged.
        """
        if entry.failure is not None:
            raise UnsafeEntryError(entry.failure)
        if entry.member is None:
            size = entry.file.stat().st_size
            if size > MAX_FILE_BYTES:
                raise UnsafeEntryError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
            if size == 0:
                raise UnsafeEntryError("the file is empty")
            return entry.file
        if entry.file != self._file or self._zip is None:
            self.close()
            self._zip = zipfile.ZipFile(entry.file)
            self._file = entry.file
        info = self._zip.infolist()[entry.member]
        if refusal := refuse_member(info):
            raise UnsafeEntryError(refusal)
        data = self._zip.read(info)
        if not data:
            raise UnsafeEntryError("the file is empty")
        return io.BytesIO(data)

    def close(self) -> None:
        """Close the zip that is open, if one is."""
        if self._zip is not None:
            self._zip.close()
        self._zip = self._file = None
