"""Study results to write documents of."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

import cascade
from cascade.inference.results import StudyResult
from cascade.io.dicom.evidence import read_evidence

STUDY, SERIES, INSTANCE = (f"1.2.826.0.1.3680043.8.498.{n}" for n in (11, 12, 13))
SECRETS = {
    "PatientID": "P123456",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19480217",
    "AccessionNumber": "ACC-99881",
    "StudyDate": "20190314",
    "StudyTime": "151617",
    "StudyID": "SID-4471",
    "ReferringPhysicianName": "House^Gregory",
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
    "SOPInstanceUID": INSTANCE,
}


def header(**tags):
    """A header with every identifier that a document might show."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientSex = "DX", "CHEST", "F"
    dataset.Rows = dataset.Columns = 2
    with pydicom.config.disable_value_validation():
        for keyword, value in (SECRETS | tags).items():
            if keyword == "PixelData":
                continue
            setattr(dataset, keyword, value)
    return dataset


def write_image(path, **tags):
    """The header with four pixels, as a file."""
    dataset = header(**tags)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = tags.get("PixelData", np.array([[0, 1], [2, 3]], dtype="<u2").tobytes())
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def study_row(**values):
    return {
        "study": "0123456789abcdef",
        "images": ["Jane Doe/1.dcm"],
        "views": ["frontal"],
        "status": "draft",
        "annotation": "cardiomegaly",
        "sentences": "The heart is enlarged. The lungs are clear.",
        "confidence": 0.75,
        "abstained": None,
        "findings": ["Cardiomegaly"],
        "operating_point": "best_f1",
        "probabilities": {"Cardiomegaly": 0.8125, "Pneumothorax": 0.0625, "Scoliosis": 0.25},
        "contradictions": [],
        "doubts": [],
        "notes": [],
        "reason": None,
        "model_id": "f00dfeed",
        "model_version": "0.0.9",
        "program_version": cascade.__version__,
        "time": "2026-11-24T20:15:30+00:00",
        "notice": cascade.RESEARCH_NOTICE,
        **values,
    }


def study_result(*headers, **values):
    """A study of the images with these headers, or of one with ``header()``."""
    evidence = [read_evidence(dataset) for dataset in (headers or (header(),))]
    images = [
        {"path": f"Jane Doe/{number}.dcm", "status": "draft", "view": "frontal"}
        for number in range(1, len(evidence) + 1)
    ]
    return StudyResult(study_row(**values), images, evidence)
