"""Labels as codes that other systems know.

A label has a standard code only where DICOM's own tables (PS3.16, as pydicom ships them) hold one
that means the same; every other has one of a private scheme, made from its name.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

SCHEME = "99CASCADE"
SCHEME_UID = "2.25.332978283239038393191954004482073952007"
SCHEME_NAME = "Labels and remarks of the program cascade"

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    SCHEME: f"urn:oid:{SCHEME_UID}",
}
"""Coding schemes of DICOM and how FHIR calls them."""


class FindingCode(NamedTuple):
    """A code: its value, its scheme by DICOM's name, its meaning."""

    value: str
    scheme: str
    meaning: str


_CARDIOMEGALY = FindingCode("287272002", "SCT", "Cardiomegaly")
_EFFUSION = FindingCode("60046008", "SCT", "Pleural effusion")
_PNEUMOTHORAX = FindingCode("36118008", "SCT", "Pneumothorax")
_NODULE = FindingCode("27925004", "SCT", "Nodule")
_MASS = FindingCode("4147007", "SCT", "Mass")
_EDEMA = FindingCode("19242006", "SCT", "Pulmonary edema")
_NORMAL = FindingCode("17621005", "SCT", "Normal")
_OPACITY = FindingCode("112001", "DCM", "Opacity")
_INFILTRATE = FindingCode("112121", "DCM", "Infiltrate")

STANDARD = {
    "cardiomegaly": _CARDIOMEGALY,
    "effusion": _EFFUSION,  # ChestX-ray14's, which is pleural
    "pleural effusion": _EFFUSION,
    "pneumothorax": _PNEUMOTHORAX,
    "nodule": _NODULE,
    "nodule/lung": _NODULE,
    "mass": _MASS,
    "edema": _EDEMA,  # ChestX-ray14's and CheXpert's, which is pulmonary
    "pulmonary edema": _EDEMA,
    "normal": _NORMAL,
    "opacity": _OPACITY,
    "opacity/lung": _OPACITY,
    "lung opacity": _OPACITY,
    "infiltration": _INFILTRATE,
}
"""Label, in small letters, to its standard code."""


def finding_code(label: str) -> FindingCode:
    """The code of a label.

    >>> finding_code("Cardiomegaly")
    FindingCode(value='287272002', scheme='SCT', meaning='Cardiomegaly')
    >>> finding_code("Scoliosis")
    FindingCode(value='SCOLIOSIS', scheme='99CASCADE', meaning='Scoliosis')
    """
    found = STANDARD.get(label.strip().lower().replace("_", " "))
    return found or private_code(label)


def private_code(name: str) -> FindingCode:
    """A code of the private scheme, of at most 16 characters, different for different names.

    >>> private_code("thoracic vertebrae/degenerative").value
    'THORACIC-Vcef657'
    """
    slug = re.sub(r"[^A-Z0-9]+", "-", name.upper()).strip("-")
    if not slug or len(slug) > 16 or slug.replace("-", " ") != name.upper():
        slug = slug[:10] + hashlib.sha256(name.encode()).hexdigest()[:6]
    meaning = "".join(c if c.isprintable() and c != "\\" else " " for c in name).strip()
    return FindingCode(slug, SCHEME, meaning[:64].strip() or "unnamed label")
