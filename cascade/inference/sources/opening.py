"""From what a user gives as ``source=`` to a source."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from cascade.errors import InputError
from cascade.inference.privacy import short_hash
from cascade.inference.sources.dicomdir import DicomdirSource, is_dicomdir
from cascade.inference.sources.entry import SUFFIXES, Entry, Source, printable
from cascade.inference.sources.folder import find_entries
from cascade.inference.sources.lists import CsvSource, StdinSource

STDIN = "-"


class FileSource:
    """A folder tree, an archive or one image.

    Args:
        path: where.
        suffixes: names that end so are images whatever they hold.
        exclude: a folder not to look into.

    Attributes:
        name, description: see ``Source``.
    """

    def __init__(
        self, path: Path, suffixes: Collection[str] = SUFFIXES, exclude: Path | None = None
    ) -> None:
        """Remember where."""
        self.path, self._suffixes, self._exclude = path, suffixes, exclude
        resolved = path.resolve()
        self.name = str(path)
        self.description = f"{printable(resolved.name)} ({short_hash(printable(str(resolved)))})"

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """See ``Source``."""
        yield from find_entries(self.path, self._suffixes, self._exclude, ignored)


def open_source(
    source: str | Path,
    *,
    suffixes: Collection[str] = SUFFIXES,
    exclude: Path | None = None,
    query: Mapping[str, str] | None = None,
    key: str = "",
) -> Source:
    """Open what a user gives as the source of an archive.

    Args:
        source: a folder, a ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz``, an image, a ``DICOMDIR``, a
            ``.csv`` with a column ``path``, ``-`` for paths from standard input, or the address of
            a DICOMweb server, ``https://host/dicom-web``.
        suffixes: names that end so are images whatever they hold.
        exclude: a folder not to look into.
        query: of a DICOMweb server: which studies, DICOM keyword to value.
        key: of the hashes that name a server's images.

    Raises:
        InputError: it is none of these, or cannot be opened.
    """
    text = str(source)
    if text.startswith(("http://", "https://")):
        from cascade.inference.sources.dicomweb import DicomwebSource

        return DicomwebSource(text, query or {}, key)
    if query:
        raise InputError("query= is asked of a DICOMweb server: source=https://host/dicom-web")
    if text == STDIN:
        return StdinSource(sys.stdin.buffer, suffixes)
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".csv":
        return CsvSource(path, suffixes)
    if path.is_file() and is_dicomdir(path):
        return DicomdirSource(path)
    return FileSource(path, suffixes, exclude)
