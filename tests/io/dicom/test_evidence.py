import io
import json
import shutil
import subprocess
import zipfile

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from cascade.inference.identifiers import Identifiers
from cascade.inference.writers import FORMATS, create_writers
from cascade.io.dicom.evidence import KEYWORDS, clean, load_evidence, read_evidence
from tests.inference.documents import SECRETS, header, study_result, write_image


def kept(**tags):
    evidence = read_evidence(header(**tags))
    return load_evidence(evidence)


def test_tags_that_documents_need_and_no_others(tmp_path):
    write_image(tmp_path / "a.dcm", InstitutionName="A hospital", PatientAddress="Elm Street")
    evidence = read_evidence(tmp_path / "a.dcm")
    dataset = load_evidence(evidence)
    assert {e.keyword for e in dataset} <= {*KEYWORDS, "SpecificCharacterSet"}
    assert "\n" not in evidence
    for keyword, value in SECRETS.items():
        assert str(dataset[keyword].value) == value
    assert (dataset.Rows, dataset.Columns, dataset.Modality) == (2, 2, "DX")
    with (tmp_path / "a.dcm").open("rb") as file:
        assert read_evidence(file) == evidence


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings(tmp_path, syntax):
    write_image(tmp_path / "a.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    expected = read_evidence(dataset)
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert read_evidence(stream) == expected


def test_files_that_hold_none(tmp_path):
    (tmp_path / "a.txt").write_text("no DICOM")
    (tmp_path / "empty").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "b" * 1000)
    for path in tmp_path.iterdir():
        assert read_evidence(path) is None
    assert read_evidence(tmp_path / "missing") is None
    assert read_evidence(Dataset()) is None


def test_a_damaged_end_does_not_matter(tmp_path):
    write_image(tmp_path / "a.dcm")
    whole = (tmp_path / "a.dcm").read_bytes()
    expected = read_evidence(tmp_path / "a.dcm")
    assert read_evidence(io.BytesIO(whole[:-8])) == expected


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("keyword", "value", "mended"),
    [
        ("PatientID", " P\\1 \x00", "P"),
        ("PatientID", "x" * 100, "x" * 64),
        ("AccessionNumber", "1" * 30, "1" * 16),
        ("PatientName", "Doe^Jane^^^^^^", "Doe^Jane"),
        (
            "PatientName",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        ("PatientBirthDate", "1948.02.17", "19480217"),
        ("PatientBirthDate", "19481399", None),
        ("PatientBirthDate", "unknown", None),
        ("PatientSex", "f ", "F"),
        ("PatientSex", "female", None),
        ("StudyTime", "151617.123", "151617"),
        ("StudyTime", "9 o'clock", None),
        ("StudyDate", "", None),
        ("SOPInstanceUID", "1.2.03", "1.2.03"),
        ("SOPInstanceUID", "1.2.x", None),
        ("SOPInstanceUID", "1." * 40, None),
        ("Modality", "dx!", "DX"),
    ],
)
def test_wrong_values_are_mended_or_left_out(keyword, value, mended):
    found = kept(**{keyword: value}).get(keyword)
    assert (None if found is None else str(found)) == mended


def test_what_the_file_meta_information_says_is_believed():
    dataset = header(SOPInstanceUID="")
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    assert load_evidence(read_evidence(dataset)).SOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize(
    ("charset", "name", "encoding"),
    [("ISO_IR 100", "Müller^Jörg", "latin-1"), ("ISO_IR 144", "Люкceмбypг", "iso8859-5")],
)
def test_character_sets_become_unicode(tmp_path, charset, name, encoding):
    write_image(tmp_path / "a.dcm", SpecificCharacterSet=charset, PatientName=name)
    assert name.encode(encoding) in (tmp_path / "a.dcm").read_bytes()
    dataset = load_evidence(read_evidence(tmp_path / "a.dcm"))
    assert str(dataset.PatientName) == name
    assert dataset.SpecificCharacterSet == "ISO_IR 192"


def test_clean():
    assert clean("a\x1b$B\x85\u2028b\ud800") == "a $B  b"
    assert clean(None) == "None"


ODD = st.one_of(
    st.text(max_size=90),
    st.sampled_from(
        ["", " ", "\\", "a\\b", "^^^", "=", "==", "\x00", "\ud800", "19000101", "1.2.3"]
    ),
)
ODD_TAGS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName", "Modality", "SeriesInstanceUID"),
    *("SOPClassUID", "SpecificCharacterSet"),
)
WEIRD = st.fixed_dictionaries({}, optional=dict.fromkeys(ODD_TAGS, ODD))


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tags=WEIRD, policy=st.sampled_from(["keep", "hash", "drop"]))
def test_every_document_survives_odd_headers(tmp_path, tags, policy):
    from fhir.resources.R4B.bundle import Bundle

    dataset = header()
    with pydicom.config.disable_value_validation():
        for keyword, value in tags.items():
            dataset.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), value)
    result = study_result(dataset)
    for writer in create_writers(FORMATS, identifiers=policy, key="secret"):
        reason = writer.write(result, tmp_path)
        path = tmp_path / writer.name / f"0123456789abcdef{FORMATS[writer.name].suffix}"
        assert (reason is None) or "UIDs" in reason
        if writer.name in ("sr", "tid1500") and reason is None:
            report = pydicom.dcmread(path)
            assert "enlarged" in report.to_json()
            assert _errors(path) == []
        elif writer.name == "fhir":
            Bundle.model_validate_json(path.read_text())


def _errors(path):
    if shutil.which("dciodvfy") is None:
        return []
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in run.stderr.splitlines() if line.startswith(("Error", "Abort"))]


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300), at=st.integers(0, 700))
def test_bytes_changed_anywhere_raise_nothing(data, at):
    stream = io.BytesIO()
    dataset = header()
    dataset.PixelData = np.zeros(4, "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    body = bytearray(stream.getvalue())
    body[at : at + len(data)] = data
    evidence = read_evidence(io.BytesIO(bytes(body)))
    if evidence is not None:
        json.loads(evidence)
        Identifiers("hash", "secret").apply(load_evidence(evidence))
