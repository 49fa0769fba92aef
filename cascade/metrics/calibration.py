"""Whether a probability means what it says: Brier score, calibration error, reliability curve.

Bins are of equal mass: as many studies in each, so far as equal probabilities allow. Bins of equal
width would put nearly every study of a rare disease into the first one and say little of the rest.
A probability that several studies share is never cut in two, so a constant scorer has one bin.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cascade.metrics.classification import known, ratio

BINS = 10


def bin_of(probabilities: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The equal-mass bin of each probability, lowest first and none of them empty, ``(N,)``.

    Cuts lie at the quantiles, as in scikit-learn's ``calibration_curve(strategy="quantile")``.

    >>> bin_of(np.array([0.1, 0.9, 0.2, 0.8]), bins=2)
    array([0, 1, 0, 1])
    >>> bin_of(np.array([0.3, 0.3, 0.3]), bins=2)
    array([0, 0, 0])
    """
    if not len(probabilities):
        return np.empty(0, dtype=int)
    cuts = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(cuts, probabilities)
    return np.asarray(np.unique(place, return_inverse=True)[1].reshape(-1))


def brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared difference of probability and truth over known rows, in [0, 1], 0 is best.

    A scorer that gives everyone the share of positives p gets p (1 - p) (Brier 1950).
    """
    weights = np.ones((1, len(truth)))
    return float(weighted_brier(truth, probabilities, weights)[0])


def weighted_brier(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The Brier score under each row of weights; NaN where no known row has any.

    Shape:
        - truth, probabilities: ``(N,)``; weights: ``(R, N)``
        - output: ``(R,)``
    """
    rows = known(truth)
    part = weights[:, rows]
    error = (probabilities[rows] - truth[rows]) ** 2
    return ratio(part @ error, part.sum(axis=1))


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1], 0 is best; NaN where nothing is known.

    The mean over rows of |mean probability - share of positives| of the row's equal-mass bin
    (Nixon et al. 2019, of the probability of being present). Chance alone lifts it above 0: more so
    the fewer studies there are.
    """
    weights = np.ones((1, len(truth)))
    return float(weighted_calibration_error(truth, probabilities, weights, bins)[0])


def weighted_calibration_error(
    truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """The calibration error under each row of weights, in the bins of the unweighted rows.

    Shape:
        - truth, probabilities: ``(N,)``; weights: ``(R, N)``
        - output: ``(R,)``
    """
    rows = known(truth)
    place = bin_of(probabilities[rows], bins)
    member = place[:, None] == np.arange(place.max(initial=-1) + 1)
    gap = weights[:, rows] @ (member * (probabilities[rows] - truth[rows])[:, None])
    return ratio(np.abs(gap).sum(axis=1), weights[:, rows].sum(axis=1))


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """The points of a reliability curve, one row an equal-mass bin, lowest first.

    Returns:
        Columns bin (from 1), studies, lowest, highest, probability (their mean), share (of
        positives). A calibrated scorer has share = probability.
    """
    rows = known(truth)
    said = probabilities[rows]
    table = pd.DataFrame({"bin": bin_of(said, bins) + 1, "said": said, "true": truth[rows]})
    return table.groupby("bin", as_index=False).agg(
        studies=("said", "size"),
        lowest=("said", "min"),
        highest=("said", "max"),
        probability=("said", "mean"),
        share=("true", "mean"),
    )


def weighted_shares(
    truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """Share of positives in each bin of ``reliability`` under each row of weights.

    Shape:
        - truth, probabilities: ``(N,)``; weights: ``(R, N)``
        - output: ``(R, bins)``, fewer columns where probabilities are equal; NaN for no weight
    """
    rows = known(truth)
    place = bin_of(probabilities[rows], bins)
    member = (place[:, None] == np.arange(place.max(initial=-1) + 1)).astype(float)
    part = weights[:, rows]
    return ratio(part @ (member * truth[rows][:, None]), part @ member)
