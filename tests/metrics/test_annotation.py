"""Diseases and slots of annotations, by hand."""

import math

import numpy as np
import pytest

from cascade.metrics import annotation

REFERENCES = ["normal", "normal", "opacity/lung/base/left; cardiomegaly/mild", "opacity/right"]
HYPOTHESES = ["normal", "nodule", "opacity/lung/base/right/mild", ""]


def test_disease_scores_by_hand():
    table = annotation.disease_scores(annotation.disease_matrix(HYPOTHESES, REFERENCES))
    assert table.index.tolist() == ["normal", "opacity", "cardiomegaly", "nodule"]
    assert table["support"].tolist() == [2, 2, 1, 0]
    assert table["written"].tolist() == [1, 1, 0, 1]
    assert table["hits"].tolist() == [1, 1, 0, 0]
    assert table["recall"].tolist()[:3] == [0.5, 0.5, 0.0]
    assert math.isnan(table.loc["nodule", "recall"])
    assert math.isnan(table.loc["cardiomegaly", "precision"])
    assert table["f1"].tolist() == pytest.approx([2 / 3, 2 / 3, 0, 0])


def test_summary_by_hand():
    figures = annotation.disease_summary(HYPOTHESES, REFERENCES)
    assert figures["micro_precision"] == pytest.approx(2 / 3)
    assert figures["micro_recall"] == pytest.approx(2 / 5)
    assert figures["micro_f1"] == pytest.approx(4 / 8)
    # Macro over normal, opacity, cardiomegaly: nodule has no support.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert figures["macro_precision"] == pytest.approx((1 + 1 + 0) / 3)
    # Without normal: opacity 1 of 2, cardiomegaly 0 of 1, nodule once in vain.
    assert figures["micro_f1_abnormal"] == pytest.approx(2 * 1 / (3 + 2))
    assert figures["macro_recall_abnormal"] == pytest.approx((0.5 + 0) / 2)


def test_always_normal_finds_nothing_abnormal():
    figures = annotation.disease_summary(["normal"] * 4, REFERENCES)
    assert figures["micro_recall"] == pytest.approx(2 / 5)
    assert figures["micro_f1_abnormal"] == 0
    assert figures["macro_f1_abnormal"] == 0
    assert math.isnan(figures["micro_precision_abnormal"])


def test_only_normal_references_leave_abnormal_undefined():
    figures = annotation.disease_summary(["normal"], ["normal"])
    assert figures["macro_f1"] == 1
    assert math.isnan(figures["macro_f1_abnormal"])


def test_summarise_takes_resamples():
    counts = np.array([[2, 1], [0, 1]])
    figures = annotation.summarise(counts, counts, counts, np.array([True, True]))
    assert figures["macro_f1"].tolist() == [1.0, 1.0]


def test_a_disease_named_twice_counts_once():
    table = annotation.disease_scores(
        annotation.disease_matrix(["opacity/left; opacity/right"], ["opacity/left"])
    )
    assert table.loc["opacity", ["support", "written", "hits"]].tolist() == [1, 1, 1]


def test_slots_by_hand():
    table = annotation.slot_scores(HYPOTHESES, REFERENCES)
    # Only opacity of row 3 is named by both: same place, other side, a severity too many.
    assert table["compared"].tolist() == [1, 1, 1]
    assert table["right"].tolist() == [1, 0, 0]
    assert table["stated"].tolist() == [1, 1, 0]
    assert table.loc["location", "stated_accuracy"] == 1.0
    assert math.isnan(table.loc["severity", "stated_accuracy"])


def test_slots_of_nothing_in_common():
    table = annotation.slot_scores(["normal"], ["normal"])
    assert table["compared"].tolist() == [0, 0, 0]
    assert table["accuracy"].isna().all()


def test_lists_of_different_length_are_refused():
    for score in (annotation.disease_matrix, annotation.slot_scores):
        with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
            score(["normal"], ["normal", "normal"])
