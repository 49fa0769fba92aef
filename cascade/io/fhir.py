"""One study's draft as a FHIR R4 bundle around a DiagnosticReport of status ``preliminary``.

The bundle is a ``collection``: the report, an observation for each probability, the program as
device, who made it (Provenance), the study's images by their UIDs, and the patient where
identifiers are kept. It is checked by ``fhir.resources`` before it is given out. That library has
R5, R4B and STU3; the elements of all resources and types used here are the same in R4 (4.0.1) and
in R4B.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset

from cascade.errors import InputError
from cascade.io.draft_document import TITLE, Draft, details, document_uuid
from cascade.io.finding_codes import (
    SCHEME,
    SYSTEMS,
    FindingCode,
    finding_code,
)

_TERMS = "http://terminology.hl7.org/CodeSystem"
_GENDERS = {"M": "male", "F": "female", "O": "other"}
PROBABILITY = FindingCode("PROBABILITY", SCHEME, "Probability of a finding, estimated by a machine")
MACHINE_MADE = FindingCode("MACHINE-MADE", SCHEME, TITLE)
CONFIDENCE = FindingCode("CONFIDENCE", SCHEME, "Confidence of a machine-made draft")


def fhir_bundle(draft: Draft, headers: Sequence[Dataset] = (), patient: bool = False) -> str:
    """The bundle as JSON, in lines.

    Args:
        draft: what it says.
        headers: of the study's images, as they may be shown (``cascade.io.dicom.evidence``); those
            without the three UIDs are left out.
        patient: whether a Patient is made of them.

    Raises:
        InputError: fhir.resources is not installed.
        ValueError: the bundle is not valid; the message may quote identifiers.
    """
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError as error:
        raise InputError(
            "formats=fhir needs fhir.resources: pip install 'cascade-cxr[pacs]'"
        ) from error

    bundle = Bundle.model_validate(_Maker(draft, headers, patient).bundle())
    text: str = bundle.model_dump_json(indent=2)
    return text + "\n"


class _Maker:
    def __init__(self, draft: Draft, headers: Sequence[Dataset], patient: bool) -> None:
        self._draft = draft
        self._headers = [
            header
            for header in headers
            if all(header.get(k) for k in ("StudyInstanceUID", "SeriesInstanceUID"))
            and header.get("SOPInstanceUID")
        ]
        self._about = headers[0] if headers else Dataset()
        self._uids = [str(header.SOPInstanceUID) for header in self._headers]
        self._time = draft.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._mark = {"tag": [_coding(MACHINE_MADE)]}
        self._patient = patient and bool(self._text("PatientID") or self._text("PatientName"))

    def bundle(self) -> dict[str, Any]:
        observations = {
            f"observation {place}": self._observation(*about)
            for place, about in enumerate(self._quantities())
        }
        resources = {
            "report": self._report(list(observations)),
            **observations,
            "device": self._device(),
            "provenance": self._provenance(),
        }
        if self._headers:
            resources["imaging"] = self._imaging()
        if self._patient:
            resources["patient"] = self._person()
        return {
            "resourceType": "Bundle",
            "type": "collection",
            "identifier": {"system": "urn:ietf:rfc:3986", "value": self._urn("bundle")},
            "timestamp": self._time,
            "entry": [
                {"fullUrl": self._urn(name), "resource": resource}
                for name, resource in resources.items()
            ],
        }

    def _urn(self, name: str) -> str:
        return f"urn:uuid:{document_uuid(f'fhir {name}', self._draft, self._uids)}"

    def _text(self, keyword: str) -> str:
        return str(self._about.get(keyword) or "")

    def _subject(self) -> dict[str, Any]:
        if self._patient:
            return {"reference": self._urn("patient")}
        if identifier := self._text("PatientID"):
            return {"identifier": {"value": identifier}}
        return {"display": "not named"}

    def _effective(self) -> dict[str, str]:
        day = self._text("StudyDate")
        return {"effectiveDateTime": _day(day)} if day else {}

    def _report(self, observations: list[str]) -> dict[str, Any]:
        draft = self._draft
        warning = f"{TITLE}. {draft.notice}"
        report: dict[str, Any] = {
            "resourceType": "DiagnosticReport",
            "meta": self._mark,
            "text": _narrative(
                warning,
                draft.conclusion,
                *(f"{name}: {value}" for name, value in details(draft)),
            ),
            "identifier": [{"system": "urn:ietf:rfc:3986", "value": self._urn("report")}],
            "status": "preliminary",
            "category": [{"coding": [{"system": f"{_TERMS}/v2-0074", "code": "RAD"}]}],
            "code": {
                "coding": [_coding(FindingCode("18748-4", "LN", "Diagnostic imaging study"))],
                "text": TITLE,
            },
            "subject": self._subject(),
            **self._effective(),
            "issued": self._time,
            "conclusion": _line(f"{warning} {draft.conclusion}"),
        }
        if accession := self._text("AccessionNumber"):
            report["identifier"].append(_accession(accession))
        if observations:
            report["result"] = [{"reference": self._urn(name)} for name in observations]
        if self._headers:
            report["imagingStudy"] = [{"reference": self._urn("imaging")}]
        return report

    def _quantities(self) -> list[tuple[FindingCode, float, str | None]]:
        draft = self._draft
        found: list[tuple[FindingCode, float, str | None]] = [
            (PROBABILITY, value, label) for label, value in draft.probabilities.items()
        ]
        if draft.confidence is not None:
            found.append((CONFIDENCE, draft.confidence, None))
        return found

    def _observation(self, code: FindingCode, value: float, label: str | None) -> dict[str, Any]:
        draft = self._draft
        observation = {
            "resourceType": "Observation",
            "meta": self._mark,
            "status": "preliminary",
            "category": [
                {"coding": [{"system": f"{_TERMS}/observation-category", "code": "imaging"}]}
            ],
            "code": {"coding": [_coding(code)], "text": code.meaning},
            "subject": self._subject(),
            **self._effective(),
            "issued": self._time,
            "valueQuantity": {
                "value": round(value, 6),
                "unit": "probability",
                "system": "http://unitsofmeasure.org",
                "code": "{probability}",
            },
            "note": [{"text": f"{TITLE}. {draft.notice}"}],
            "device": {"reference": self._urn("device")},
        }
        if self._headers:
            observation["derivedFrom"] = [{"reference": self._urn("imaging")}]
        if label is not None:
            about = finding_code(label)
            called = "no operating point"
            if draft.findings is not None:
                called = "called present" if label in draft.findings else "not called present"
                called += f" at {draft.operating_point}"
            observation["component"] = [
                {
                    "code": {"coding": [_coding(about)], "text": _line(label)},
                    "valueString": called,
                }
            ]
        return observation

    def _device(self) -> dict[str, Any]:
        draft = self._draft
        return {
            "resourceType": "Device",
            "identifier": [{"system": SYSTEMS[SCHEME], "value": draft.model_id}],
            "status": "active",
            "deviceName": [{"name": "cascade", "type": "model-name"}],
            "version": [
                {"type": {"text": "program"}, "value": draft.program_version},
                {"type": {"text": "program that trained the model"}, "value": draft.model_version},
            ],
            "note": [{"text": draft.notice}],
        }

    def _provenance(self) -> dict[str, Any]:
        return {
            "resourceType": "Provenance",
            "target": [{"reference": self._urn("report")}],
            "recorded": self._time,
            "agent": [
                {
                    "type": {
                        "coding": [
                            {"system": f"{_TERMS}/provenance-participant-type", "code": "author"}
                        ]
                    },
                    "who": {"reference": self._urn("device")},
                }
            ],
        }

    def _imaging(self) -> dict[str, Any]:
        series: dict[str, list[Dataset]] = {}
        for header in self._headers:
            series.setdefault(str(header.SeriesInstanceUID), []).append(header)
        study = f"urn:oid:{self._headers[0].StudyInstanceUID}"
        imaging: dict[str, Any] = {
            "resourceType": "ImagingStudy",
            "identifier": [{"system": "urn:dicom:uid", "value": study}],
            "status": "available",
            "subject": self._subject(),
            "numberOfSeries": len(series),
            "numberOfInstances": len(self._headers),
            "series": [
                {
                    "uid": uid,
                    "modality": {
                        "system": SYSTEMS["DCM"],
                        "code": str(images[0].get("Modality") or "OT"),
                    },
                    "numberOfInstances": len(images),
                    "instance": [_instance(header) for header in images],
                }
                for uid, images in series.items()
            ],
        }
        if accession := self._text("AccessionNumber"):
            imaging["identifier"].append(_accession(accession))
        if day := self._text("StudyDate"):
            imaging["started"] = _day(day)
        return imaging

    def _person(self) -> dict[str, Any]:
        person: dict[str, Any] = {"resourceType": "Patient"}
        if identifier := self._text("PatientID"):
            person["identifier"] = [{"value": identifier}]
        if name := _name(self._text("PatientName")):
            person["name"] = [name]
        if born := self._text("PatientBirthDate"):
            person["birthDate"] = _day(born)
        if gender := _GENDERS.get(self._text("PatientSex")):
            person["gender"] = gender
        return person


def _coding(code: FindingCode) -> dict[str, str]:
    return {"system": SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}


def _accession(number: str) -> dict[str, Any]:
    kind = {"system": f"{_TERMS}/v2-0203", "code": "ACSN"}
    return {"type": {"coding": [kind]}, "value": number}


def _instance(header: Dataset) -> dict[str, Any]:
    instance: dict[str, Any] = {"uid": str(header.SOPInstanceUID)}
    kind = str(header.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7")
    instance["sopClass"] = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{kind}"}
    return instance


def _day(digits: str) -> str:
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "-"


def _name(value: str) -> Mapping[str, Any] | None:
    """A DICOM person name as a HumanName."""
    parts = [_line(part) if part.strip() else "" for part in value.split("=")[0].split("^")]
    family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
    name: dict[str, Any] = {}
    if family:
        name["family"] = family
    if names := [part for part in (given, middle) if part]:
        name["given"] = names
    if prefix:
        name["prefix"] = [prefix]
    if suffix:
        name["suffix"] = [suffix]
    return name or None


def _narrative(*paragraphs: str) -> dict[str, str]:
    body = "".join(f"<p>{html.escape(_line(text))}</p>" for text in paragraphs if text)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}
