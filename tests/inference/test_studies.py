"""Which images are read together, and what stands in the row of the study."""

import numpy as np
import pytest

from cascade.inference.archive import annotate_archive
from cascade.inference.prediction import Prediction
from cascade.inference.rows import COLUMNS
from cascade.inference.tables import read_table


class Fused:
    """Says how bright a study is; remembers how many images each call had."""

    model_id, version = "fused", "1"

    contradictions = ()

    def __init__(self, views=1, doubt_above=2.0, confidence=0.75, abstain_below=None):
        self.views, self.doubt_above, self.confidence = views, doubt_above, confidence
        self.abstain_below = abstain_below
        self.studies = []
        self.asked = []

    def predict(self, images, indications=None):
        return [self._one(float(image.mean())) for image in images]

    def predict_studies(self, studies, indications=None):
        self.studies += [[round(float(image.mean()), 2) for image in images] for images in studies]
        self.asked.append(indications)
        return [self._one(float(np.mean([i.mean() for i in images]))) for images in studies]

    def _one(self, mean):
        doubts = ("too bright",) if mean > self.doubt_above else ()
        return Prediction(
            "opacity",
            "Seen.",
            self.confidence,
            {"opacity": mean},
            doubts,
            contradictions=self.contradictions,
        )


def run(tmp_path, predictor, **options):
    annotate_archive(tmp_path / "in", predictor, tmp_path / "out", **options)
    return read_table(tmp_path / "out", "studies")


def test_two_frontal_views_are_read_together(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", bright=1)
    dicom("in/b.dcm", instance="1.2", bright=3)
    predictor = Fused()
    (row,) = run(tmp_path, predictor)
    assert predictor.studies == [[0.25, 0.75]]
    assert tuple(row) == tuple(COLUMNS["studies"])
    assert (row["status"], row["annotation"], row["abstained"]) == ("draft", "opacity", None)
    assert row["probabilities"] == {"opacity": 0.5}
    assert row["images"] == row["read"] == ["a.dcm", "b.dcm"]
    assert row["views"] == ["frontal", "frontal"]
    assert (row["notes"], row["contradictions"], row["doubts"]) == ([], [], [])


def test_a_study_of_one_image_needs_no_second_reading(tmp_path, dicom):
    dicom("in/a.dcm")
    predictor = Fused()
    (row,) = run(tmp_path, predictor)
    assert predictor.studies == []
    assert (row["probabilities"], row["read"]) == ({"opacity": 0.25}, ["a.dcm"])


def test_a_lateral_view_is_for_models_that_learned_from_several(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", ViewPosition="LL")
    dicom("in/b.dcm", instance="1.2", bright=3)
    single, several = Fused(views=1), Fused(views=2)
    (row,) = run(tmp_path, single)
    assert (single.studies, row["read"]) == ([], ["b.dcm"])
    assert row["notes"] == ["1 of 2 images doubtful: left out"]
    assert read_table(tmp_path / "out", "images")[0]["doubts"] == [
        "a lateral view by its header: the model was trained on frontal views alone"
    ]
    annotate_archive(tmp_path / "in", several, tmp_path / "both")
    (row,) = read_table(tmp_path / "both", "studies")
    assert several.studies == [[0.75, 0.25]]  # the frontal view first
    assert row["read"] == ["b.dcm", "a.dcm"]
    assert row["views"] == ["lateral", "frontal"]


def test_the_row_of_the_study_has_the_contradictions_of_its_draft(tmp_path, dicom):
    dicom("in/a.dcm")
    predictor = Fused()
    predictor.contradictions = ("opacity: odd",)
    (row,) = run(tmp_path, predictor)
    assert row["contradictions"] == ["opacity: odd"]
    assert "contradictions" not in read_table(tmp_path / "out", "images")[0]
    predictor.doubt_above = 0.0  # a doubtful study has no draft to contradict
    annotate_archive(tmp_path / "in", predictor, tmp_path / "again")
    (row,) = read_table(tmp_path / "again", "studies")
    assert (row["status"], row["contradictions"]) == ("doubtful", [])


@pytest.mark.parametrize(("views", "most"), [(1, 4), (2, 2), (3, 3)])
def test_so_many_views_and_no_more(tmp_path, dicom, views, most):
    for number in range(6):
        dicom(f"in/{number}.dcm", instance=f"1.{number}", bright=1 + 2 * (number % 2))
    predictor = Fused(views=views)
    (row,) = run(tmp_path, predictor, batch_size=2)
    assert [len(study) for study in predictor.studies] == [most]
    assert row["read"] == [f"{number}.dcm" for number in range(most)]
    assert len(row["images"]) == 6


def test_a_duplicate_is_no_second_view(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1")
    dicom("in/b.dcm", instance="1.1")
    predictor = Fused()
    (row,) = run(tmp_path, predictor)
    assert (predictor.studies, row["read"], row["images"]) == ([], ["a.dcm"], ["a.dcm", "b.dcm"])


def test_a_study_whose_images_all_came_before(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1")
    dicom("in/b.dcm", instance="1.1", StudyInstanceUID="1.9")
    first, second = run(tmp_path, Fused())
    assert (first["status"], second["status"]) == ("draft", "duplicate")
    assert second["reason"] == "every image came before, in another study"
    assert first["study"] != second["study"]


def test_a_failed_image_of_a_study_is_left_out(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", PixelData=b"\0\0")
    dicom("in/b.dcm", instance="1.2")
    (row,) = run(tmp_path, Fused())
    assert (row["status"], row["read"]) == ("draft", ["b.dcm"])
    assert row["views"] == [None, "frontal"]
    assert row["notes"] == ["1 of 2 images failed: left out"]


def test_a_study_that_cannot_be_read(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", PixelData=b"\0\0")
    (tmp_path / "in" / "z.dcm").write_bytes(b"")
    first, second = run(tmp_path, Fused())
    assert (first["status"], first["read"], first["probabilities"]) == ("failed", [], None)
    assert first["reason"] == read_table(tmp_path / "out", "images")[0]["reason"]
    assert (second["study"], second["reason"]) == (None, "the file is empty")


def test_a_study_of_doubtful_images_alone(tmp_path, dicom):
    dicom("in/a.dcm", instance="1.1", bright=3, BodyPartExamined="FOOT")
    dicom("in/b.dcm", instance="1.2", bright=1, BodyPartExamined="FOOT")
    (row,) = run(tmp_path, Fused(doubt_above=0.5))
    assert (row["status"], row["annotation"], row["read"]) == ("doubtful", None, [])
    assert row["probabilities"] == {"opacity": 0.75}  # of its first image
    assert len(row["doubts"]) == 2
    assert row["doubts"][1] == "too bright"


def test_images_of_a_study_lie_wherever_they_like(tmp_path, dicom):
    dicom("in/x/1.dcm", instance="1.1", StudyInstanceUID="1.7", SeriesInstanceUID="1.7.1")
    dicom("in/y/2.dcm", instance="1.2", StudyInstanceUID="1.8")
    dicom("in/z/3.dcm", instance="1.3", StudyInstanceUID="1.7", SeriesInstanceUID="1.7.2")
    rows = run(tmp_path, Fused(), batch_size=1)
    assert [row["images"] for row in rows] == [["x/1.dcm", "z/3.dcm"], ["y/2.dcm"]]
    images = read_table(tmp_path / "out", "images")
    assert [row["path"] for row in images] == ["x/1.dcm", "z/3.dcm", "y/2.dcm"]
    assert images[0]["series"] != images[1]["series"] is not None
    assert images[2]["series"] is None


def test_a_draft_of_little_confidence_is_withheld(tmp_path, dicom):
    dicom("in/a.dcm")
    (row,) = run(tmp_path, Fused(confidence=0.25), abstain_below=0.5)
    assert (row["status"], row["annotation"], row["sentences"]) == ("needs_reader", None, None)
    assert row["abstained"] == "the confidence 0.250 is below 0.500"
    assert row["probabilities"] == {"opacity": 0.25}
    annotate_archive(tmp_path / "in", Fused(0.5), tmp_path / "at", abstain_below=0.5)
    assert read_table(tmp_path / "at", "studies")[0]["status"] == "draft"


def test_a_studys_indication_is_the_first_of_its_images(tmp_path, dicom):
    for number in range(3):
        dicom(f"in/{number}.dcm", instance=f"1.{number}")
    predictor = Fused()
    run(tmp_path, predictor, indications={"1.dcm": "cough", "2.dcm": "fever"})
    assert predictor.asked == [["cough"]]


def test_a_study_that_the_network_cannot_read_together(tmp_path, dicom):
    class Single(Fused):
        def predict_studies(self, studies, indications=None):
            raise RuntimeError("views")

    dicom("in/a.dcm", instance="1.1")
    dicom("in/b.dcm", instance="1.2")
    (row,) = run(tmp_path, Single())
    assert (row["status"], row["reason"]) == ("failed", "RuntimeError: views")
    assert [row["status"] for row in read_table(tmp_path / "out", "images")] == ["draft"] * 2


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_rows_do_not_depend_on_the_batch(tmp_path, dicom, batch_size):
    for number in range(7):
        dicom(f"in/{number}.dcm", instance=f"1.{number}", StudyInstanceUID=f"1.{number // 2}")
    (tmp_path / "in" / "0b.dcm").write_bytes(b"")
    rows = run(tmp_path, Fused(), batch_size=batch_size)
    assert [row["images"][0] for row in rows] == ["0.dcm", "0b.dcm", "2.dcm", "4.dcm", "6.dcm"]
    assert [len(row["read"]) for row in rows] == [2, 0, 2, 2, 1]
