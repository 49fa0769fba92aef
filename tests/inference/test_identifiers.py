import pytest

from cascade.errors import InputError
from cascade.inference.identifiers import IDENTIFIERS, Identifiers, hash_uid, output_key
from cascade.inference.privacy import short_hash
from cascade.io.dicom.evidence import DESCRIBING, IDENTIFYING, UIDS, load_evidence, read_evidence
from tests.inference.documents import INSTANCE, SECRETS, STUDY, header


def applied(name, key="secret", **tags):
    return Identifiers(name, key).apply(load_evidence(read_evidence(header(**tags))))


def test_keep():
    shown = applied("keep")
    assert {k: str(shown[k].value) for k in SECRETS} == SECRETS


def test_hash():
    shown = applied("hash")
    assert shown.PatientID == short_hash("PatientID P123456", "secret")
    assert shown.AccessionNumber == short_hash("AccessionNumber ACC-99881", "secret")
    assert shown.StudyInstanceUID == hash_uid(STUDY, "secret")
    assert shown.SOPInstanceUID == hash_uid(INSTANCE, "secret")
    assert {e.keyword for e in shown} == {
        *("PatientID", "AccessionNumber", "SpecificCharacterSet", *UIDS),
        *(set(DESCRIBING) - {"NumberOfFrames"}),
    }
    assert applied("hash", "other").PatientID != shown.PatientID


def test_drop():
    shown = applied("drop")
    assert not {e.keyword for e in shown} & set(IDENTIFYING)
    assert shown.StudyInstanceUID == hash_uid(STUDY, "secret")


def test_equal_values_of_two_tags_have_two_hashes():
    shown = applied("hash", PatientID="42", AccessionNumber="42")
    assert shown.PatientID != shown.AccessionNumber


def test_hashed_uids_are_uids():
    uids = {hash_uid(f"1.2.{n}", "secret") for n in range(200)}
    assert len(uids) == 200
    for uid in uids:
        root, number = uid.rsplit(".", 1)
        assert root == "2.25"
        assert len(uid) <= 64
        assert str(int(number)) == number
        assert int(number) < 1 << 128


def test_rows_name_the_patient_only_when_kept():
    evidence = read_evidence(header())
    assert Identifiers("keep").of_row(evidence) == {
        "patient_id": "P123456",
        "study_instance_uid": STUDY,
        "accession_number": "ACC-99881",
    }
    assert set(Identifiers("keep").of_row(None).values()) == {None}
    assert Identifiers("hash", "secret").of_row(evidence) == {}
    assert Identifiers("drop", "secret").of_row(evidence) == {}


def test_the_key():
    environ = {"CASCADE_IDENTIFIER_KEY": "secret"}
    assert output_key("hash", environ=environ) == output_key("keep", environ=environ) == "secret"
    assert output_key("hash", environ={}) == ""
    drawn = output_key("drop", environ=environ)
    assert drawn not in ("", "secret")
    assert output_key("drop", drawn, environ) == drawn


def test_what_is_refused():
    with pytest.raises(InputError, match="expected one of keep, hash, drop"):
        Identifiers("Keep").check()
    with pytest.raises(InputError, match="CASCADE_IDENTIFIER_KEY"):
        Identifiers("hash").check(documents=True)
    for name in IDENTIFIERS:
        Identifiers(name).check()
        Identifiers(name, "secret").check(documents=True)
    Identifiers("keep").check(documents=True)
