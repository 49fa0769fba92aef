"""Detection scores: unknown is not negative, undefined is named, resampling agrees with copying."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cascade.metrics import classification as c

NAN = float("nan")


def test_auroc_by_hand_leaves_out_uncertain_and_unknown():
    truth = np.array([1, 1, 0, 0, -1, NAN])
    scores = np.array([0.9, 0.4, 0.4, 0.1, 0.0, 1.0])
    # Pairs: (.9, .4) 1, (.9, .1) 1, (.4, .4) a half, (.4, .1) 1.
    assert c.auroc(truth, scores) == pytest.approx(3.5 / 4)


def test_average_precision_by_hand():
    # Ranked: 1, 0, 1: precision 1 at the first positive, 2/3 at the second.
    assert c.average_precision(np.array([1, 0, 1.0]), np.array([0.9, 0.5, 0.2])) == (
        pytest.approx((1 + 2 / 3) / 2)
    )


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 0, -1], [NAN, NAN, NAN]])
def test_a_single_class_is_undefined(truth):
    truth, scores = np.array(truth, dtype=float), np.array([0.1, 0.5, 0.9])
    assert np.isnan(c.auroc(truth, scores))
    assert np.isnan(c.average_precision(truth, scores))
    assert np.isnan(c.weighted_auroc(truth, scores, np.ones((1, 3)))).all()
    assert np.isnan(c.weighted_average_precision(truth, scores, np.ones((1, 3)))).all()
    assert [len(side) for side in c.curve(truth, scores)] == [0, 0]


def test_macro_says_over_how_many_labels():
    assert c.macro([0.5, NAN, 0.7]) == (pytest.approx(0.6), 2)
    mean, count = c.macro([NAN])
    assert np.isnan(mean)
    assert count == 0


def test_brier_and_calibration_by_hand():
    truth, said = np.array([1, 0, 1, -1]), np.array([0.85, 0.85, 0.25, 0.0])
    assert c.brier(truth, said) == pytest.approx((0.15**2 + 0.85**2 + 0.75**2) / 3)
    # Bin 8 holds two rows: mean .85 against .5; bin 2 one: .25 against 1.
    assert c.calibration_error(truth, said) == pytest.approx((2 * 0.35 + 0.75) / 3)


def test_calibration_takes_a_probability_of_one():
    assert c.calibration_error(np.array([1.0]), np.array([1.0])) == 0.0


def test_label_scores_names_what_is_undefined():
    truth = np.array([[1, 0], [0, 0], [-1, NAN]])
    table = c.label_scores(truth, np.full((3, 2), 0.5), ["opacity", "hernia"])
    assert table.loc["opacity", "auroc"] == 0.5
    assert table[["positives", "negatives"]].to_numpy().tolist() == [[1, 1], [0, 2]]
    assert np.isnan(table.loc["hernia", "auroc"])
    assert table.loc["hernia", "brier"] == 0.25


def test_label_scores_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="outside 0 to 1"):
        c.label_scores(np.zeros((1, 1)), np.array([[1.5]]), ["a"])
    with pytest.raises(ValueError, match="outside 0 to 1"):
        c.label_scores(np.zeros((1, 1)), np.array([[NAN]]), ["a"])
    with pytest.raises(ValueError, match="2 names"):
        c.label_scores(np.zeros((1, 1)), np.zeros((1, 1)), ["a", "b"])


def test_decisions_by_hand():
    truth = np.array([[1, 0], [1, 0], [0, 0], [-1, NAN]])
    decisions = np.array([[1, 0], [0, 0], [1, 0], [1, 1]])
    table = c.decision_scores(truth, decisions, ["a", "b"])
    assert table.loc["a", ["precision", "recall", "f1"]].tolist() == [0.5, 0.5, 0.5]
    assert table.loc["b", ["precision", "recall", "f1"]].isna().all()
    with pytest.raises(ValueError, match="names differ"):
        c.decision_scores(truth, decisions, ["a"])


def test_weights_are_copies():
    generator = np.random.default_rng(0)
    truth = generator.choice([1, 0, -1, NAN], size=60)
    scores = generator.integers(8, size=60) / 8  # many ties
    weights = generator.integers(0, 4, size=(20, 60))
    areas = c.weighted_auroc(truth, scores, weights)
    precisions = c.weighted_average_precision(truth, scores, weights)
    for row, (area, precision) in enumerate(zip(areas, precisions, strict=True)):
        copies = np.repeat(np.arange(60), weights[row])
        copies = copies[np.isin(truth[copies], (0, 1))]
        assert area == pytest.approx(roc_auc_score(truth[copies], scores[copies]))
        assert precision == pytest.approx(average_precision_score(truth[copies], scores[copies]))
