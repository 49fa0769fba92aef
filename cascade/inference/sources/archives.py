"""Members of .zip and .tar archives, listed and never unpacked."""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cascade.inference.sources import entry as limits
from cascade.inference.sources.entry import (
    HEAD_BYTES,
    Entry,
    is_no_image_name,
    looks_like_image,
    printable,
    too_large,
)
from cascade.inference.sources.seekable_gzip import SeekableGzip

MAX_RATIO = 200.0
"""A member, or a whole .tar.gz, that is compressed further is refused (a bomb reaches 1,000)..."""

RATIO_FLOOR_BYTES = 1 << 20
"""...unless it is so small that it can do no harm."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_OTHER_TARS = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")
_MOST_HEADER = 1 << 20
_NESTED = (".zip", *TAR_SUFFIXES, *_OTHER_TARS)


def is_tar_name(name: str) -> bool:
    """Whether a file is taken for a tar, one of a compression that is not read included.

    >>> is_tar_name("a.TGZ"), is_tar_name("a.tar.bz2"), is_tar_name("a.gz")
    (True, True, False)
    """
    return name.lower().endswith((*TAR_SUFFIXES, *_OTHER_TARS))


def find_in_zip(
    file: Path, path: str, suffixes: frozenset[str], ignored: list[int]
) -> Iterator[Entry]:
    """The entries of a zip."""
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
            entry = f"{path}!{_once(name, seen)}"
            if refusal := refuse_member(info):
                yield Entry(entry, file, index, failure=refusal)
            elif is_no_image_name(PurePosixPath(name).name):
                ignored[0] += 1
            elif name.lower().endswith(_NESTED):
                kind = "a zip" if name.lower().endswith(".zip") else "an archive"
                yield Entry(entry, file, index, failure=f"{kind} inside a zip is not opened")
            elif _suffix(name) in suffixes or _member_is_image(archive, info):
                yield Entry(entry, file, index)
            else:
                ignored[0] += 1


def _once(name: str, seen: dict[str, int]) -> str:
    seen[name] = seen.get(name, 0) + 1
    return name + (f"#{seen[name]}" if seen[name] > 1 else "")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _member_is_image(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(info) as stream:
            return looks_like_image(stream.read(HEAD_BYTES))
    except Exception:  # a damaged member: let the reader say what is wrong with it
        return True


def refuse_member(info: zipfile.ZipInfo) -> str | None:
    """Why a zip member is not read; None where it may be.

    Its declared size is what ``zipfile`` reads at most, so a lie there is a damaged member.

    >>> refuse_member(zipfile.ZipInfo("../../escape.dcm"))
    'a path that leaves the zip'
    """
    if _leaves(info.filename):
        return "a path that leaves the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a symbolic link inside a zip"
    if info.flag_bits & 1:
        return "encrypted: unpack it with its password first"
    if info.file_size > limits.MAX_FILE_BYTES:
        return too_large()
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > RATIO_FLOOR_BYTES and ratio > MAX_RATIO:
        return f"compressed more than {MAX_RATIO:.0f} to 1: a zip bomb?"
    return None


def _leaves(name: str) -> bool:
    name = name.replace("\\", "/")
    return bool(name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"))


# --- tar ----------------------------------------------------------------------------------------


def open_tar(file: Path) -> BinaryIO:
    """The bytes of a tar, gzipped or not, in which one can go back and forth.

    Raises:
        OSError: the file cannot be opened.
    """
    raw = file.open("rb")
    if raw.read(2) == b"\x1f\x8b":
        most = max(MAX_RATIO * file.stat().st_size, RATIO_FLOOR_BYTES)
        return SeekableGzip(raw, int(most))  # type: ignore[return-value]
    raw.seek(0)
    return raw


def find_in_tar(
    file: Path, path: str, suffixes: frozenset[str], ignored: list[int]
) -> Iterator[Entry]:
    """The entries of a tar; a gzipped one is read through once for it.

    Where it is damaged, what stands before is listed, and the archive is an entry with the reason.
    """
    if file.name.lower().endswith(_OTHER_TARS):
        yield Entry(path, file, failure="an archive of this compression is not read: unpack it")
        return
    seen: dict[str, int] = {}
    with open_tar(file) as stream:
        packed = isinstance(stream, SeekableGzip)
        measured: Any = _Measured(stream)
        try:
            with tarfile.open(fileobj=measured, mode="r:") as tar:
                for info in _members(tar):
                    name = printable(info.name.replace("\\", "/"))
                    entry = Entry(
                        f"{path}!{_once(name, seen)}",
                        file,
                        info.offset_data,
                        _refuse_tar_member(info, name),
                        info.size,
                        in_parent=packed,
                    )
                    if entry.failure is None and is_no_image_name(PurePosixPath(name).name):
                        ignored[0] += 1
                    elif (
                        entry.failure is not None
                        or _suffix(name) in suffixes
                        or _tar_member_is_image(stream, info)
                    ):
                        yield entry
                    else:
                        ignored[0] += 1
                # tarfile takes damage between members for the end
                _check_end(stream, tar.offset)
        except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:
            reason = str(error) if isinstance(error, TarDamageError) else "damaged or cut short"
            yield Entry(path, file, failure=f"{reason}: what stands behind is not listed")


class TarDamageError(ValueError):
    """What is wrong with a tar, in words that may be shown."""


class _Measured:
    """What tarfile reads of a tar: headers, none of which is large, whatever they declare."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise TarDamageError("a header beyond measure")
        return self._stream.read(size)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members without its folders, none of them kept."""
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        if not info.isdir():
            yield info


def _refuse_tar_member(info: tarfile.TarInfo, name: str) -> str | None:
    if _leaves(name):
        return "a path that leaves the archive"
    if info.issym() or info.islnk():
        return "a link inside an archive"
    if info.issparse():
        return "a sparse file inside an archive"
    if not info.isreg():
        return "a device inside an archive"
    if info.size > limits.MAX_FILE_BYTES:
        return too_large()
    if name.lower().endswith(_NESTED):
        return "an archive inside an archive is not opened"
    return None


def _tar_member_is_image(stream: BinaryIO, info: tarfile.TarInfo) -> bool:
    stream.seek(info.offset_data)
    return looks_like_image(stream.read(min(info.size, HEAD_BYTES)))


def _check_end(stream: BinaryIO, end: int) -> None:
    """After the last member of a whole tar a block of zeros begins.

    Raises:
        TarDamageError: this one does not.
    """
    stream.seek(end)
    last = stream.read(tarfile.BLOCKSIZE)
    if len(last) < tarfile.BLOCKSIZE or any(last):
        raise TarDamageError("damaged or cut short")
