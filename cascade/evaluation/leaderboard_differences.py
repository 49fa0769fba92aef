"""Whether one configuration beats another: over paired rows where predictions allow, over seeds.

The paired bootstrap draws patients and says whether the difference would stay with other patients;
with several seeds a Welch interval says whether it would stay with another training. Where both are
there, a difference holds only if both leave out 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cascade.evaluation.significance import (
    CONFIDENCE,
    Figure,
    Resampling,
    Statistic,
    interval,
)
from cascade.evaluation.statistics import DetectionScores, TextScores

DETECTION = ("macro_auroc", "macro_average_precision", "macro_brier", "macro_calibration_error")
"""Metrics of the label probabilities; they ask for the same labels of the rows."""
TOLERANCE = 1e-5
"""``metrics.json`` keeps six digits; a figure farther off was worked out of something else."""


@dataclasses.dataclass
class Answers:
    """What one system said of the rows, as far as the disk tells.

    Attributes:
        study_ids: ``N`` ids.
        patients: ``N`` ids, or None.
        references, hypotheses: ``N`` texts, or None.
        truth, probabilities: ``(N, K)``, one column a label, or None.
    """

    study_ids: list[str]
    patients: list[str] | None = None
    references: list[str] | None = None
    hypotheses: list[str] | None = None
    truth: pd.DataFrame | None = None
    probabilities: pd.DataFrame | None = None

    def reordered(self, study_ids: Sequence[str]) -> Answers:
        """The same rows in another order.

        Raises:
            KeyError: a study is missing.
        """
        place = {study: row for row, study in enumerate(self.study_ids)}
        order = [place[study] for study in study_ids]

        def pick(values: Any) -> Any:
            if isinstance(values, pd.DataFrame):
                return values.iloc[order].reset_index(drop=True)
            return None if values is None else [values[row] for row in order]

        return Answers(
            list(study_ids),
            *map(
                pick,
                (self.patients, self.references, self.hypotheses, self.truth, self.probabilities),
            ),
        )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A configuration minus the leader, of one metric.

    Attributes:
        value: the difference of the means.
        rows: its interval over patients, paired; NaN without paired rows.
        seeds: its interval over seeds; NaN where either has one seed.
        holds: whether every interval there is leaves out 0.
        basis: what that rests on, for print.
    """

    value: float
    rows: tuple[float, float]
    seeds: tuple[float, float]
    holds: bool
    basis: str

    @property
    def paired(self) -> bool:
        """Whether the rows were paired."""
        return not math.isnan(self.rows[0])


@dataclasses.dataclass
class Samples:
    """By entry the metric under every resample, the same for all; and why some have none."""

    draws: dict[str, np.ndarray]
    notes: list[str]


def resample(
    entries: Mapping[str, tuple[Callable[[], Answers | None], float]],
    metric: str,
    kind: str,
    tokenizer: str,
    resamples: int,
    seed: int,
) -> Samples:
    """One metric of every entry under the same draws of patients.

    Args:
        entries: name -> what reads its answers, and the stored figure, which the answers must give
            again; an entry whose do not is left out, and that is said.
        metric: that of ``TextScores`` or ``DetectionScores``.
        kind: of the texts.
        tokenizer: of the texts.
        resamples: how many.
        seed: of the draws.
    """
    found = Samples({}, [])
    read = {name: answers() for name, (answers, _) in entries.items()}
    usable = {name: answers for name, answers in read.items() if answers is not None}
    if not usable or not resamples:
        return found
    order = sorted(next(iter(usable.values())).study_ids)
    patients: list[str] | None = None
    for answers in usable.values():
        if answers.patients is not None and sorted(answers.study_ids) == order:
            patients = answers.reordered(order).patients
            break
    if patients is None:
        found.notes.append(
            "Paired differences take each study as its own patient (the collection was not found): "
            "their intervals may be too narrow."
        )
    draws = Resampling(patients or order, resamples, seed)
    apart = []
    for name, answers in usable.items():
        try:
            statistic = _statistic(answers.reordered(order), metric, kind, tokenizer)
        except KeyError:
            statistic = None
        if statistic is None:
            continue
        if not abs(draws.point(statistic)[metric] - entries[name][1]) < TOLERANCE:
            apart.append(name)
            continue
        if draws.resamples:
            found.draws[name] = draws.samples(statistic)[metric]
    if apart:
        found.notes.append(
            f"Not paired: the predictions of {', '.join(apart)} do not give the figure that "
            "metrics.json states (an earlier version's, or changed since)."
        )
    return found


def _statistic(answers: Answers, metric: str, kind: str, tokenizer: str) -> Statistic | None:
    """The metric alone as a function of weights; None where the answers do not give it."""
    if metric in DETECTION:
        if answers.truth is None or answers.probabilities is None:
            return None
        names = [str(name) for name in answers.truth.columns]
        if not set(names) <= set(answers.probabilities.columns):
            return None
        figures = DetectionScores(
            answers.truth.to_numpy(dtype=float),
            answers.probabilities[names].to_numpy(dtype=float),
            names,
        ).figures
    else:
        if answers.hypotheses is None or answers.references is None or kind not in _KINDS:
            return None
        figures = TextScores(
            answers.hypotheses, answers.references, tokenizer, _KINDS[kind]
        ).figures
    if metric not in figures(np.ones((1, len(answers.study_ids)))):
        return None
    return lambda weights: {metric: figures(weights)[metric]}


_KINDS: dict[str, Any] = {"annotation": "annotation", "report": "report"}

_NONE = (math.nan, math.nan)

Side = tuple[Figure, Sequence[float], Sequence["np.ndarray | None"]]
"""A configuration's pooled score, its value by seed, and the samples by seed."""


def compare(first: Side, second: Side) -> Comparison:
    """``second - first``; ``first`` is the leader.

    >>> seeds = [0.5, 0.6, 0.7], [0.1, 0.2, 0.3]
    >>> sides = [(Figure(sum(values) / 3), values, [None] * 3) for values in seeds]
    >>> found = compare(*sides)
    >>> round(found.value, 3), found.holds, found.basis
    (-0.4, True, 'not paired: over seeds')
    """
    (score, values, draws), (other, other_values, other_draws) = first, second
    value = other.value - score.value
    several = min(_count(values), _count(other_values)) > 1
    seeds = _welch(other_values, values) if several else _NONE
    every = [*draws, *other_draws]
    if every and all(d is not None for d in every):
        one, two = (
            np.mean([d for d in side if d is not None], axis=0) for side in (draws, other_draws)
        )
        rows = interval(two - one)
        holds = _leaves_out_zero(rows) and (not several or _leaves_out_zero(seeds))
        basis = "paired rows, and over seeds" if several else "paired rows, one seed"
        return Comparison(value, rows, seeds, holds, basis)
    if several:
        return Comparison(value, _NONE, seeds, _leaves_out_zero(seeds), "not paired: over seeds")
    if math.isnan(score.low) or math.isnan(other.low):
        return Comparison(value, _NONE, _NONE, False, "not paired, no interval")
    apart = other.high < score.low or score.high < other.low
    told = "apart" if apart else "overlap"
    return Comparison(value, _NONE, _NONE, apart, f"not paired: intervals {told}")


def _count(values: Sequence[float]) -> int:
    return sum(not math.isnan(value) for value in values)


def _leaves_out_zero(ends: tuple[float, float]) -> bool:
    return ends[0] > 0 or ends[1] < 0


def _welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The interval of the difference of two means, of unequal variances.

    >>> low, high = _welch([0.5, 0.6, 0.7], [0.1, 0.2, 0.3])
    >>> round(low, 3), round(high, 3)
    (0.173, 0.627)
    """
    one, other = (np.array([v for v in values if not math.isnan(v)]) for values in (first, second))
    value = float(one.mean() - other.mean())
    parts = [float(side.var(ddof=1)) / len(side) for side in (one, other)]
    if sum(parts) == 0:  # runs that do not scatter at all
        return value, value
    counts = (len(one) - 1, len(other) - 1)
    free = sum(parts) ** 2 / sum(p**2 / n for p, n in zip(parts, counts, strict=True))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, free)) * math.sqrt(sum(parts))
    return value - reach, value + reach
