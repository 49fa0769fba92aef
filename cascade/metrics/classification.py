"""How well probabilities tell present from absent: AUROC, average precision, calibration.

Truth is 1 present, 0 absent, -1 uncertain, NaN unknown; only 1 and 0 are scored. A label without a
positive or without a negative has no AUROC: it is NaN, it is named, and a mean says over how many
labels it was taken.

The two ranking scores also take weights, one row of weights a resample, which makes a bootstrap of
a thousand resamples a few array operations (``weighted_auroc``, ``weighted_average_precision``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

CALIBRATION_BINS = 10


def known(truth: np.ndarray) -> np.ndarray:
    """Where truth is 1 or 0: neither uncertain (-1) nor unknown (NaN)."""
    return np.isin(truth, (0, 1))


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve in [0, 1]: a positive outranks a negative, ties count a half.

    NaN where the known rows hold only one class.

    >>> auroc(np.array([1, 0, 0, -1]), np.array([0.6, 0.2, 0.6, 0.9]))
    0.75
    """
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return float("nan")
    return float(roc_auc_score(truth[rows], scores[rows]))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Average precision in [0, 1] (scikit-learn's step sum); NaN without a positive or negative.

    A scorer that knows nothing gets the share of positives.
    """
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return float("nan")
    return float(average_precision_score(truth[rows], scores[rows]))


def brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared difference of probability and truth over known rows, in [0, 1], 0 is best."""
    rows = known(truth)
    if not rows.any():
        return float("nan")
    return float(np.mean((probabilities[rows] - truth[rows]) ** 2))


def calibration_error(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error in [0, 1], 0 is best.

    The mean over rows of |mean probability - share of positives| of the row's bin, in ``bins``
    equal steps of [0, 1] (Naeini et al. 2015, of the probability of being present).
    """
    rows = known(truth)
    if not rows.any():
        return float("nan")
    said, true = probabilities[rows], truth[rows]
    place = np.clip((said * bins).astype(int), 0, bins - 1)
    gap = np.bincount(place, weights=said - true, minlength=bins)
    return float(np.abs(gap).sum() / len(said))


def curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of the ROC curve; both empty where AUROC is undefined."""
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return np.empty(0), np.empty(0)
    false_rate, true_rate, _ = roc_curve(truth[rows], scores[rows])
    return false_rate, true_rate


def label_scores(
    truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    """Scores of each label, one row a label.

    Shape:
        - truth, probabilities: ``(N, K)``, K names

    Returns:
        Index ``label``; columns positives, negatives, auroc, average_precision, brier,
        calibration_error; NaN where undefined.

    Raises:
        ValueError: the shapes differ, or a probability is not a number in [0, 1].
    """
    truth, probabilities = np.asarray(truth, dtype=float), np.asarray(probabilities, dtype=float)
    if truth.shape != probabilities.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise ValueError(
            f"truth {truth.shape}, probabilities {probabilities.shape}, {len(names)} names"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is missing or outside 0 to 1")
    rows = []
    for place in range(len(names)):
        true, said = truth[:, place], probabilities[:, place]
        rows.append(
            {
                "positives": int((true == 1).sum()),
                "negatives": int((true == 0).sum()),
                "auroc": auroc(true, said),
                "average_precision": average_precision(true, said),
                "brier": brier(true, said),
                "calibration_error": calibration_error(true, said),
            }
        )
    columns = list(rows[0]) if rows else ["positives", "negatives", "auroc"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(list(names), name="label"))


def macro(values: Sequence[float] | np.ndarray | pd.Series) -> tuple[float, int]:
    """Mean over the labels that have a value, and how many have one; NaN and 0 where none has.

    >>> macro([0.5, float("nan"), 1.0])
    (0.75, 2)
    """
    array = np.asarray(values, dtype=float)
    defined = array[~np.isnan(array)]
    return (float(defined.mean()) if len(defined) else float("nan")), len(defined)


def decision_scores(truth: np.ndarray, decisions: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of yes/no decisions, one row a label; unknown truth is left out.

    Precision is NaN where nothing was decided present, recall where nothing is; F1 is
    2 TP / (positives + decided), NaN where both are none.

    Shape:
        - truth, decisions: ``(N, K)``, K names

    Raises:
        ValueError: the shapes differ.
    """
    truth, decisions = np.asarray(truth, dtype=float), np.asarray(decisions).astype(bool)
    if truth.shape != decisions.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise ValueError(
            f"truth {truth.shape}, decisions {decisions.shape} and {len(names)} names differ"
        )
    scored = known(truth)
    hits = ((truth == 1) & decisions).sum(axis=0)
    positives = (truth == 1).sum(axis=0)
    decided = (decisions & scored).sum(axis=0)
    return pd.DataFrame(
        {
            "positives": positives,
            "decided": decided,
            "hits": hits,
            "precision": ratio(hits, decided),
            "recall": ratio(hits, positives),
            "f1": ratio(2 * hits, positives + decided),
        },
        index=pd.Index(list(names), name="label"),
    )


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, NaN where ``below`` is 0."""
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


def _grouped(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Summed weights of positives and negatives at each distinct score, lowest first: (R, G)."""
    rows = np.flatnonzero(known(truth))
    order = rows[np.argsort(scores[rows], kind="stable")]
    if not len(order):
        nothing = np.zeros((len(weights), 0))
        return nothing, nothing
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sorted_weights = np.asarray(weights[:, order], dtype=np.float64)
    positive = truth[order] == 1
    return (
        np.add.reduceat(sorted_weights * positive, starts, axis=1),
        np.add.reduceat(sorted_weights * ~positive, starts, axis=1),
    )


def weighted_auroc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC under each row of weights; NaN where a class has no weight.

    Shape:
        - truth, scores: ``(N,)``; weights: ``(R, N)``, how often each row was drawn
        - output: ``(R,)``
    """
    positive, negative = _grouped(truth, scores, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return ratio((positive * below).sum(axis=1), pairs)


def weighted_average_precision(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Average precision under each row of weights; NaN where a class has no weight.

    Shape:
        - truth, scores: ``(N,)``; weights: ``(R, N)``
        - output: ``(R,)``
    """
    positive, negative = (side[:, ::-1] for side in _grouped(truth, scores, weights))
    hits = np.cumsum(positive, axis=1)
    called = hits + np.cumsum(negative, axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    total = positive.sum(axis=1)
    defined = np.where(negative.sum(axis=1) > 0, total, 0)
    return ratio((positive * precision).sum(axis=1), defined)
