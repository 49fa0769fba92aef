import json

import pytest
from fhir.resources.R4B.bundle import Bundle

import cascade
from cascade.inference.writers import draft_of
from cascade.io.dicom.evidence import load_evidence
from cascade.io.draft_document import TITLE, WITHHELD
from cascade.io.fhir import fhir_bundle
from cascade.io.finding_codes import SCHEME_UID
from tests.inference.documents import INSTANCE, SERIES, STUDY, header, study_result


def resources(*headers, patient=True, **values):
    result = study_result(*headers, **values)
    text = fhir_bundle(draft_of(result), [load_evidence(e) for e in result.evidence], patient)
    Bundle.model_validate_json(text)
    bundle = json.loads(text)
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    # every reference leads to a resource of the bundle
    assert set(_references(bundle)) <= set(urls)
    found = {}
    for entry in bundle["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


def _references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "reference":
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_the_report():
    (report,) = resources()["DiagnosticReport"]
    assert report["status"] == "preliminary"
    assert report["code"]["coding"][0] == {
        "system": "http://loinc.org",
        "code": "18748-4",
        "display": "Diagnostic imaging study",
    }
    assert report["code"]["text"] == TITLE
    assert report["conclusion"] == (
        f"{TITLE}. {cascade.RESEARCH_NOTICE} The heart is enlarged. The lungs are clear."
    )
    assert (report["effectiveDateTime"], report["issued"]) == ("2019-03-14", "2026-11-24T20:15:30Z")
    assert report["meta"]["tag"][0]["code"] == "MACHINE-MADE"
    assert TITLE in report["text"]["div"]
    assert len(report["result"]) == 4


def test_observations():
    observations = resources()["Observation"]
    assert {o["status"] for o in observations} == {"preliminary"}
    values = [o["valueQuantity"] for o in observations]
    assert [value["value"] for value in values] == [0.8125, 0.0625, 0.25, 0.75]
    assert {value["code"] for value in values} == {"{probability}"}
    components = [o["component"][0] for o in observations[:3]]
    assert [c["valueString"] for c in components] == [
        "called present at best_f1",
        "not called present at best_f1",
        "not called present at best_f1",
    ]
    assert [c["code"]["coding"][0] for c in components[1:]] == [
        {"system": "http://snomed.info/sct", "code": "36118008", "display": "Pneumothorax"},
        {"system": f"urn:oid:{SCHEME_UID}", "code": "SCOLIOSIS", "display": "Scoliosis"},
    ]
    without = resources(findings=None, operating_point=None)["Observation"][0]
    assert without["component"][0]["valueString"] == "no operating point"


def test_images_patient_device():
    found = resources(header(), header(SOPInstanceUID="1.2.3"))
    (study,) = found["ImagingStudy"]
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    assert study["identifier"][1]["value"] == "ACC-99881"
    (series,) = study["series"]
    assert (series["uid"], series["modality"]["code"]) == (SERIES, "DX")
    assert [i["uid"] for i in series["instance"]] == [INSTANCE, "1.2.3"]
    (patient,) = found["Patient"]
    assert patient == {
        "resourceType": "Patient",
        "identifier": [{"value": "P123456"}],
        "name": [{"family": "Doe", "given": ["Jane"]}],
        "gender": "female",
        "birthDate": "1948-02-17",
    }
    (device,) = found["Device"]
    assert [v["value"] for v in device["version"]] == [cascade.__version__, "0.0.9"]
    assert device["identifier"][0]["value"] == "f00dfeed"


def test_no_patient_unless_asked_for():
    found = resources(patient=False)
    assert "Patient" not in found
    assert found["DiagnosticReport"][0]["subject"] == {"identifier": {"value": "P123456"}}


@pytest.mark.parametrize("status", WITHHELD)
def test_a_withheld_draft(status):
    found = resources(status=status, abstained="unsure", doubts=["odd"], reason="broken")
    (report,) = found["DiagnosticReport"]
    assert report["status"] == "preliminary"
    assert WITHHELD[status] in report["conclusion"]
    assert "result" not in report
    assert "Observation" not in found


def test_text_is_escaped():
    report = resources(sentences="<script>a & b</script>\x00\n")["DiagnosticReport"][0]
    assert "&lt;script&gt;a &amp; b&lt;/script&gt;" in report["text"]["div"]
    assert report["conclusion"].endswith("<script>a & b</script>")
