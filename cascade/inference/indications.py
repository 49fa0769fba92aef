"""Indications for an archive: a CSV that names a file's indication; nothing of it is written."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from cascade.errors import InputError
from cascade.inference.privacy import short_hash

COLUMNS = ("path", "indication")


def read_indications(file: str | Path) -> dict[str, str]:
    """The indication of each path, as the annotations name it: relative to the source.

    The header of a DICOM file is never asked: what stands there is not made for reading, and may
    name the patient.

    Raises:
        InputError: no such columns, a path twice, not UTF-8, or no file.
    """
    file = Path(file)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{file} has no column {missing[0]}: expected path (as in the annotations) and "
                    "indication"
                )
            found: dict[str, str] = {}
            for number, row in enumerate(rows, start=2):
                path = row["path"] or ""
                if path in found:
                    raise InputError(f"{file}, row {number}: a path that stands there before")
                found[path] = " ".join((row["indication"] or "").split())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as a CSV: {error}") from error
    return found


def indications_hash(found: Mapping[str, str] | None) -> str | None:
    """What tells one set of indications from another; None for none."""
    if found is None:
        return None
    return short_hash("\n".join(f"{path}\t{text}" for path, text in sorted(found.items())))
