import math

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from cascade.labels.table import Label
from cascade.metrics.classification import auroc
from cascade.models.encoders import create_encoder
from cascade.models.heads import StudyClassifier
from cascade.models.reader import Reader
from cascade.training.calibrate import (
    agreement,
    calibrate,
    cross_fitted,
    fit_calibration,
    operating_points,
)

LOG3 = math.log(3)
NAMES = ["a", "b"]


def drawn(count=400, scale=3.0, seed=0):
    """Scores that say ``scale`` times too much, and labels drawn from what they should say."""
    generator = np.random.default_rng(seed)
    right = generator.normal(-0.5, 1.5, (count, 2))
    labels = (generator.random((count, 2)) < 1 / (1 + np.exp(-right))).astype(float)
    return scale * right, labels


def four():
    """Scores of +-2 log 3, of which three in four are right: the temperature is 2."""
    logits = np.array([2 * LOG3] * 40 + [-2 * LOG3] * 40)[:, None]
    labels = np.array([1.0] * 30 + [0.0] * 10 + [0.0] * 30 + [1.0] * 10)[:, None]
    return logits, labels


def test_the_temperature_by_hand():
    logits, labels = four()
    found = fit_calibration("temperature", logits, labels, ["a"], False)
    assert found.scale.tolist() == pytest.approx([0.5], abs=1e-4)
    assert found(torch.tensor([[2 * LOG3]])).item() == pytest.approx(0.75, abs=1e-4)
    assert found.kept == []


def test_the_temperature_of_exclusive_labels_by_hand():
    logits, labels = four()
    both = np.concatenate([logits, np.zeros_like(logits)], axis=1)
    classes = np.concatenate([labels, 1 - labels], axis=1)
    found = fit_calibration("temperature", both, classes, NAMES, True)
    assert found.scale.tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    # rows without a label, and uncertain ones, do not count
    more = np.concatenate([classes, np.array([[np.nan, np.nan], [-1.0, 0.0]] * 20)])
    wild = np.concatenate([both, np.full((40, 2), 9.0)])
    again = fit_calibration("temperature", wild, more, NAMES, True)
    assert again.scale.tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_platt_is_logistic_regression_on_his_targets():
    logits, labels = drawn()
    found = fit_calibration("platt", logits, labels, NAMES, False)
    for place in range(2):
        z, y = logits[:, place], labels[:, place]
        high, low = (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2)
        target = np.where(y == 1, high, low)
        pairs = np.concatenate([z, z])[:, None], np.r_[np.ones(len(z)), np.zeros(len(z))]
        reference = LogisticRegression(C=1e9, tol=1e-9).fit(*pairs, np.r_[target, 1 - target])
        assert found.scale[place].item() == pytest.approx(reference.coef_[0, 0], rel=1e-3)
        assert found.bias[place].item() == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_platt_of_exclusive_labels_moves_to_the_counts():
    logits, _ = drawn()
    classes = np.zeros_like(logits)
    classes[:300, 0], classes[300:, 1] = 1.0, 1.0  # whatever the scores say
    found = fit_calibration("platt", logits, classes, NAMES, True)
    said = found(torch.from_numpy(logits).float())
    assert said.mean(dim=0).tolist() == pytest.approx([0.75, 0.25], abs=0.01)


def test_isotonic_is_scikit_learns():
    logits, labels = drawn(100)
    found = fit_calibration("isotonic", logits, labels, NAMES, False)
    chance = 1 / (1 + np.exp(-logits[:, 0]))
    reference = IsotonicRegression(out_of_bounds="clip").fit(chance, labels[:, 0])
    new = np.linspace(-9, 9, 61)
    expected = reference.predict(1 / (1 + np.exp(-new)))
    said = found(torch.from_numpy(np.stack([new, new], axis=1)).float())[:, 0]
    assert said.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_the_order_and_so_the_auroc_stays(method):
    logits, labels = drawn()
    found = fit_calibration(method, logits, labels, NAMES, False)
    said = found(torch.from_numpy(logits).double()).numpy()
    for place in range(2):
        before = auroc(labels[:, place], logits[:, place])
        assert auroc(labels[:, place], said[:, place]) == pytest.approx(before, abs=1e-9)


def test_even_a_score_that_ranks_backwards_keeps_its_order():
    logits, labels = drawn()
    found = fit_calibration("platt", -logits, labels, NAMES, False)
    assert (found.scale > 0).all()
    assert (found.scale < 0.06).all()  # as flat as may be


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_a_label_with_too_few_of_a_class_is_left_as_it_is(method):
    logits, labels = drawn()
    labels[:, 1] = 0.0
    labels[:9, 1] = 1.0
    labels[9:60, 1] = -1.0
    found = fit_calibration(method, logits, labels, NAMES, False)
    assert found.kept == ["b"]
    scores = torch.from_numpy(logits).float()
    assert torch.allclose(found(scores)[:, 1], scores[:, 1].sigmoid())
    assert not torch.allclose(found(scores)[:, 0], scores[:, 0].sigmoid(), atol=0.01)
    labels[:, 0] = np.nan
    none = fit_calibration(method, logits, labels, NAMES, False)
    assert none.kept == NAMES
    assert torch.equal(none(scores), scores.sigmoid())


def test_perfect_scores_stay_within_bounds():
    logits, labels = four()
    right = (logits > 0).astype(float)
    for method in ("temperature", "platt"):
        found = fit_calibration(method, logits, right, ["a"], False)
        assert found.scale.item() <= 20.0001
        assert found(torch.tensor([[2.0]])).isfinite().all()


def test_cross_fitting_never_sees_the_patient():
    logits, labels = drawn(60)
    patients = [f"p{row // 6}" for row in range(60)]  # ten patients
    found = cross_fitted("platt", logits, labels, NAMES, False, patients)
    changed = labels.copy()
    changed[:6] = 1 - changed[:6]
    again = cross_fitted("platt", logits, changed, NAMES, False, patients)
    assert torch.equal(found[:6], again[:6])
    assert not torch.equal(found[6:], again[6:])
    assert cross_fitted("platt", logits, labels, NAMES, False, ["p", "q"] * 30) is None


def test_agreement_by_hand():
    truth = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, -1.0], [0.0, np.nan]])
    plain = np.full((4, 2), 0.75)
    found = agreement(truth, plain, np.full((4, 2), 0.5))
    # the second disease is never absent; a constant has one bin: 0.75 against a half
    assert (found.studies, found.error, found.brier) == (4, 0.25, 0.3125)
    assert (found.calibrated_error, found.calibrated_brier) == (0.0, 0.25)
    assert agreement(truth[:, 1:], plain[:, 1:], None).error is None


def test_operating_points_by_hand():
    truth = np.array([[1, 1], [0, 1], [1, 1], [0, -1], [0, np.nan]])
    said = np.array([[0.9, 0.2], [0.6, 0.4], [0.5, 0.9], [0.3, 0.1], [0.1, 0.1]])
    found = operating_points(truth, said, NAMES)
    assert found["a"]["positives"] == 2
    assert found["a"]["negatives"] == 3
    best = {"threshold": 0.5, "sensitivity": 1.0, "specificity": 0.6667, "f1": 0.8, "reason": ""}
    assert found["a"]["best_f1"] == found["a"]["high_sensitivity"] == best
    strict = {"threshold": 0.9, "sensitivity": 0.5, "specificity": 1.0, "f1": 0.6667, "reason": ""}
    assert found["a"]["high_specificity"] == strict
    nothing = {"threshold": None, "reason": "validation has no negative"}
    assert found["b"]["best_f1"] == nothing
    never = operating_points(np.array([[0.0], [1.0]]), np.array([[0.9], [0.2]]), ["a"])
    assert never["a"]["high_specificity"]["reason"].startswith("no score is specific enough")


def test_a_reader_is_calibrated_with_points_of_its_diseases(caplog):
    labels = [Label("a#1", "a"), Label("a#2", "a")]
    reader = Reader(StudyClassifier(create_encoder("tiny", width=4), 2), labels, False)
    logits, truth = (torch.from_numpy(part).float() for part in drawn())
    truth[:, 1] = 0.0
    patients = [str(row) for row in range(400)]
    calibrate(reader, logits, truth, patients, "temperature")
    assert reader.calibration.scale[0].item() == pytest.approx(1 / 3, abs=0.08)
    assert "left as they are" in caplog.text
    assert "a#2" in caplog.text
    assert list(reader.operating_points) == ["a"]  # the larger of the two contexts
    found = reader.calibration.agreement
    assert found.calibrated_error is not None
    assert reader.probabilities(logits).equal(reader.calibration(logits))
    calibrate(reader, logits, truth, patients, "none")
    assert reader.calibration.scale is None
    assert reader.calibration.agreement.calibrated_error is None
    with pytest.raises(ValueError, match="unknown calibration 'beta'"):
        fit_calibration("beta", truth.numpy(), truth.numpy(), NAMES, False)
