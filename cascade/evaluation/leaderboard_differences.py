"""Whether one configuration beats another: paired over rows where predictions allow, and over seeds.

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

RESAMPLED_DETECTION = ("macro_auroc", "macro_average_precision")
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
        low, high: the interval that decides: paired over patients, or else over seeds; NaN where
            there is neither.
        holds: whether the difference is one.
        basis: what that rests on, for print.
        paired: whether the rows were paired.
    """

    value: float
    low: float
    high: float
    holds: bool
    basis: str
    paired: bool


@dataclasses.dataclass
class Samples:
    """``draws``: by entry the metric under every resample, all under the same; ``notes``: why not."""

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
    if metric in RESAMPLED_DETECTION:
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

Side = tuple[Figure, Sequence[float], Sequence["np.ndarray | None"]]
"""A configuration's pooled score, its value by seed, and the samples by seed."""


def compare(metric: str, first: Side, second: Side) -> Comparison:
    """``second - first``.

    Args:
        metric: for the record.
        first: the leader.
        second: another.
    """
    (score, values, draws), (other, other_values, other_draws) = first, second
    value = other.value - score.value
    several = min(_count(values), _count(other_values)) > 1
    seeds = _welch(other_values, values) if several else (math.nan, math.nan)
    drawn = [d for d in draws if d is not None]
    other_drawn = [d for d in other_draws if d is not None]
    if drawn and other_drawn and len(drawn) + len(other_drawn) == len(draws) + len(other_draws):
        low, high = interval(np.mean(other_drawn, axis=0) - np.mean(drawn, axis=0))
        holds = _leaves_out_zero(low, high)
        if several:
            holds = holds and _leaves_out_zero(*seeds)
            return Comparison(value, low, high, holds, "paired rows, and over seeds", True)
        return Comparison(value, low, high, holds, "paired rows, one seed", True)
    if several:
        return Comparison(value, *seeds, _leaves_out_zero(*seeds), "not paired: over seeds", False)
    apart = other.high < score.low or score.high < other.low
    told = "apart" if apart else "overlap"
    return Comparison(
        value, math.nan, math.nan, bool(apart), f"not paired: intervals {told}", False
    )


def _count(values: Sequence[float]) -> int:
    return sum(not math.isnan(value) for value in values)


def _leaves_out_zero(low: float, high: float) -> bool:
    return bool(low > 0 or high < 0)


def _welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The interval of the difference of two means, of unequal variances.

    >>> low, high = _welch([0.5, 0.6, 0.7], [0.1, 0.2, 0.3])
    >>> round(low, 3), round(high, 3)
    (0.173, 0.627)
    """
    one, other = ([v for v in values if not math.isnan(v)] for values in (first, second))
    value = float(np.mean(one) - np.mean(other))
    if np.ptp(one) == 0 and np.ptp(other) == 0:  # runs that do not scatter at all
        return value, value
    found = stats.ttest_ind(one, other, equal_var=False).confidence_interval(CONFIDENCE)
    return float(found.low), float(found.high)
