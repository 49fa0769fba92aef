"""Documents of each study, and what identifiers=... lets rows and documents say."""

import json

import pandas as pd
import pytest

from cascade.errors import InputError
from cascade.inference.archive import annotate_archive
from cascade.inference.prediction import Prediction
from cascade.inference.privacy import short_hash
from cascade.inference.tables import read_table

STUDY = "1.2.826.0.1.3680043.8.498.1"


class Sure:
    model_id, version = "sure", "1"

    def predict(self, images, indications=None):
        return [Prediction("opacity", "Opacity.", 0.75, {"opacity": 0.5}) for _ in images]

    predict_studies = predict


class Stop(BaseException):
    """Ends a run where it stands, as a kill would."""


def run(tmp_path, out="out", **options):
    annotate_archive(tmp_path / "in", Sure(), tmp_path / out, **options)
    return read_table(tmp_path / out, "studies")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_document_of_each_study(tmp_path, dicom, workers):
    dicom("in/a.dcm")
    (tmp_path / "in" / "b.dcm").write_bytes(b"")
    first, second = run(tmp_path, formats=["jsonl", "text", "fhir"], key="secret", workers=workers)
    texts = {file.stem: file.read_text() for file in (tmp_path / "out" / "text").iterdir()}
    assert first["study"] == short_hash(STUDY, "secret")
    assert "Opacity." in texts[first["study"]]
    assert len(texts) == 2  # the study that failed has one that says so
    bundle = json.loads((tmp_path / "out" / "fhir" / f"{first['study']}.json").read_text())
    assert bundle["resourceType"] == "Bundle"
    assert not any("Doe" in text or "P123456" in text for text in texts.values())
    assert "patient_id" not in first
    assert (second["status"], first["notes"]) == ("failed", [])


def test_a_study_that_repeats_another_has_no_document(tmp_path, dicom):
    dicom("in/a.dcm")
    dicom("in/b.dcm", StudyInstanceUID="1.5")
    run(tmp_path, formats=["jsonl", "text"], key="secret")
    assert len(list((tmp_path / "out" / "text").iterdir())) == 1


def test_identifiers_are_kept_where_that_is_asked_for(tmp_path, dicom):
    dicom("in/a.dcm", AccessionNumber="A77")
    (tmp_path / "in" / "b.dcm").write_bytes(b"")
    first, second = run(tmp_path, formats=["jsonl", "parquet", "csv", "text"], identifiers="keep")
    kept = {key: first[key] for key in ("patient_id", "study_instance_uid", "accession_number")}
    assert list(kept.values()) == ["P123456", STUDY, "A77"]
    assert second["patient_id"] is None
    for table in (
        pd.read_parquet(tmp_path / "out" / "studies" / "part-00000.parquet"),
        pd.read_csv(tmp_path / "out" / "studies" / "part-00000.csv"),
    ):
        assert table["accession_number"].tolist()[0] == "A77"
    assert "P123456" in (tmp_path / "out" / "text" / f"{first['study']}.txt").read_text()


def test_hashes_that_are_dropped_join_one_output_alone(tmp_path, dicom):
    dicom("in/a.dcm")
    dicom("in/b.dcm", instance="1.2", StudyInstanceUID="1.5")
    dicom("in/c.dcm", instance="1.3", StudyInstanceUID="1.5")

    def stop(stage, done, total, failed):
        if stage == "annotating":
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, identifiers="drop", formats=["jsonl", "text"], batch_size=1, progress=stop)
    first, second = run(tmp_path, identifiers="drop", formats=["jsonl", "text"])
    assert first["study"] not in (short_hash(STUDY), None)
    images = read_table(tmp_path / "out", "images")
    assert [row["study"] for row in images] == [first["study"], second["study"], second["study"]]
    other, _ = run(tmp_path, "other", identifiers="drop", formats=["jsonl", "text"])
    assert other["study"] != first["study"]
    again = run(tmp_path, identifiers="drop", formats=["jsonl", "text"])
    assert again == [first, second]


def test_formats_and_policies_are_checked_before_any_work(tmp_path, dicom):
    dicom("in/a.dcm")
    for options, message in (
        ({"formats": ["jsonl", "word"]}, "formats=word: expected some of jsonl"),
        ({"formats": ["text"], "identifiers": "drop"}, "at least one of jsonl, parquet, csv"),
        ({"formats": ["jsonl", "text"]}, "CASCADE_IDENTIFIER_KEY"),
        ({"identifiers": "hush"}, "identifiers=hush"),
    ):
        with pytest.raises(InputError, match=message):
            run(tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_pictures_are_written_where_that_is_asked_for(tmp_path, dicom):
    from PIL import Image

    dicom("in/a.dcm", instance="1.1")
    dicom("in/b.dcm", instance="1.2", BodyPartExamined="FOOT")
    (row,) = run(tmp_path, previews=True, image_size=16)
    files = sorted((tmp_path / "out" / "previews").iterdir())
    assert [file.name for file in files] == [f"{row['study']}-{n}.png" for n in (1, 2)]
    assert Image.open(files[0]).size == (16, 16)
    run(tmp_path, "without", image_size=16)
    assert not (tmp_path / "without" / "previews").exists()
