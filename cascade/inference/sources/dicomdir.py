"""The images that a DICOMDIR names (PS3.10, PS3.3 F): the index of a CD, or of an export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cascade.errors import InputError
from cascade.inference.sources.entry import Entry, printable
from cascade.io.dicom.quiet import quiet

DIRECTORY = "1.2.840.10008.1.3.10"
_MOST_BYTES = 1 << 28
_DEEPEST = 8  # parts of a file's name (PS3.10, 8.2)


def is_dicomdir(file: Path) -> bool:
    """Whether a file is a DICOMDIR, by its name."""
    return file.name.upper().rstrip(".") == "DICOMDIR"


class DicomdirSource:
    """The files of the IMAGE records of a DICOMDIR; other records are ignored and counted.

    Attributes:
        name, description: see ``Source``.

    Raises:
        InputError: it cannot be read, or is none.
    """

    def __init__(self, file: Path) -> None:
        """Look whether it is one."""
        self._file = file
        self.name = str(file)
        self._records = self._read()
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        self.description = f"{printable(file.name)} ({digest})"

    def _read(self) -> list[Dataset]:
        try:
            if (size := self._file.stat().st_size) > _MOST_BYTES:
                raise InputError(f"{self._file} is of {size} bytes: no DICOMDIR is so large")
            with quiet():
                dataset = pydicom.dcmread(self._file)
                records = dataset.get("DirectoryRecordSequence")
                found = None if records is None else list(records)
        except InputError:
            raise
        except Exception as error:  # a hostile file makes pydicom stumble anywhere
            kind = type(error).__name__
            raise InputError(f"{self._file} cannot be read as a DICOMDIR: {kind}") from error
        if found is None:
            raise InputError(f"{self._file} is no DICOMDIR: it has no directory records")
        return found

    def entries(self, ignored: list[int]) -> Iterator[Entry]:
        """See ``Source``."""
        root = self._file.parent.resolve()
        seen: set[str] = set()
        for number, record in enumerate(self._records, start=1):
            with quiet():
                kind, parts = _looked_at(record)
            if kind != "IMAGE":
                ignored[0] += 1
                continue
            path = "/".join(parts) if parts else f"{self._file.name}#{number}"
            if path in seen:
                ignored[0] += 1
                continue
            seen.add(path)
            yield _entry(root, path, parts)


def _looked_at(record: Dataset) -> tuple[str, list[str]]:
    try:
        kind = str(record.get("DirectoryRecordType") or "").strip().upper()
        value: Any = record.get("ReferencedFileID")
        parts = list(value) if isinstance(value, (MultiValue, list)) else [value or ""]
        return kind, [printable(str(part).strip()) for part in parts if str(part).strip()]
    except Exception:  # conversion is lazy, so a wrong value shows only here
        return "IMAGE", []


def _entry(root: Path, path: str, parts: list[str]) -> Entry:
    if not parts:
        return Entry(path, failure="its record names no file")
    if len(parts) > _DEEPEST or any(_leaves(part) for part in parts):
        return Entry(path, failure="a path that leaves the medium")
    file = _find(root, parts)
    if file is None:
        return Entry(path, failure="the file that its record names is missing")
    if not file.resolve().is_relative_to(root):
        return Entry(path, failure="a symbolic link that leaves the source")
    if not file.is_file():
        return Entry(path, failure="what its record names is no file")
    return Entry(path, file)


def _leaves(part: str) -> bool:
    return part in (".", "..") or any(c in part for c in "/\\:\0")


def _find(root: Path, parts: list[str]) -> Path | None:
    """The file as it is named, or but for case and the version that ISO 9660 adds (``A.DCM;1``)."""
    found = root
    for part in parts:
        exact = found / part
        if not exact.exists():
            wanted = part.upper()
            try:
                names = sorted(child.name for child in found.iterdir())
            except OSError:
                return None
            fitting = [n for n in names if n.upper().split(";")[0].rstrip(".") == wanted]
            if not fitting:
                return None
            exact = found / fitting[0]
        found = exact
    return found
