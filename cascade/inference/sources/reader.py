"""Opens what was listed, wherever it lies."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cascade.inference.sources import entry as limits
from cascade.inference.sources.archives import open_tar, refuse_member
from cascade.inference.sources.entry import Entry, UnsafeEntryError, too_large

if TYPE_CHECKING:
    from cascade.inference.sources.dicomweb import Fetcher

BEGINNING = 1 << 18
"""As much of a member as ``head`` gives: the header's first groups, with room for private ones."""


class EntryReader:
    """Opens entries; keeps the last archive open, since its members come one after the other."""

    def __init__(self) -> None:
        """Begin with no archive open."""
        self._file: Path | None = None
        self._zip: zipfile.ZipFile | None = None
        self._tar: BinaryIO | None = None
        self._fetcher: Fetcher | None = None

    def open(self, entry: Entry) -> Path | BinaryIO:
        """What the image reader gets: the path of a file, or a member in memory.

        Raises:
            UnsafeEntryError: refused, too large or empty.
            OSError: the file cannot be opened.
            zipfile.BadZipFile, zlib.error, EOFError: the archive or the member is damaged.
            CascadeError: the server that holds it does not answer.
        """
        return self._open(entry, limits.MAX_FILE_BYTES)

    def head(self, entry: Entry) -> Path | BinaryIO:
        """Likewise, of a member its beginning alone.

        Raises:
            UnsafeEntryError, OSError, zipfile.BadZipFile, zlib.error, EOFError: as ``open``.
        """
        return self._open(entry, BEGINNING)

    def _open(self, entry: Entry, most: int) -> Path | BinaryIO:
        if entry.failure is not None:
            raise UnsafeEntryError(entry.failure)
        if entry.url is not None:
            return self._fetch(entry.url)
        if entry.file is None:
            raise UnsafeEntryError("it lies nowhere")
        if entry.member is None:
            size = entry.file.stat().st_size
            if size > limits.MAX_FILE_BYTES:
                raise UnsafeEntryError(too_large())
            if size == 0:
                raise UnsafeEntryError("the file is empty")
            return entry.file
        if entry.file != self._file:
            self.close()
            self._file = entry.file
        if entry.size is None:
            data = self._zip_member(entry.file, entry.member, most)
        else:
            data = self._tar_member(entry.file, entry.member, entry.size, most)
        if not data:
            raise UnsafeEntryError("the file is empty")
        return io.BytesIO(data)

    def _fetch(self, url: str) -> BinaryIO:
        from cascade.inference.sources.dicomweb import Fetcher

        if self._fetcher is None:
            self._fetcher = Fetcher()
        data = self._fetcher.fetch(url)
        if not data:
            raise UnsafeEntryError("the file is empty")
        return io.BytesIO(data)

    def _zip_member(self, file: Path, index: int, most: int) -> bytes:
        if self._zip is None:
            self._zip = zipfile.ZipFile(file)
        info = self._zip.infolist()[index]
        if refusal := refuse_member(info):
            raise UnsafeEntryError(refusal)
        if most >= info.file_size:
            return self._zip.read(info)
        with self._zip.open(info) as stream:
            return stream.read(most)

    def _tar_member(self, file: Path, start: int, size: int, most: int) -> bytes:
        if size > limits.MAX_FILE_BYTES:
            raise UnsafeEntryError(too_large())
        if self._tar is None:
            self._tar = open_tar(file)
        self._tar.seek(start)
        wanted = min(size, most)
        data = self._tar.read(wanted)
        if len(data) < wanted:
            raise UnsafeEntryError("the archive is cut short within this file")
        return data

    def close(self) -> None:
        """Close what is open."""
        for each in (self._zip, self._tar, self._fetcher):
            if each is not None:
                each.close()
        self._zip = self._tar = self._fetcher = self._file = None
