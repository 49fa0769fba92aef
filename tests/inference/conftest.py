"""The smallest DICOM files."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

STUDY, INSTANCE = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


@pytest.fixture
def dicom(tmp_path):
    """Write a frontal chest radiograph of 2 x 2 pixels, ``bright`` of which are white."""

    def write(name, instance=INSTANCE, bright=1, **tags):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = ComputedRadiographyImageStorage
        dataset.SOPInstanceUID, dataset.StudyInstanceUID = instance, STUDY
        dataset.PatientID, dataset.PatientName = "P123456", "Doe^Jane"
        dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
        dataset.Rows = dataset.Columns = 2
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        values = [0] * (4 - bright) + [4095] * bright
        dataset.PixelData = np.array(values, dtype="<u2").tobytes()
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write
