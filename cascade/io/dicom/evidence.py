"""What documents need of an image's header: a few tags as DICOM JSON, mended where they are wrong.

A document names the patient, the study and the images that it is about. These tags are read where
the image is decoded and travel as text, without pixels and without private tags. Values that the
standard would refuse are mended or left out, so that whatever a header holds, what is made of it is
valid: control characters go, overlong text is cut, of several values the first is taken, a date or
a UID that is none is left out.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cascade.io.dicom.keys import begin
from cascade.io.dicom.quiet import quiet

IDENTIFYING = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Tags that say who was examined, when, and for whom."""

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Tags that name the study, the series and the image."""

DESCRIBING = ("SOPClassUID", "Modality", "BodyPartExamined", "Rows", "Columns", "NumberOfFrames")
"""Tags that say what kind of image it is and nothing of whose."""

KEYWORDS = (*IDENTIFYING, *UIDS, *DESCRIBING)

_LAST = 0x0028FFFF  # of the group that describes pixels


def read_evidence(source: str | Path | BinaryIO | Dataset) -> str | None:
    """The tags that documents need, as DICOM JSON.

    Args:
        source: a data set, or a path or an open binary file, of which the header alone is read.

    Returns:
        JSON of one line; None where the file is no DICOM file or holds none of the tags.
    """
    with quiet():
        if isinstance(source, Dataset):
            return _dump(source)
        with contextlib.ExitStack() as stack:
            try:
                file = source
                if isinstance(file, (str, Path)):
                    file = stack.enter_context(open(file, "rb"))
                return _dump(begin(file, _LAST))
            except Exception:  # whatever is wrong with it shows when it is decoded
                return None


def load_evidence(evidence: str) -> Dataset:
    """The data set of what ``read_evidence`` gave; tags that it has not are missing.

    Its text is in Unicode (``ISO_IR 192``).
    """
    with quiet():
        dataset = Dataset.from_json(evidence)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def _dump(dataset: Dataset) -> str | None:
    kept = Dataset()
    for keyword in KEYWORDS:
        value = _value(dataset, keyword)
        if value not in (None, ""):
            with contextlib.suppress(Exception):
                setattr(kept, keyword, value)
    for keyword, meta in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        about = getattr(dataset, "file_meta", None)
        if keyword not in kept and about is not None and (uid := _value(about, meta, "UI")):
            setattr(kept, keyword, uid)
    return kept.to_json(suppress_invalid_tags=True) if len(kept) else None


def _value(dataset: Dataset, keyword: str, vr: str | None = None) -> Any:
    try:
        found = dataset.get(keyword)
        if isinstance(found, (MultiValue, list, tuple)):
            found = found[0] if len(found) else None
        mend = _MEND.get(keyword) or _MEND[vr or dictionary_VR(keyword)]
        return None if found is None else mend(found)
    except Exception:  # a hostile header makes pydicom stumble anywhere
        return None


def clean(value: Any, length: int = 64) -> str:
    r"""Text that fits a DICOM value: printable, without backslashes, cut to ``length``.

    >>> clean("  a\\b\0\n ")
    'a b'
    """
    text = "".join(c if c.isprintable() and c != "\\" else " " for c in str(value)[:1024])
    return text.strip()[:length].strip()


def _person(value: Any) -> str:
    """A person's name: at most three groups of at most five components."""
    groups = clean(value, 1024).split("=")[:3]
    cut = ("^".join(part.strip() for part in group.split("^")[:5])[:64] for group in groups)
    return "=".join(group.strip(" ^") for group in cut).rstrip("=")


def _code(value: Any) -> str:
    letters = re.sub(r"[^A-Z0-9_ ]", "", clean(value, 1024).upper())
    return " ".join(letters.split())[:16].strip()


def _date(value: Any) -> str | None:
    digits = clean(value).replace(".", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    datetime.datetime.strptime(digits, "%Y%m%d")
    return digits


def _time(value: Any) -> str | None:
    found = re.match(r"([01][0-9]|2[0-3]):?([0-5][0-9])?:?([0-5][0-9])?", clean(value))
    return "".join(part for part in found.groups() if part) if found else None


def _uid(value: Any) -> str | None:
    uid = str(value).strip("\0 \t\r\n")
    # leading zeros are wrong too, but a reference must say what the image says
    return uid if re.fullmatch(r"[0-2](\.[0-9]+)+", uid) and len(uid) <= 64 else None


def _whole(value: Any) -> int | None:
    number = int(value)
    return number if 0 <= number < 1 << 16 else None


def _sex(value: Any) -> str | None:
    return code if (code := _code(value)) in ("M", "F", "O") else None


_MEND: dict[str, Callable[[Any], Any]] = {
    "LO": lambda value: clean(value, 64),
    "SH": lambda value: clean(value, 16),
    "PN": _person,
    "CS": _code,
    "DA": _date,
    "TM": _time,
    "UI": _uid,
    "US": _whole,
    "IS": _whole,
    "PatientSex": _sex,
}
