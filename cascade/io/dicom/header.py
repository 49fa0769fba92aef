"""Files to data sets, and lenient looks into them: a tag that is missing or wrong is None."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cascade.errors import InputError
from cascade.io.radiograph import Notes, check_size

MAX_ELEMENTS = 100_000
"""Data elements of one header; a true one has hundreds."""

_PIXEL_DATA = 0x7FE00010
_FILE_META = 132  # where it begins: 128 bytes of preamble, then DICM


def reason(error: BaseException) -> str:
    """An error in a line: its first, or of decoders that list every plugin, what the first said."""
    lines = str(error).strip().splitlines()
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = [line.strip() for line in lines[1:]]
    return f"{type(error).__name__}{': ' + lines[0][:160] if lines else ''}"


def load(
    source: str | Path | BinaryIO, name: str, notes: Notes, max_bytes: int, max_pixels: int
) -> Dataset:
    """Read a file as far as its pixel data.

    Raises:
        InputError: no such file, too large, or not DICOM.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = source
            if isinstance(file, (str, Path)):
                if not Path(file).exists():
                    raise InputError(f"{name} does not exist")
                if not Path(file).is_file():
                    raise InputError(f"{name} is not a file")
                file = stack.enter_context(open(file, "rb"))
            check_size(file, name, max_bytes)
            return _parse(file, name, notes, 8 * max_pixels)
        except InputError:
            raise
        except Exception as error:  # pydicom raises whatever a broken file makes it stumble over
            if isinstance(error, OSError) and error.strerror:
                raise InputError(f"{name} cannot be read: {error.strerror}") from error
            raise InputError(f"{name} cannot be read as DICOM: {reason(error)}") from error


def _parse(file: BinaryIO, name: str, notes: Notes, max_inflated: int) -> Dataset:
    count, pixels = 0, False

    def enough(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal count, pixels
        count += 1
        if count > MAX_ELEMENTS:
            raise InputError(f"{name} has more than {MAX_ELEMENTS} data elements in its header")
        # what follows the pixel data (signatures, padding) is of no use and may be broken
        ended, pixels = pixels, pixels or tag == _PIXEL_DATA
        return ended

    if (start := deflated_from(file)) is not None:
        file.seek(0)
        dataset: Dataset = read_partial(io.BytesIO(file.read(start)))
        body = _inflate(file, name, max_inflated)
        dataset.update(read_dataset(io.BytesIO(body), False, True, stop_when=enough))
        return dataset
    file.seek(0)
    try:
        dataset = read_partial(file, stop_when=enough)
    except InvalidDicomError:
        file.seek(0)
        dataset = read_partial(file, stop_when=enough, force=True)
        if "Rows" not in dataset and "SOPClassUID" not in dataset:
            raise InputError(f"{name} is not a DICOM file") from None
        notes.add("no_preamble")
    return dataset


def deflated_from(file: BinaryIO) -> int | None:
    """Where the deflated data set of a file begins; None if the file is not deflated.

    pydicom inflates whatever size comes out, so such files are told before it sees them.
    """
    file.seek(0)
    head = file.read(_FILE_META + 4096)
    if head[128:132] != b"DICM":
        return None
    at, deflated = _FILE_META, False
    while head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        long = head[at + 4 : at + 6] in (b"OB", b"UN")
        value = at + (12 if long else 8)
        length = int.from_bytes(head[at + 8 : at + 12] if long else head[at + 6 : at + 8], "little")
        if head[at + 2 : at + 4] == b"\x10\x00":
            uid = head[value : value + length].rstrip(b"\0 ")
            deflated = uid == str(DeflatedExplicitVRLittleEndian).encode()
        at = value + length
    return at if deflated else None


def _inflate(file: BinaryIO, name: str, max_inflated: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(file.read(), max_inflated)
    if len(body) >= max_inflated:
        raise InputError(f"{name} inflates to more than the limit of {max_inflated} bytes")
    return body


def value(dataset: Dataset, keyword: str) -> Any:
    """A value, the first of several; None where missing, empty or not readable as its type."""
    try:
        found = dataset.get(keyword)
        if found is None or isinstance(found, (str, bytes)):
            return found or None
        if isinstance(found, (list, pydicom.multival.MultiValue, pydicom.sequence.Sequence)):
            return found[0] if len(found) else None
        return found
    except Exception:  # conversion is lazy, so a wrong value shows only here
        return None


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """All of a tag's values; empty where missing or not readable as its type."""
    try:
        found = dataset.get(keyword)
        if found is None or (isinstance(found, (str, bytes)) and not found):
            return []
        if isinstance(found, (list, pydicom.multival.MultiValue, pydicom.sequence.Sequence)):
            return list(found)
        return [found]
    except Exception:
        return []


def as_number(found: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """A tag's first number; None where there is none."""
    return as_number(value(dataset, keyword))


def text(dataset: Dataset, keyword: str) -> str | None:
    """A tag's first text without the blanks around it; None where there is none."""
    found = value(dataset, keyword)
    return (str(found).strip("\0 \t\r\n") or None) if found is not None else None


def whole(dataset: Dataset, keyword: str, notes: Notes) -> int | None:
    """A tag's whole number, if need be from the bytes of a wrong value representation."""
    found = number(dataset, keyword)
    if found is not None:
        return int(found)
    raw = raw_bytes(dataset, keyword)
    if raw is not None and len(raw) in (2, 4) and not raw.isdigit():
        little = getattr(dataset, "original_encoding", (None, True))[1] is not False
        notes.add("wrong_vr", keyword=keyword)
        return int.from_bytes(raw[:2] if little else raw[-2:], "little" if little else "big")
    return None


def raw_bytes(dataset: Dataset, keyword: str) -> bytes | None:
    """A tag's value as the bytes that stand in the file; None where pydicom has converted it."""
    tag = Tag(keyword)
    if tag not in dataset:
        return None
    try:
        found = dataset.get_item(tag).value
        if not isinstance(found, (bytes, bytearray)):
            found = dataset[tag].value
    except Exception:
        return None
    return bytes(found) if isinstance(found, (bytes, bytearray)) else None
