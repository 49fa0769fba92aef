"""Files that somebody names: a CSV with a column ``path``, or paths from standard input."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from cascade.errors import InputError
from cascade.inference.sources.entry import SUFFIXES, Entry, printable
from cascade.inference.sources.folder import find_in_file

COLUMN = "path"
_CHUNK = 1 << 16
_LONGEST = 1 << 16


class CsvSource:
    """Files named by a CSV, relative to its folder or absolute; archives among them are opened.

    Attributes:
        name, description: see ``Source``.

    Raises:
        InputError: it cannot be read, or has no column ``path``.
    """

    def __init__(self, file: Path, suffixes: Collection[str] = SUFFIXES) -> None:
        """Look at its first line."""
        self._file, self._suffixes = file, frozenset(suffixes)
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
            next(self._paths(), None)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        self.name = str(file)
        self.description = f"{printable(file.name)} ({digest})"

    def _paths(self) -> Iterator[str]:
        try:
            with self._file.open(newline="", encoding="utf-8-sig") as stream:
                rows = csv.DictReader(stream)
                if COLUMN not in (rows.fieldnames or []):
                    raise InputError(f"{self._file} has no column {COLUMN}: one file a row")
                for row in rows:
                    if path := (row[COLUMN] or "").strip():
                        yield path
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self._file} cannot be read as a CSV: {error}") from error

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """See ``Source``."""
        for path in self._paths():
            yield from named(path, self._file.parent, self._suffixes, ignored)


class StdinSource:
    """Paths from a stream, one a line, or each ended by a NUL as ``find -print0`` has them.

    The stream is copied to a temporary file first: what is read twice must be the same twice, and
    an interrupted work is only gone on with by the same list.

    Attributes:
        name, description: see ``Source``.
    """

    def __init__(self, stream: BinaryIO, suffixes: Collection[str] = SUFFIXES) -> None:
        """Read the stream to its end."""
        self._suffixes = frozenset(suffixes)
        self._copy: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the source
        digest, self._end = hashlib.sha256(), b"\n"
        while chunk := stream.read(_CHUNK):
            if b"\0" in chunk:
                self._end = b"\0"
            digest.update(chunk)
            self._copy.write(chunk)
        self.name = "standard input"
        self.description = f"standard input ({digest.hexdigest()[:16]})"

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """See ``Source``."""
        for line in self._lines():
            path = os.fsdecode(line.removesuffix(b"\r") if self._end == b"\n" else line)
            if path.strip():
                yield from named(path, Path.cwd(), self._suffixes, ignored)

    def _lines(self) -> Iterator[bytes]:
        self._copy.seek(0)
        rest = b""
        while chunk := self._copy.read(_CHUNK):
            *whole, rest = (rest + chunk).split(self._end)
            yield from whole
            if len(rest) > _LONGEST:
                raise InputError("standard input holds no paths: a line of more than 64 KiB")
        if rest:
            yield rest


def named(path: str, folder: Path, suffixes: frozenset[str], ignored: list[int]) -> Iterator[Entry]:
    """The entry of a file that somebody names, those of an archive, or why there is none.

    Args:
        path: as it is written; it is the entry's name.
        folder: it is relative to.
        suffixes: of members of archives.
        ignored: counts them.
    """
    file = folder / path
    shown = printable(Path(path).as_posix())
    if "\0" in path:
        yield Entry(shown, failure="no path: it holds a NUL")
    elif file.is_dir():
        yield Entry(shown, file, failure="a folder: name its files, or give it as the source")
    else:
        yield from find_in_file(file, shown, suffixes, ignored, asked_for=True)
