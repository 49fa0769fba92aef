"""How well probabilities tell present from absent: AUROC, average precision, decisions.

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
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from cascade.metrics.operating import OPERATING_POINTS, TARGET

MOST_POINTS = 50
"""A curve is drawn through at most so many of its points; its area is taken over all of them."""


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


def curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of the ROC curve; both empty where AUROC is undefined."""
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return np.empty(0), np.empty(0)
    false_rate, true_rate, _ = roc_curve(truth[rows], scores[rows])
    return false_rate, true_rate


def precision_curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall, rising, and precision of the PR curve; both empty where AP is undefined."""
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return np.empty(0), np.empty(0)
    precision, recall, _ = precision_recall_curve(truth[rows], scores[rows], drop_intermediate=True)
    return recall[::-1], precision[::-1]


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` points of a curve, evenly along it, its ends among them.

    >>> thinned(np.arange(5.0), np.zeros(5), most=3)[0]
    array([0., 2., 4.])
    """
    if len(x) <= most:
        return x, y
    length = np.r_[0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    chosen = np.searchsorted(length, np.linspace(0, length[-1], most) - 1e-12)
    chosen = np.unique(np.r_[0, np.clip(chosen, 0, len(x) - 1), len(x) - 1])
    return x[chosen], y[chosen]


def choose_threshold(truth: np.ndarray, scores: np.ndarray, point: str) -> float:
    """The threshold of an operating point: present is what scores at least as much.

    Of equal ones the higher. It is one of the scores, or infinity where nothing may be called: the
    highest scores are of negatives, and more of them than the specificity allows.

    Args:
        truth: ``(N,)`` of the validation rows.
        scores: ``(N,)``.
        point: a name of ``OPERATING_POINTS``.

    Returns:
        NaN where the known rows hold only one class.

    Raises:
        ValueError: unknown point.

    >>> choose_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.4, 0.1]), "best F1")
    0.4
    """
    if point not in OPERATING_POINTS:
        raise ValueError(
            f"unknown operating point {point!r}, expected one of {list(OPERATING_POINTS)}"
        )
    rows = known(truth)
    if len(np.unique(truth[rows])) < 2:
        return float("nan")
    false_rate, true_rate, thresholds = roc_curve(
        truth[rows], scores[rows], drop_intermediate=False
    )
    positives = (truth == 1).sum()
    hits, alarms = true_rate * positives, false_rate * (truth == 0).sum()
    if point == "best F1":
        score = 2 * hits / (positives + hits + alarms)
    elif point == "sensitivity 0.95":
        score = np.where(true_rate >= TARGET - 1e-12, 1 - false_rate, -1)
    else:
        score = np.where(1 - false_rate >= TARGET - 1e-12, true_rate, -1)
    return float(thresholds[int(np.argmax(score > score.max() - 1e-12))])


def threshold_reason(threshold: float, positives: int, negatives: int) -> str:
    """Why nothing can be called at a threshold of ``choose_threshold``; empty where it can.

    >>> threshold_reason(float("nan"), 0, 3)
    'validation has no positive'
    """
    if np.isnan(threshold):
        lacking = "negative" if positives else "positive"
        return f"validation has no {lacking}"
    return "no score is specific enough on validation: none called" if np.isinf(threshold) else ""


def label_scores(
    truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    """Scores of each label, one row a label.

    Shape:
        - truth, probabilities: ``(N, K)``, K names

    Returns:
        Index ``label``; columns positives, negatives, prevalence (share of positives, which is
        what a scorer that knows nothing gets as average precision), auroc, average_precision; NaN
        where undefined.

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
        positives, negatives = int((true == 1).sum()), int((true == 0).sum())
        total = positives + negatives
        rows.append(
            {
                "positives": positives,
                "negatives": negatives,
                "prevalence": positives / total if total else float("nan"),
                "auroc": auroc(true, said),
                "average_precision": average_precision(true, said),
            }
        )
    columns = ["positives", "negatives", "prevalence", "auroc", "average_precision"]
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
    """What yes/no decisions get, one row a label; unknown truth is left out.

    Precision is NaN where nothing was decided present, recall (sensitivity) where nothing is,
    specificity where nothing is absent; F1 is 2 TP / (positives + decided), NaN where both are
    none.

    Shape:
        - truth, decisions: ``(N, K)``, K names

    Returns:
        Index ``label``; columns positives, negatives, decided, hits, precision, recall,
        specificity, f1.

    Raises:
        ValueError: the shapes differ.
    """
    truth, decisions = np.asarray(truth, dtype=float), np.asarray(decisions).astype(bool)
    if truth.shape != decisions.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise ValueError(
            f"truth {truth.shape}, decisions {decisions.shape} and {len(names)} names differ"
        )
    found = weighted_decisions(truth, decisions, np.ones((1, len(truth))))
    return pd.DataFrame(
        {
            "positives": (truth == 1).sum(axis=0),
            "negatives": (truth == 0).sum(axis=0),
            "decided": (decisions & known(truth)).sum(axis=0),
            "hits": ((truth == 1) & decisions).sum(axis=0),
            "precision": found["precision"][0],
            "recall": found["sensitivity"][0],
            "specificity": found["specificity"][0],
            "f1": found["f1"][0],
        },
        index=pd.Index(list(names), name="label"),
    )


def weighted_decisions(
    truth: np.ndarray, decisions: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, precision and F1 of decisions under each row of weights.

    Shape:
        - truth: ``(N, K)``; decisions: ``(N, K)`` bool; weights: ``(R, N)``
        - each output: ``(R, K)``, NaN where undefined
    """
    positive, negative = truth == 1, truth == 0
    hits = weights @ (positive & decisions).astype(float)
    alarms = weights @ (negative & decisions).astype(float)
    positives, negatives = weights @ positive.astype(float), weights @ negative.astype(float)
    return {
        "sensitivity": ratio(hits, positives),
        "specificity": ratio(negatives - alarms, negatives),
        "precision": ratio(hits, hits + alarms),
        "f1": ratio(2 * hits, positives + hits + alarms),
    }


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
