"""Where the Open-i reports are: the archive as downloaded, or its folder, file by file."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from cascade.errors import InputError
from cascade.io.report import clean_text

ARCHIVE = "NLMCXR_reports.tgz"
FOLDER = "ecgen-radiology"
EXPECTED = (
    f"download {ARCHIVE} (the reports) and NLMCXR_png.tgz (the images) from Open-i, the image "
    "search of the U.S. National Library of Medicine, into {folder}, and unpack the images"
)
_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar")


def find_reports(root: Path) -> Path:
    """The archive or the folder of XML files that ``root`` stands for.

    Raises:
        InputError: there is neither.
    """
    if root.is_file():
        if root.name.lower().endswith(_ARCHIVE_SUFFIXES):
            return root
        raise InputError(f"{root} is neither a folder nor an archive (.tgz, .tar.gz, .tar)")
    if not root.is_dir():
        raise InputError(f"the folder {root} does not exist: {EXPECTED.format(folder='it')}")
    folders = (root / FOLDER, root, root / "NLMCXR_reports" / FOLDER)
    for folder in folders:
        if folder.is_dir() and any(folder.glob("*.xml")):
            return folder
    archives = [root / ARCHIVE, *sorted(root.glob("*reports*.tgz"))]
    for archive in archives:
        if archive.is_file():
            return archive
    raise InputError(
        f"{root} holds neither {ARCHIVE} nor {FOLDER}/*.xml: {EXPECTED.format(folder='it')}"
    )


def contents(
    source: Path, max_file: int, max_total: int
) -> Iterator[tuple[str, bytes | InputError]]:
    """Read the XML files of a folder or an archive, one at a time.

    Args:
        source: what ``find_reports`` found.
        max_file: refuse a file of more bytes than that.
        max_total: stop at an archive that unpacks to more bytes than that.

    Yields:
        The name and the content of each file, or why it is not taken.

    Raises:
        InputError: the archive is damaged, cut short, or larger than ``max_total``.
    """
    if source.is_dir():
        for path in sorted(source.glob("*.xml")):
            yield _shown(path.name), _file(path, max_file)
        return
    count = 0
    try:
        with _opened(source) as file:
            stream = _Bounded(file, source, max_total)
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as archive:
                for member in archive:
                    name = _shown(Path(member.name).name)
                    if not name.lower().endswith(".xml") or name.startswith("."):
                        continue  # folders and whatever else was packed beside the reports
                    count += 1
                    if not member.isreg():
                        yield name, InputError("not a regular file")
                    elif member.size > max_file:
                        yield name, _too_large(member.size, max_file)
                    else:
                        content = archive.extractfile(member)
                        yield name, content.read() if content else b""
                    archive.members = []  # type: ignore[attr-defined]  # it lists every header
                # tarfile takes a cut at a header for the end; gzip knows better once it is read out
                while stream.read(2**20):
                    pass
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(
            f"{source} is damaged or cut short after {count} reports ({error}): download it again"
        ) from error


class _Bounded:
    """A stream that ends in an error once more has been read from it than is believable."""

    def __init__(self, file: BinaryIO, source: Path, limit: int) -> None:
        self._file, self._source, self._limit, self._count = file, source, limit, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        if self._count > self._limit:
            raise InputError(
                f"{self._source} unpacks to more than the limit of {self._limit} bytes, so it is "
                f"not {ARCHIVE}: download that, or unpack this and give its folder"
            )
        return data


def _file(path: Path, max_file: int) -> bytes | InputError:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return InputError("not a regular file")
        return (
            _too_large(facts.st_size, max_file) if facts.st_size > max_file else path.read_bytes()
        )
    except OSError as error:
        return InputError(f"cannot be read: {error.strerror}")


def _shown(name: str) -> str:
    """A file name as text that can be written: bytes that are no characters become U+FFFD."""
    return clean_text(name) or name


def _opened(source: Path) -> BinaryIO:
    """The tar stream of an archive, gzipped or not."""
    with source.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0, os.SEEK_END)
        if not gzipped and file.tell() >= 1024:
            file.seek(-1024, os.SEEK_END)
            if any(file.read()):
                raise tarfile.ReadError("no end-of-archive mark")
    return cast(BinaryIO, gzip.open(source)) if gzipped else source.open("rb")


def _too_large(size: int, limit: int) -> InputError:
    return InputError(f"{size} bytes are more than the limit of {limit}")
