"""Calibration by hand, against scikit-learn, and resampling against copying."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cascade.metrics import calibration as c

NAN = float("nan")
TRUTH = np.array([1, 0, 1, 0, -1, NAN])
SAID = np.array([0.9, 0.6, 0.4, 0.1, 0.0, 1.0])


def test_brier_by_hand_leaves_out_uncertain_and_unknown():
    assert c.brier(TRUTH, SAID) == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert np.isnan(c.brier(np.array([NAN]), np.array([0.5])))


def test_calibration_error_by_hand():
    # Two bins of two: (.1, .4) mean .25 against a share of .5; (.6, .9) .75 against .5.
    assert c.calibration_error(TRUTH, SAID, bins=2) == pytest.approx(0.25)
    assert c.calibration_error(np.array([1.0]), np.array([1.0])) == 0.0
    assert np.isnan(c.calibration_error(np.array([-1.0]), np.array([0.5])))


def test_equal_probabilities_share_a_bin():
    truth = np.array([1.0] * 3 + [0.0] * 7)
    table = c.reliability(truth, np.full(10, 0.3))
    assert len(table) == 1
    assert table.loc[0, ["studies", "probability", "share"]].tolist() == pytest.approx(
        [10, 0.3, 0.3]
    )
    assert c.calibration_error(truth, np.full(10, 0.3)) == pytest.approx(0, abs=1e-12)


def test_reliability_by_hand():
    table = c.reliability(TRUTH, SAID, bins=2)
    assert table["bin"].tolist() == [1, 2]
    assert table["studies"].tolist() == [2, 2]
    assert table["lowest"].tolist() == [0.1, 0.6]
    assert table["highest"].tolist() == [0.4, 0.9]
    assert table["probability"].tolist() == pytest.approx([0.25, 0.75])
    assert table["share"].tolist() == [0.5, 0.5]
    assert c.reliability(np.array([NAN]), np.array([0.5])).empty


def test_curve_and_score_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200).astype(float)
    said = np.round(generator.random(200), 2)
    share, probability = calibration_curve(truth, said, n_bins=10, strategy="quantile")
    table = c.reliability(truth, said)
    assert table["share"].to_numpy() == pytest.approx(share)
    assert table["probability"].to_numpy() == pytest.approx(probability)
    gaps = (table["share"] - table["probability"]).abs()
    assert c.calibration_error(truth, said) == pytest.approx(gaps @ table["studies"] / 200)
    assert c.brier(truth, said) == pytest.approx(brier_score_loss(truth, said))


def test_weights_are_copies_in_the_same_bins():
    generator = np.random.default_rng(1)
    truth = generator.choice([1, 0, -1, NAN], size=60)
    said = generator.integers(8, size=60) / 8
    weights = generator.integers(0, 4, size=(5, 60))
    scores = c.weighted_brier(truth, said, weights)
    shares = c.weighted_shares(truth, said, weights, bins=4)
    errors = c.weighted_calibration_error(truth, said, weights, bins=4)
    known = np.isin(truth, (0, 1))
    place = np.full(60, -1)
    place[known] = c.bin_of(said[known], 4)
    for row in range(5):
        copies = np.repeat(np.arange(60), weights[row])
        copies = copies[known[copies]]
        assert scores[row] == pytest.approx(c.brier(truth[copies], said[copies]))
        total = 0.0
        for each in range(place.max() + 1):
            members = copies[place[copies] == each]
            assert shares[row, each] == pytest.approx(truth[members].mean())
            total += abs((said[members] - truth[members]).sum())
        assert errors[row] == pytest.approx(total / len(copies))
