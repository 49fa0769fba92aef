"""One DICOM file or data set to one radiograph: the order of the steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from cascade.errors import InputError
from cascade.io.dicom.decode import decode
from cascade.io.dicom.header import load, reason, text
from cascade.io.dicom.orientation import doubts, upright, view
from cascade.io.dicom.photometry import render
from cascade.io.dicom.pixel_format import pixel_format
from cascade.io.dicom.quiet import quiet
from cascade.io.dicom.transfer_syntaxes import settle_transfer_syntax
from cascade.io.radiograph import MAX_BYTES, MAX_PIXELS, Facts, Notes, Radiograph


def read_dicom(
    source: str | Path | BinaryIO | Dataset,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Radiograph:
    """Read one DICOM file or data set.

    Of several frames the one that the header calls representative is taken, else the first.
    Colour and palettes that look grey become luminance (ITU-R BT.601), true colour is refused.
    The data set handed in is not changed.

    Args:
        source: a path, an open binary file, or a pydicom data set.
        max_pixels: refuse rows x columns above this, before decoding.
        max_bytes: refuse files above this, before reading.

    Raises:
        InputError: not DICOM, no pixel data, too large, in colour, of a transfer syntax that is
            not read, or pixel data that cannot be decoded.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the DICOM data set"
    notes = Notes()
    with quiet():
        if isinstance(source, Dataset):
            dataset = copy.copy(source)
        else:
            dataset = load(source, name, notes, max_bytes, max_pixels)
        try:
            form = pixel_format(dataset, name, max_pixels, notes)
            syntax = settle_transfer_syntax(dataset, name, notes)
            decoded = decode(dataset, form, syntax, name, notes)
        except InputError:
            raise
        except Exception as error:  # a hostile header makes pydicom stumble anywhere
            raise InputError(f"{name}: pixel data cannot be decoded: {reason(error)}") from error
        try:
            shown = render(dataset, decoded, name, notes)
            seen = view(dataset, notes)
            pixels = upright(dataset, shown, seen, notes)
            spoken_against = (*decoded.doubts, *doubts(dataset))
            facts = _facts(dataset, form.rows, form.columns, str(syntax))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name}: the header cannot be applied: {reason(error)}") from error
    return Radiograph(np.ascontiguousarray(pixels), seen, facts, tuple(notes), spoken_against)


def _facts(dataset: Dataset, rows: int, columns: int, syntax: str) -> Facts:
    names: Mapping[str, str] = {
        "modality": "Modality",
        "body_part": "BodyPartExamined",
        "photometric": "PhotometricInterpretation",
        "sop_instance_uid": "SOPInstanceUID",
        "study_instance_uid": "StudyInstanceUID",
        "series_instance_uid": "SeriesInstanceUID",
        "patient_id": "PatientID",
    }
    texts = {field: text(dataset, keyword) for field, keyword in names.items()}
    side = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    return Facts(**texts, laterality=side, transfer_syntax=syntax, rows=rows, columns=columns)
