"""Classical detectors, so that a network has to earn its place.

Three of scikit-learn, each on 32 x 32 pixels and on the pooled features of the encoder that is
scored. Those on pixels ask what the whole network adds; those on features what its last layer and
its fine-tuning of that layer add: they borrow the encoder, so a system that does not beat them may
still have a good encoder. Nothing is tuned, and nothing sees the rows scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cascade.evaluation.systems import Rows, System, Training
from cascade.metrics.classification import known

NEIGHBOURS = 15
PIXEL_SIDE = 32
LOGISTIC_C = 0.001
SVM_C = 0.0001
"""Regularisation: fixed, so that nothing is tuned on the rows scored."""
SVM_FOLDS = 3
MOST_TRAINING_ROWS = 4000
"""The detectors learn from at most so many studies, drawn by seed."""
MOST_SVM_ROWS = 2000
"""Four support vector machines a label (three folds and the whole) cost most: 0.3 s at this."""

ON_PIXELS = "pixels"
ON_FEATURES = "encoder features"


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a detector learns from, and what it is asked about.

    Attributes:
        learned: ``(M, D)`` training rows.
        truth: ``(M, K)`` their labels, 1, 0, -1 or NaN.
        asked: ``(N, D)``.
        rates: ``(K,)`` the share of positives: the answer where a label cannot be learned.
        seed: of whatever is drawn.
    """

    learned: np.ndarray
    truth: np.ndarray
    asked: np.ndarray
    rates: np.ndarray
    seed: int


def small_pixels(images: np.ndarray, side: int = PIXEL_SIDE) -> np.ndarray:
    """Mean-pool to ``side`` by ``side`` and make each image zero-mean of unit deviation, flat.

    So exposure does not count: cosine similarity of two such rows is their correlation.

    Shape:
        - images: ``(N, h, w)``; output: ``(N, side * side)`` float32 (fewer where h or w are less)
    """
    images = np.asarray(images)
    pooled = images.astype(np.float32)
    for axis in (1, 2):
        size = pooled.shape[axis]
        if size > side:
            starts = np.linspace(0, size, side, endpoint=False).astype(int)
            counts = np.diff(np.r_[starts, size])
            shape = [1, 1, 1]
            shape[axis] = len(counts)
            pooled = np.add.reduceat(pooled, starts, axis=axis) / counts.reshape(shape)
    flat = pooled.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    return np.asarray(flat / np.where(deviation > 0, deviation, 1), dtype=np.float32)


def prevalence(truth: np.ndarray) -> np.ndarray:
    """Share of 1 among the 1 and 0 of each column, ``(K,)``; 0 where nothing is known."""
    scored = known(truth)
    positives = (truth == 1).sum(axis=0)
    return np.asarray(positives / np.maximum(scored.sum(axis=0), 1))


def logistic(lesson: Lesson, c: float = LOGISTIC_C) -> np.ndarray:
    """One logistic regression a label, ``(N, K)``; the rate where a label has one class.

    ``c`` is the inverse of the regularisation's strength.
    """
    return _each_label(lesson, 1, lambda: LogisticRegression(C=c, max_iter=300, tol=1e-3))


def linear_svm(lesson: Lesson) -> np.ndarray:
    """One linear support vector machine a label, ``(N, K)``.

    Its distance from the plane becomes a probability by Platt's sigmoid, fitted on what machines of
    the other folds say of each training fold. The rate where a class has fewer than three studies.
    """
    rows = _drawn(len(lesson.learned), MOST_SVM_ROWS, lesson.seed)
    fewer = dataclasses.replace(lesson, learned=lesson.learned[rows], truth=lesson.truth[rows])
    return _each_label(
        fewer,
        SVM_FOLDS,
        lambda: CalibratedClassifierCV(
            LinearSVC(C=SVM_C, dual=True, tol=1e-2, random_state=lesson.seed),
            method="sigmoid",
            cv=StratifiedKFold(SVM_FOLDS, shuffle=True, random_state=lesson.seed),
            ensemble=False,
        ),
    )


def _each_label(lesson: Lesson, least: int, create: Callable[[], object]) -> np.ndarray:
    """One model a label on standardised columns; the rate where a class has too few rows."""
    scaler = StandardScaler().fit(lesson.learned)
    learned, asked = scaler.transform(lesson.learned), scaler.transform(lesson.asked)
    output = np.tile(lesson.rates, (len(asked), 1))
    for place in range(lesson.truth.shape[1]):
        truth = lesson.truth[:, place]
        if min((truth == 1).sum(), (truth == 0).sum()) < least:
            continue
        rows = known(truth)
        model = create()
        model.fit(learned[rows], truth[rows])  # type: ignore[attr-defined]
        output[:, place] = model.predict_proba(asked)[:, 1]  # type: ignore[attr-defined]
    return output


def neighbour_rates(lesson: Lesson, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Share of carriers among the nearest training rows (cosine) that are known, ``(N, K)``.

    One more row of the training rate is added, so that no probability rests on nothing.
    """
    count = min(neighbours, len(lesson.learned))
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
    nearest = search.fit(lesson.learned).kneighbors(lesson.asked, return_distance=False)
    labels = lesson.truth[nearest]
    positives = (labels == 1).sum(axis=1) + lesson.rates
    return np.asarray(positives / (known(labels).sum(axis=1) + 1))


METHODS: dict[str, tuple[Callable[[Lesson], np.ndarray], str]] = {
    "logistic regression": (
        logistic,
        f"One logistic regression a label, each column standardised, C = {LOGISTIC_C}",
    ),
    "k nearest neighbours": (
        neighbour_rates,
        f"The share of carriers among the {NEIGHBOURS} training studies of highest cosine "
        "similarity, drawn towards the prevalence by one study",
    ),
    "linear SVM": (
        linear_svm,
        f"One linear support vector machine a label, each column standardised, C = {SVM_C}, its "
        f"distances made probabilities by Platt scaling over {SVM_FOLDS} training folds (at most "
        f"{MOST_SVM_ROWS} studies)",
    ),
}


def detection_baselines(rows: Rows, training: Training, seed: int) -> list[System]:
    """The trivial detectors that the training data allow: prevalence, then three a kind of input.

    Each also answers for the validation studies where their inputs are given, so that it has
    operating points.
    """
    if training.labels is None or not rows.labels:
        return []
    if not any(name in training.labels.columns for name in rows.labels):
        return []
    truth = training.labels.reindex(columns=rows.labels).to_numpy(dtype=float)
    rates = prevalence(truth)
    validation = None if training.val_labels is None else len(training.val_labels)

    def system(name: str, values: np.ndarray, val_count: int | None, note: str) -> System:
        """Of values whose first rows are the validation studies'."""
        table = pd.DataFrame(np.clip(values, 0, 1), columns=rows.labels)
        cut = val_count or 0
        return System(
            name,
            probabilities=table[cut:].reset_index(drop=True),
            trivial=True,
            note=note,
            val_probabilities=None if val_count is None else table[:cut],
        )

    made = [
        system(
            "prevalence",
            np.tile(rates, (len(rows) + (validation or 0), 1)),
            validation,
            "The share of training studies that carry the label, for every study.",
        )
    ]
    chosen = _drawn(len(truth), MOST_TRAINING_ROWS, seed)
    drawn = f", {len(chosen)} training studies drawn by seed {seed}"
    for kind, learned, val, test in (
        (ON_PIXELS, training.pixels, training.val_pixels, training.test_pixels),
        (ON_FEATURES, training.features, training.val_features, training.test_features),
    ):
        if learned is None or test is None:
            continue
        answered = None if val is None else validation
        parts = [learned[chosen], *([] if answered is None or val is None else [val]), test]
        flat = [
            small_pixels(part) if kind == ON_PIXELS else np.asarray(part, dtype=np.float32)
            for part in parts
        ]
        lesson = Lesson(flat[0], truth[chosen], np.concatenate(flat[1:]), rates, seed)
        source = (
            f"on {PIXEL_SIDE} x {PIXEL_SIDE} pixels"
            if kind == ON_PIXELS
            else "on the pooled features of the encoder scored, which it borrows"
        )
        for name, (method, note) in METHODS.items():
            told = f"{note}; {source}{drawn if len(chosen) < len(truth) else ''}. Nothing is tuned."
            made.append(system(f"{name} on {kind}", method(lesson), answered, told))
    return made


def _drawn(count: int, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``count`` row numbers, rising, drawn by seed."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
