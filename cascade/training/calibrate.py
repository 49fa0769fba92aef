"""What is chosen on validation once the best epoch is loaded: calibration and operating points.

The network is left as it is. Everything here comes from validation studies alone, and how well a
calibration does is told of studies that it was not fitted on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold
from torch import Tensor

from cascade.data.datasets import StudyDataset
from cascade.data.transforms import to_unit
from cascade.metrics.calibration import brier, calibration_error
from cascade.metrics.classification import (
    choose_threshold,
    decision_scores,
    known,
    macro,
    threshold_reason,
)
from cascade.metrics.operating import OPERATING_NAMES
from cascade.models.calibration import METHODS, Agreement, Calibration
from cascade.models.heads import StudyClassifier, disease_probabilities
from cascade.models.reader import Reader
from cascade.training.classifier import disease_truth

log = logging.getLogger(__name__)

LEAST = 10
"""A label with fewer validation studies of either class is not calibrated."""
FOLDS = 5
SCALES = (0.05, 20.0)
BIASES = (-20.0, 20.0)


@torch.no_grad()
def label_logits(
    network: StudyClassifier, dataset: StudyDataset, batch_size: int, device: str = "cpu"
) -> Tensor:
    """The scores of a dataset's studies, in order, ``(N, K)`` float32 on the CPU."""
    network = network.eval().to(device)
    parts = []
    for batch in dataset.batches(batch_size):
        logits = network(to_unit(batch.images.to(device)), batch.views.to(device))
        parts.append(logits.float().cpu())
    network.cpu()
    return torch.cat(parts)


def calibrate(
    reader: Reader, logits: Tensor, labels: Tensor, patients: Sequence[str], method: str
) -> None:
    """Set a reader's calibration and operating points from validation.

    Args:
        reader: its labels name the columns.
        logits: ``(N, K)`` of the validation studies.
        labels: ``(N, K)`` 1, 0, -1, NaN.
        patients: N names; no patient stands in two folds of the cross-fitting.
        method: of ``METHODS``.

    Raises:
        ValueError: unknown method.
    """
    scores, truth = logits.double().numpy(), labels.double().numpy()
    names = [label.name for label in reader.labels]
    fitted = fit_calibration(method, scores, truth, names, reader.exclusive)
    if fitted.kept:
        log.warning(
            "calibration=%s: left as they are, with fewer than %d validation studies of a class: "
            "%s%s",
            method,
            LEAST,
            ", ".join(fitted.kept[:8]),
            " ..." if len(fitted.kept) > 8 else "",
        )
    diseases = disease_truth(labels, reader.owners, len(reader.diseases)).double().numpy()

    def merged(found: Tensor) -> np.ndarray:
        return (
            disease_probabilities(found, reader.owners, len(reader.diseases), reader.exclusive)
            .double()
            .numpy()
        )

    plain = merged(Calibration(reader.exclusive)(logits))
    crossed = None
    if method != "none":
        crossed = cross_fitted(method, scores, truth, names, reader.exclusive, patients)
    fitted.agreement = agreement(diseases, plain, None if crossed is None else merged(crossed))
    reader.calibration = fitted
    reader.operating_points = operating_points(diseases, merged(fitted(logits)), reader.diseases)


def agreement(truth: np.ndarray, plain: np.ndarray, crossed: np.ndarray | None) -> Agreement:
    """Calibration error and Brier score before and after, ``(N, C)`` each."""

    def means(found: np.ndarray | None) -> tuple[float | None, float | None]:
        if found is None:
            return None, None
        pairs = [
            (column, score)
            for column, score in zip(truth.T, found.T, strict=True)
            if {0.0, 1.0} <= set(column[known(column)])
        ]
        if not pairs:
            return None, None
        error, _ = macro([calibration_error(*pair) for pair in pairs])
        square, _ = macro([brier(*pair) for pair in pairs])
        return round(error, 6), round(square, 6)

    return Agreement(len(truth), *means(plain), *means(crossed))


def cross_fitted(
    method: str,
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    exclusive: bool,
    patients: Sequence[str],
) -> Tensor | None:
    """Probabilities ``(N, K)`` of a calibration that was fitted on other patients.

    None where there are fewer patients than folds.
    """
    if len(set(patients)) < FOLDS:
        return None
    out = torch.zeros(logits.shape)
    for learn, held in GroupKFold(FOLDS).split(logits, groups=np.asarray(patients)):
        fitted = fit_calibration(method, logits[learn], labels[learn], names, exclusive)
        out[held] = fitted(torch.from_numpy(logits[held]).float())
    return out


def fit_calibration(
    method: str, logits: np.ndarray, labels: np.ndarray, names: Sequence[str], exclusive: bool
) -> Calibration:
    """Fit a calibration.

    ``temperature`` divides the scores by one number (Guo et al. 2017), one a label for labels that
    do not exclude each other, one for all for those that do. ``platt`` adds a bias to each label
    (Platt 1999, with his targets; for exclusive labels Alexandari et al. 2020). Both find the
    smallest log loss by L-BFGS. ``isotonic`` bends each label's probability by the best rising step
    function (Zadrozny and Elkan 2002); it makes ties, the others keep each label's order.

    Args:
        method: of ``METHODS``.
        logits: ``(N, K)``.
        labels: ``(N, K)`` 1, 0, -1, NaN.
        names: K label names.
        exclusive: softmax or sigmoid.

    Raises:
        ValueError: unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration {method!r}, expected one of {list(METHODS)}")
    if method == "none":
        return Calibration(exclusive)
    if exclusive:
        carried = (labels == 1).any(axis=1)  # as in the loss: a row that carries a label
        logits, labels = logits[carried], (labels[carried] == 1).astype(float)
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    enough = (positives >= LEAST) & (negatives >= LEAST)
    kept = [name for name, fits in zip(names, enough, strict=True) if not fits]
    if not enough.any():
        return Calibration(exclusive, method, kept=kept)
    if method == "isotonic":
        chance = Calibration(exclusive)(torch.from_numpy(logits)).numpy()
        knots = [
            _rising(chance[:, place], labels[:, place]) if enough[place] else None
            for place in range(len(names))
        ]
        return Calibration(exclusive, method, knots=knots, kept=kept)
    biased = method == "platt"
    if exclusive:
        scale, biases = _softmax_line(logits, labels.argmax(axis=1), enough & biased)
        kept = kept if biased else []
        return Calibration(
            exclusive, method, [scale] * len(names), biases.tolist() if biased else None, kept=kept
        )
    lines = [
        _sigmoid_line(logits[:, place], labels[:, place], biased) if enough[place] else (1.0, 0.0)
        for place in range(len(names))
    ]
    scales, shifts = (list(side) for side in zip(*lines, strict=True))
    return Calibration(exclusive, method, scales, shifts if biased else None, kept=kept)


def _sigmoid_line(logits: np.ndarray, labels: np.ndarray, biased: bool) -> tuple[float, float]:
    """Scale and bias of one label's scores."""
    rows = known(labels)
    z, y = logits[rows], labels[rows]
    if biased:
        positives, negatives = (y == 1).sum(), (y == 0).sum()
        y = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(parameters[0])
        line = scale * z + (parameters[1] if biased else 0.0)
        loss = np.logaddexp(0, line) - y * line
        slope = 1 / (1 + np.exp(-np.clip(line, -500, 500))) - y
        gradient = [np.mean(slope * scale * z), np.mean(slope)]
        return float(loss.mean()), np.array(gradient[: 1 + biased])

    found = _smallest(cost, 1 + biased)
    return float(np.exp(found[0])), float(found[1]) if biased else 0.0


def _softmax_line(
    logits: np.ndarray, classes: np.ndarray, biased: np.ndarray
) -> tuple[float, np.ndarray]:
    """One scale of all scores, and a bias of those ``biased``; the others have 0."""
    rows = np.arange(len(logits))
    truth = np.eye(logits.shape[1])[classes]

    def spread(parameters: np.ndarray) -> np.ndarray:
        bias = np.zeros(logits.shape[1])
        bias[biased] = parameters[1:]
        return bias

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(parameters[0])
        said = log_softmax(scale * logits + spread(parameters), axis=1)
        slope = (np.exp(said) - truth) / len(rows)
        gradient = [(slope * scale * logits).sum(), *slope.sum(axis=0)[biased]]
        return float(-said[rows, classes].mean()), np.array(gradient)

    found = _smallest(cost, 1 + int(biased.sum()))
    return float(np.exp(found[0])), spread(found)


def _smallest(cost: Any, count: int) -> np.ndarray:
    bounds = [tuple(np.log(SCALES)), *[BIASES] * (count - 1)]
    result = minimize(cost, np.zeros(count), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(result.x)


def _rising(chance: np.ndarray, labels: np.ndarray) -> tuple[list[float], list[float]]:
    rows = known(labels)
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(chance[rows], labels[rows])
    return fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist()


def operating_points(
    truth: np.ndarray, probabilities: np.ndarray, diseases: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What a bundle keeps of each disease's operating points: plain values.

    Args:
        truth: ``(N, C)`` 1, 0, -1, NaN of validation.
        probabilities: ``(N, C)``, calibrated.
        diseases: C names.

    Returns:
        disease -> ``positives`` and ``negatives`` of validation, and for each name of
        ``OPERATING_NAMES`` its ``threshold`` (None where nothing is called present), the
        ``sensitivity``, ``specificity`` and ``f1`` that it had on validation, and the ``reason``
        why there is no threshold.
    """
    out: dict[str, dict[str, Any]] = {}
    for name, point in OPERATING_NAMES.items():
        thresholds = [
            choose_threshold(true, said, point)
            for true, said in zip(truth.T, probabilities.T, strict=True)
        ]
        scores = decision_scores(truth, probabilities >= thresholds, diseases)
        columns = {column: scores[column].to_numpy(dtype=float) for column in scores}
        for place, (disease, threshold) in enumerate(zip(diseases, thresholds, strict=True)):
            counts = {key: int(columns[key][place]) for key in ("positives", "negatives")}
            record: dict[str, Any] = {"threshold": None}
            record["reason"] = threshold_reason(threshold, **counts)
            if np.isfinite(threshold):
                record["threshold"] = float(threshold)
                for key in ("sensitivity", "specificity", "f1"):
                    column = "recall" if key == "sensitivity" else key
                    record[key] = round(float(columns[column][place]), 4)
            out.setdefault(disease, dict(counts))[name] = record
    return out
