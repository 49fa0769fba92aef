"""What of a DICOM header says where a file belongs, read without its pixels."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag

from cascade.errors import InputError
from cascade.io.dicom.header import MAX_ELEMENTS, deflated_from, text
from cascade.io.dicom.quiet import quiet

_LAST = 0x0020000E  # Series Instance UID, the last that is asked for
_INFLATED = 1 << 20


class Keys(NamedTuple):
    """Identifiers and facts to sort and filter by; None where the header says nothing.

    Attributes:
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        sop_uid: SOP Instance UID.
        modality: ``CR``, ``DX``, ...
        body_part: as it stands.
        study_date: ``YYYYMMDD``.
    """

    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    modality: str | None = None
    body_part: str | None = None
    study_date: str | None = None


_KEYWORDS = Keys(
    study_uid="StudyInstanceUID",
    series_uid="SeriesInstanceUID",
    sop_uid="SOPInstanceUID",
    modality="Modality",
    body_part="BodyPartExamined",
    study_date="StudyDate",
)


def read_keys(source: str | Path | BinaryIO) -> Keys | None:
    """The keys of a file; None where it has none, or is no DICOM file that can be read so far.

    Only the beginning of the header is read, so a file whose pixels are damaged has its keys.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(quiet())
            file = source
            if isinstance(file, (str, Path)):
                file = stack.enter_context(open(file, "rb"))
            dataset = begin(file, _LAST)
            found = Keys(*(text(dataset, keyword) for keyword in _KEYWORDS if keyword))
            return found if any(found) else None
        except Exception:  # whatever is wrong with it shows when it is read whole
            return None


def begin(file: BinaryIO, last: int) -> Dataset:
    """A file's data elements as far as the tag ``last``; whatever pydicom raises over it."""
    count = 0

    def enough(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise InputError("too many data elements")
        return tag > last

    if (start := deflated_from(file)) is not None:
        file.seek(start)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        body = inflater.decompress(file.read(_INFLATED), _INFLATED)
        return read_dataset(io.BytesIO(body), False, True, stop_when=enough)
    file.seek(0)
    try:
        return read_partial(file, stop_when=enough)
    except InvalidDicomError:
        file.seek(0)
        return read_partial(file, stop_when=enough, force=True)
