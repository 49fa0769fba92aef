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


def test_label_scores_names_what_is_undefined():
    truth = np.array([[1, 0], [0, 0], [-1, NAN]])
    table = c.label_scores(truth, np.full((3, 2), 0.5), ["opacity", "hernia"])
    assert table.loc["opacity", "auroc"] == 0.5
    assert table[["positives", "negatives"]].to_numpy().tolist() == [[1, 1], [0, 2]]
    assert table["prevalence"].tolist() == [0.5, 0.0]
    assert np.isnan(table.loc["hernia", "auroc"])


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
    assert table.loc["a", ["positives", "negatives", "decided", "hits"]].tolist() == [2, 1, 2, 1]
    assert table["specificity"].tolist() == [0.0, 1.0]
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


# Ranked: 1 at .9, 0 at .8, 1 at .7, 0 at .6, 0 at .5; uncertain and unknown rows say nothing.
RANKED = np.array([1, 0, 1, 0, 0, -1, NAN])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.99, 0.0])


@pytest.mark.parametrize(
    ("point", "threshold"),
    [
        ("best F1", 0.7),  # F1 of 1, 2, 3, 4 called: 2/3, 1/2, 4/5, 2/3
        ("sensitivity 0.95", 0.7),
        ("specificity 0.95", 0.9),
    ],
)
def test_thresholds_by_hand(point, threshold):
    assert c.choose_threshold(RANKED, SCORES, point) == threshold


def test_a_threshold_that_calls_nothing():
    truth, scores = np.array([0.0, 1.0]), np.array([0.9, 0.1])
    assert c.choose_threshold(truth, scores, "specificity 0.95") == np.inf
    assert c.choose_threshold(truth, scores, "sensitivity 0.95") == 0.1


def test_thresholds_that_cannot_be_chosen():
    assert np.isnan(c.choose_threshold(np.ones(3), np.arange(3.0), "best F1"))
    with pytest.raises(ValueError, match="unknown operating point 'youden', expected one of"):
        c.choose_threshold(RANKED, SCORES, "youden")


def test_weighted_decisions_are_copies():
    generator = np.random.default_rng(0)
    truth = generator.choice([1, 0, -1, NAN], size=(40, 2))
    decisions = generator.random((40, 2)) < 0.5
    weights = generator.integers(0, 4, size=(5, 40))
    found = c.weighted_decisions(truth, decisions, weights)
    for row in range(5):
        copies = np.repeat(np.arange(40), weights[row])
        table = c.decision_scores(truth[copies], decisions[copies], ["a", "b"])
        assert found["sensitivity"][row] == pytest.approx(table["recall"].to_numpy())
        for name in ("specificity", "precision", "f1"):
            assert found[name][row] == pytest.approx(table[name].to_numpy())


def test_curves_end_where_they_must():
    recall, precision = c.precision_curve(RANKED, SCORES)
    assert recall[0] == 0
    assert (recall[-1], precision[-1]) == (1, pytest.approx(2 / 5))  # everything called
    assert [len(side) for side in c.precision_curve(np.ones(2), np.ones(2))] == [0, 0]


def test_a_thinned_curve_keeps_its_ends_and_its_order():
    x = np.sort(np.random.default_rng(0).random(1000))
    thin, _ = c.thinned(x, x**2, most=20)
    assert len(thin) <= 20
    assert (thin[0], thin[-1]) == (x[0], x[-1])
    assert (np.diff(thin) > 0).all()
    assert np.diff(thin).max() < 0.12
    assert c.thinned(x[:3], x[:3])[0].tolist() == x[:3].tolist()
