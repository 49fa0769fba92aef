"""The smallest chest radiographs, built in memory."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from cascade.io.dicom import read_dicom


def _make_dicom(
    pixels=((0, 4095),), photometric="MONOCHROME2", bits=12, signed=False, syntax=None, **tags
) -> Dataset:
    """The smallest chest radiograph."""
    stored = "int" if signed else "uint"
    array = np.asarray(pixels, dtype=f"{stored}{8 if bits <= 8 else 16}")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.PatientID = "SECRET"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.Rows, dataset.Columns = array.shape[-2:] if array.ndim == 2 else array.shape[:2]
    dataset.SamplesPerPixel = 1
    if array.ndim == 3:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = array.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    dataset["PixelData"].VR = "OW" if array.itemsize == 2 else "OB"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def _saved(dataset: Dataset, **options) -> io.BytesIO:
    file = io.BytesIO()
    dataset.save_as(file, **{"enforce_file_format": True, **options})
    file.seek(0)
    return file


def _shown(*args, **tags) -> list[list[float]]:
    return read_dicom(_make_dicom(*args, **tags)).pixels.astype(float).round(4).tolist()


def _lut(first: int, bits: int, entries: list[int], vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


@pytest.fixture(scope="session")
def make_dicom() -> Callable[..., Dataset]:
    """Builds a data set: pixels, photometric interpretation, bits, sign, syntax, more tags."""
    return _make_dicom


@pytest.fixture(scope="session")
def saved() -> Callable[..., io.BytesIO]:
    """Writes a data set into memory."""
    return _saved


@pytest.fixture(scope="session")
def shown() -> Callable[..., list[list[float]]]:
    """The pixels, to four places, that ``read_dicom`` makes of what ``make_dicom`` builds."""
    return _shown


@pytest.fixture(scope="session")
def lut() -> Callable[..., Dataset]:
    """Builds the item of a lookup table: first value mapped, bits, entries."""
    return _lut
