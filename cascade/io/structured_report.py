"""One study's draft as DICOM: a Basic Text SR, and a TID 1500 measurement report.

Both are made with highdicom, PARTIAL, PRELIMINARY and UNVERIFIED, observed by a device (the program
and its model), titled or headed as machine-made, and refer to the images. Their UIDs are made from
the study, the model and the words (``2.25.``), so that the same draft is the same instance however
often it is written or sent. Times of the document are in UTC.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import BasicTextSRStorage

from cascade.errors import InputError
from cascade.io.dicom.quiet import quiet
from cascade.io.draft_document import TITLE, Draft, details, document_uuid
from cascade.io.finding_codes import (
    SCHEME,
    SCHEME_NAME,
    SCHEME_UID,
    FindingCode,
    finding_code,
    private_code,
)

if TYPE_CHECKING:
    from highdicom import sr

NO_IMAGES = "no image of the study has a header with all its UIDs"

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_SERIES = {"sr": 9901, "tid1500": 9902}

DRAFT_TITLE = FindingCode("DRAFT", SCHEME, f"{TITLE} of a radiology report")
NOTICE = FindingCode("NOTICE", SCHEME, "Notice")
ESTIMATES = FindingCode("ESTIMATES", SCHEME, "Estimates of the program")
STATUS = FindingCode("STATUS", SCHEME, "Status of the draft")
CONFIDENCE = FindingCode("CONFIDENCE", SCHEME, "Confidence of a machine-made draft")
CALL = FindingCode("CALL", SCHEME, "Call at the operating point")
OPERATING_POINT = FindingCode("OPERATING-POINT", SCHEME, "Operating point")
_CALLED = FindingCode("CALLED", SCHEME, "Called present by the program")
_NOT_CALLED = FindingCode("NOT-CALLED", SCHEME, "Not called present by the program")
_STATUSES = {
    "draft": FindingCode("UNVERIFIED", SCHEME, TITLE),
    "needs_reader": FindingCode("NEEDS-READER", SCHEME, "No draft: the study needs a reader"),
    "doubtful": FindingCode("DOUBTFUL", SCHEME, "No draft: not fit to be read by the program"),
    "failed": FindingCode("FAILED", SCHEME, "No draft: not read by the program"),
    "duplicate": FindingCode("DUPLICATE", SCHEME, "No draft: every image came before"),
}
_PROCEDURE = FindingCode("168537006", "SCT", "Plain radiography")
_FINDING = FindingCode("121071", "DCM", "Finding")
_FINDINGS = FindingCode("121070", "DCM", "Findings")
_COMMENT = FindingCode("121106", "DCM", "Comment")
_SOURCE = FindingCode("121112", "DCM", "Source of Measurement")
_PROBABILITY = FindingCode("122157", "DCM", "Probability")
_MEASUREMENTS = "126010"
_UNIT = FindingCode("{probability}", "UCUM", "probability")


def basic_text_sr(draft: Draft, headers: Sequence[Dataset]) -> bytes | None:
    """A Basic Text SR (TID 2000): the warning, the draft, what is called, the estimates as text.

    Args:
        draft: what it says.
        headers: of the study's images, as they may be shown (``cascade.io.dicom.evidence``).

    Returns:
        A DICOM file; None where no image can be referred to.

    Raises:
        InputError: highdicom is not installed.
    """
    sr = _highdicom()
    with quiet():
        images = _images(headers)
        if not images:
            return None
        root = sr.ContainerContentItem(name=_concept(DRAFT_TITLE), template_id="2000")
        root.ContentSequence = sr.ContentSequence()
        root.ContentSequence.extend(_language())
        root.ContentSequence.extend(_observed_by(draft))
        root.ContentSequence.append(
            _section(NOTICE, [_text(_COMMENT, f"{TITLE}. {draft.notice}")]),
        )
        finding = _text(_FINDING, draft.conclusion)
        finding.ContentSequence = sr.ContentSequence(
            [_image(header, "INFERRED FROM") for header in images]
        )
        called = [
            sr.CodeContentItem(
                name=_concept(_FINDING),
                value=_concept(finding_code(label)),
                relationship_type="CONTAINS",
            )
            for label in draft.findings or ()
        ]
        root.ContentSequence.append(_section(_FINDINGS, [finding, *called]))
        estimates = [f"{name}: {value}" for name, value in details(draft)]
        estimates += [f"Probability of {k}: {p:.3f}" for k, p in draft.probabilities.items()]
        if estimates:
            items = [_text(_COMMENT, line) for line in estimates]
            root.ContentSequence.append(_section(ESTIMATES, items))
        document = _document("sr", draft, images, root)
        # highdicom has no class for it; what differs is the SOP Class and the content allowed
        document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
        return _write(document)


def measurement_report_sr(draft: Draft, headers: Sequence[Dataset]) -> bytes | None:
    """A measurement report (TID 1500): a probability for each label, and the draft as a comment.

    Args:
        draft: what it says.
        headers: of the study's images, as they may be shown (``cascade.io.dicom.evidence``).

    Returns:
        A DICOM file (Enhanced SR); None where no image can be referred to.

    Raises:
        InputError: highdicom is not installed.
    """
    sr = _highdicom()
    with quiet():
        images = _images(headers)
        if not images:
            return None
        report = sr.MeasurementReport(
            observation_context=_observed_by(draft),
            procedure_reported=_concept(_PROCEDURE),
            imaging_measurements=[_status_group(draft, images)],
        )
        said = [f"{TITLE}. {draft.notice}", draft.conclusion, *draft.contradictions, *draft.notes]
        for line in said:
            report[0].ContentSequence.append(_text(_COMMENT, line))
        document = _document("tid1500", draft, images, report[0])
        # Now rather than before, since highdicom copies and searches what it is given six times.
        (measurements,) = (
            item
            for item in document.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue == _MEASUREMENTS
        )
        for label in draft.probabilities:
            measurements.ContentSequence.extend(_label_group(draft, images, label))
        return _write(document)


def _highdicom() -> Any:
    try:
        from highdicom import sr
    except ImportError as error:
        raise InputError(
            "formats=sr and tid1500 need highdicom: pip install 'cascade-cxr[pacs]'"
        ) from error
    return sr


def _images(headers: Sequence[Dataset]) -> list[Dataset]:
    """The images that a document can refer to, each once, with every tag that is asked for."""
    images: dict[str, Dataset] = {}
    for header in headers:
        if not all(header.get(keyword) for keyword in _UIDS):
            continue
        if images and header.StudyInstanceUID != next(iter(images.values())).StudyInstanceUID:
            continue
        image = Dataset()
        image.update(header)
        for keyword in _TYPE_2:
            if keyword not in image:
                setattr(image, keyword, "")
        image.SpecificCharacterSet = "ISO_IR 192"
        images.setdefault(str(image.SOPInstanceUID), image)
    return list(images.values())


def _uid(kind: str, draft: Draft, images: Sequence[Dataset] = ()) -> str:
    uids = [str(images[0].StudyInstanceUID)] if images else []
    uids += [str(image.SOPInstanceUID) for image in images]
    return f"2.25.{document_uuid(kind, draft, uids).int}"


def _concept(code: FindingCode) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _clean(text: str) -> str:
    """Text that a DICOM value can hold; never empty."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "-"


def _text(name: FindingCode, value: str) -> sr.TextContentItem:
    from highdicom.sr import TextContentItem

    return TextContentItem(name=_concept(name), value=_clean(value), relationship_type="CONTAINS")


def _section(name: FindingCode, items: Sequence[Any]) -> Any:
    from highdicom.sr import ContainerContentItem, ContentSequence

    section = ContainerContentItem(name=_concept(name), relationship_type="CONTAINS")
    section.ContentSequence = ContentSequence(items)
    return section


def _image(header: Dataset, relationship: str) -> Any:
    from highdicom.sr import ImageContentItem

    return ImageContentItem(
        name=_concept(_SOURCE),
        referenced_sop_class_uid=str(header.SOPClassUID),
        referenced_sop_instance_uid=str(header.SOPInstanceUID),
        relationship_type=relationship,
    )


def _language() -> Any:
    from highdicom.sr import LanguageOfContentItemAndDescendants

    return LanguageOfContentItemAndDescendants(
        _concept(FindingCode("en-US", "RFC5646", "English (United States)"))
    )


def _observed_by(draft: Draft) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )

    device = document_uuid("device", draft._replace(study="", status="draft", sentences="-"))
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=_concept(FindingCode("121007", "DCM", "Device")),
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=f"2.25.{device.int}",
                name=_clean(f"cascade {draft.program_version}"),
                manufacturer_name="cascade",
                model_name=_clean(f"model {draft.model_id} of version {draft.model_version}"),
            ),
        )
    )


def _algorithm(draft: Draft) -> Any:
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name="cascade",
        version=_clean(draft.program_version),
        parameters=[f"model {_clean(draft.model_id)}"],
    )


def _measurement(name: FindingCode, value: float, images: Sequence[Dataset]) -> Any:
    from highdicom.sr import Measurement, SourceImageForMeasurement

    return Measurement(
        name=_concept(name),
        value=round(value, 6),
        unit=_concept(_UNIT),
        referenced_images=[
            SourceImageForMeasurement(str(image.SOPClassUID), str(image.SOPInstanceUID))
            for image in images
        ],
    )


def _group(
    draft: Draft,
    images: Sequence[Dataset],
    name: str,
    finding: FindingCode,
    measurements: Sequence[Any],
    evaluations: Sequence[tuple[FindingCode, FindingCode]],
    algorithm: Any = None,
) -> Any:
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=_uid(f"tid1500 {name}", draft, images), identifier=_clean(name)
        ),
        finding_type=_concept(finding),
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=[
            QualitativeEvaluation(name=_concept(asked), value=_concept(answer))
            for asked, answer in evaluations
        ],
    )


def _status_group(draft: Draft, images: Sequence[Dataset]) -> Any:
    measured = []
    if draft.confidence is not None:
        measured.append(_measurement(CONFIDENCE, draft.confidence, images))
    status = [(STATUS, _STATUSES[draft.status])]
    if draft.findings is not None:
        status.append((OPERATING_POINT, private_code(str(draft.operating_point))))
    return _group(draft, images, TITLE, DRAFT_TITLE, measured, status, _algorithm(draft))


def _label_group(draft: Draft, images: Sequence[Dataset], label: str) -> Any:
    measured = [_measurement(_PROBABILITY, draft.probabilities[label], images)]
    calls = []
    if draft.findings is not None:
        calls.append((CALL, _CALLED if label in draft.findings else _NOT_CALLED))
    return _group(draft, images, label, finding_code(label), measured, calls)


def _document(kind: str, draft: Draft, images: Sequence[Dataset], root: Dataset) -> Any:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import EnhancedSR

    class Document(EnhancedSR):  # type: ignore[misc, unused-ignore]
        def copy_patient_and_study_information(self, dataset: Dataset) -> None:
            """Nothing: it fails on images of private classes, and all there is stands already."""

    scheme = CodingSchemeIdentificationItem(designator=SCHEME, name=SCHEME_NAME)
    scheme.CodingSchemeUID = SCHEME_UID
    document = Document(
        evidence=images,
        content=root,
        series_instance_uid=_uid(f"{kind} series", draft, images),
        series_number=_SERIES[kind],
        sop_instance_uid=_uid(kind, draft, images),
        instance_number=1,
        manufacturer="cascade",
        manufacturer_model_name="cascade",
        device_serial_number=_clean(draft.model_id)[:64],
        software_versions=(_clean(draft.program_version)[:64], _clean(draft.model_version)[:64]),
        series_description=TITLE,
        content_date=draft.time.date(),
        content_time=draft.time.time(),
        coding_schemes=[scheme],
    )
    document.InstanceCreationDate = document.ContentDate
    document.InstanceCreationTime = document.ContentTime
    for equipment in document.get("ContributingEquipmentSequence", []):  # highdicom itself
        equipment.ContributionDateTime = draft.time.strftime("%Y%m%d%H%M%S")
    return document


def _write(document: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, document, enforce_file_format=True)
    return stream.getvalue()
