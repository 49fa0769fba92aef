import io
import shutil
import subprocess

import pydicom
import pytest

import cascade
from cascade.inference.identifiers import Identifiers
from cascade.inference.writers import draft_of
from cascade.io.dicom.evidence import load_evidence, read_evidence
from cascade.io.draft_document import TITLE, WITHHELD
from cascade.io.finding_codes import SCHEME_UID, STANDARD, finding_code, private_code
from cascade.io.phantom import write_phantom
from cascade.io.structured_report import basic_text_sr, measurement_report_sr
from tests.inference.documents import INSTANCE, SERIES, STUDY, header, study_result

KINDS = {"sr": basic_text_sr, "tid1500": measurement_report_sr}


def make(kind, *headers, policy="keep", **values):
    result = study_result(*headers, **values)
    shown = [Identifiers(policy, "secret").apply(load_evidence(e)) for e in result.evidence]
    return KINDS[kind](draft_of(result), shown)


def read(body):
    return pydicom.dcmread(io.BytesIO(body))


def items(dataset):
    """Every content item below: value type, concept and value."""
    for item in dataset.get("ContentSequence", []):
        value = {
            "TEXT": lambda item: item.TextValue,
            "CODE": lambda item: item.ConceptCodeSequence[0].CodeMeaning,
            "NUM": lambda item: float(item.MeasuredValueSequence[0].NumericValue),
            "IMAGE": lambda item: item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
            "UIDREF": lambda item: item.UID,
        }.get(item.ValueType, lambda item: None)(item)
        yield item.ValueType, item.ConceptNameCodeSequence[0].CodeMeaning, value
        yield from items(item)


def errors(path):
    """What dciodvfy calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    told = (run.stdout + run.stderr).splitlines()
    assert any(line in ("BasicTextSR", "EnhancedSR") for line in told), told
    return [line for line in told if line.startswith(("Error", "Abort"))]


def test_basic_text():
    document = read(make("sr"))
    assert document.SOPClassUID.name == "Basic Text SR Storage"
    assert (document.CompletionFlag, document.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert document.PreliminaryFlag == "PRELIMINARY"
    assert (document.PatientID, str(document.PatientName)) == ("P123456", "Doe^Jane")
    assert (document.StudyInstanceUID, document.AccessionNumber) == (STUDY, "ACC-99881")
    assert (document.ContentDate, document.ContentTime) == ("20261124", "201530")
    assert document.SeriesDescription == TITLE
    assert list(items(document)) == [
        ("CODE", "Language of Content Item and Descendants", "English (United States)"),
        ("CODE", "Observer Type", "Device"),
        ("UIDREF", "Device Observer UID", document.ContentSequence[2].UID),
        ("TEXT", "Device Observer Name", f"cascade {cascade.__version__}"),
        ("TEXT", "Device Observer Manufacturer", "cascade"),
        ("TEXT", "Device Observer Model Name", "model f00dfeed of version 0.0.9"),
        ("CONTAINER", "Notice", None),
        ("TEXT", "Comment", f"{TITLE}. {cascade.RESEARCH_NOTICE}"),
        ("CONTAINER", "Findings", None),
        ("TEXT", "Finding", "The heart is enlarged. The lungs are clear."),
        ("IMAGE", "Source of Measurement", INSTANCE),
        ("CODE", "Finding", "Cardiomegaly"),
        ("CONTAINER", "Estimates of the program", None),
        ("TEXT", "Comment", "Annotation: cardiomegaly"),
        ("TEXT", "Comment", "Confidence of the draft: 0.75"),
        ("TEXT", "Comment", "Called present: Cardiomegaly (operating point best_f1)"),
        ("TEXT", "Comment", "Probability of Cardiomegaly: 0.812"),
        ("TEXT", "Comment", "Probability of Pneumothorax: 0.062"),
        ("TEXT", "Comment", "Probability of Scoliosis: 0.250"),
    ]
    study = document.CurrentRequestedProcedureEvidenceSequence[0]
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY, SERIES)


def test_measurements():
    document = read(make("tid1500"))
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (document.CompletionFlag, document.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    found = list(items(document))
    numbers = [(name, value) for kind, name, value in found if kind == "NUM"]
    assert numbers == [
        ("Confidence of a machine-made draft", 0.75),
        ("Probability", 0.8125),
        ("Probability", 0.0625),
        ("Probability", 0.25),
    ]
    calls = [value for _, name, value in found if name == "Call at the operating point"]
    assert [value.startswith("Called") for value in calls] == [True, False, False]
    assert [value for _, name, value in found if name == "Finding"][1:] == [
        "Cardiomegaly",
        "Pneumothorax",
        "Scoliosis",
    ]
    (measurements,) = (i for i in document.ContentSequence if i.ValueType == "CONTAINER")
    number = next(
        i for i in measurements.ContentSequence[1].ContentSequence if "MeasuredValueSequence" in i
    )
    unit = number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("{probability}", "UCUM")
    comments = [value for _, name, value in found if name == "Comment"]
    assert comments == [
        f"{TITLE}. {cascade.RESEARCH_NOTICE}",
        "The heart is enlarged. The lungs are clear.",
    ]
    assert document.CodingSchemeIdentificationSequence[0].CodingSchemeUID == SCHEME_UID


def test_highdicom_reads_the_measurements_back(tmp_path):
    sr = pytest.importorskip("highdicom").sr
    (tmp_path / "a.dcm").write_bytes(make("tid1500"))
    groups = sr.srread(tmp_path / "a.dcm").content.get_image_measurement_groups()
    read_back = {
        group.tracking_identifier: (
            group.finding_type.value,
            [measurement.value for measurement in group.get_measurements()],
        )
        for group in groups
    }
    assert read_back == {
        TITLE: ("DRAFT", [0.75]),
        "Cardiomegaly": ("287272002", [0.8125]),
        "Pneumothorax": ("36118008", [0.0625]),
        "Scoliosis": ("SCOLIOSIS", [0.25]),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_draft_is_the_same_instance(kind):
    body = make(kind)
    assert make(kind) == body
    uid = read(body).SOPInstanceUID
    assert uid.startswith("2.25.")
    assert uid == read(body).file_meta.MediaStorageSOPInstanceUID
    later = read(make(kind, time="2027-01-01T00:00:00+00:00"))
    assert later.SOPInstanceUID == uid
    # another model, other words, other images: another document
    for other in (
        make(kind, model_id="another"),
        make(kind, sentences="No finding."),
        make(kind, header(), header(SOPInstanceUID="1.2.3")),
    ):
        assert read(other).SOPInstanceUID != uid
    assert len({read(make(k)).SOPInstanceUID for k in KINDS}) == 2
    assert len({read(make(k)).SeriesInstanceUID for k in KINDS}) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", WITHHELD)
def test_a_withheld_draft(tmp_path, kind, status):
    body = make(kind, status=status, abstained="unsure", doubts=["odd"], reason="broken")
    values = [str(value) for _, _, value in items(read(body))]
    assert any(value.startswith(WITHHELD[status]) for value in values)
    assert f"{TITLE}. {cascade.RESEARCH_NOTICE}" in values
    for withheld in ("enlarged", "ardiomegaly", "0.81", "Pneumothorax"):
        assert not any(withheld in value for value in values)
    (tmp_path / "a.dcm").write_bytes(body)
    assert errors(tmp_path / "a.dcm") == []


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_uids_cannot_be_referred_to(kind):
    assert make(kind, header(SOPInstanceUID="")) is None
    assert make(kind, header(StudyInstanceUID="no UID")) is None
    body = make(kind, header(SOPInstanceUID=""), header(), header())
    images = [value for value_type, _, value in items(read(body)) if value_type == "IMAGE"]
    assert set(images) == {INSTANCE}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["keep", "hash", "drop"])
def test_a_bare_header_will_do(tmp_path, kind, policy):
    bare = pydicom.Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", INSTANCE
    bare.StudyInstanceUID, bare.SeriesInstanceUID = STUDY, SERIES
    (tmp_path / "a.dcm").write_bytes(make(kind, bare, policy=policy))
    assert errors(tmp_path / "a.dcm") == []


@pytest.mark.parametrize("kind", KINDS)
def test_phantom_files_have_valid_reports(tmp_path, kind):
    write_phantom(tmp_path / "phantom", studies=3, size=64, lateral_share=1.0)
    paths = sorted((tmp_path / "phantom").rglob("*.dcm"))
    assert len(paths) == 6
    for number, path in enumerate(paths):
        document = tmp_path / f"{number}.dcm"
        document.write_bytes(make(kind, pydicom.dcmread(path)))
        assert errors(document) == []


@pytest.mark.realdata
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["keep", "hash", "drop"])
def test_real_files_have_valid_reports(tmp_path, real_data, kind, policy):
    paths = sorted((real_data / "dicom").glob("*.dcm"))
    assert len(paths) == 11
    for path in paths:
        evidence = load_evidence(read_evidence(path))
        shown = Identifiers(policy, "secret").apply(evidence)
        document = tmp_path / path.name
        document.write_bytes(KINDS[kind](draft_of(study_result()), [shown]))
        assert errors(document) == []


def test_standard_codes_are_those_of_dicom():
    from pydicom.sr.codedict import codes

    shipped = {
        (code.value, code.scheme_designator, code.meaning)
        for scheme in (codes.SCT, codes.DCM)
        for code in (getattr(scheme, name) for name in scheme.dir())
    }
    assert {tuple(code) for code in STANDARD.values()} <= shipped


def test_private_codes():
    assert finding_code("thoracic vertebrae/degenerative").scheme == "99CASCADE"
    assert finding_code("EFFUSION") == finding_code("Pleural Effusion")
    names = ["a/b", "a b", "a-b", "x" * 100, "x" * 101, "", "\x00", "東京"]
    codes = [private_code(name) for name in names]
    assert len({code.value for code in codes}) == len(names)
    assert all(1 <= len(code.value) <= 16 and 1 <= len(code.meaning) <= 64 for code in codes)
