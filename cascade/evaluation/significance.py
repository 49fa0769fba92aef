"""How sure a figure is: percentile bootstrap over patients, single and paired.

Studies of one patient resemble each other, so patients are drawn with replacement and bring all
their studies. All systems are scored on the same draws, so the difference of two systems has its
own interval (paired), usually narrower than either. A resample is a row of weights: how often each
study was drawn. A statistic that takes weights is therefore resampled by array operations.

McNemar's exact test answers the same question for right and wrong answers, study by study: it takes
studies as independent, so where patients have several the bootstrap is to be believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK_CELLS = 4_000_000
"""Weights in memory at once: resamples are taken in chunks of at most so many cells."""

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights ``(R, N)`` to named figures ``(R,)`` each, NaN where undefined."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number and its percentile interval; ``low`` and ``high`` are NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Difference:
    """``second - first`` of one metric on the same rows, with the paired interval.

    Attributes:
        holds: whether the interval leaves out 0.
    """

    metric: str
    first: str
    second: str
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """True where the interval excludes 0; False where it does not, or there is none."""
        return bool(self.low > 0 or self.high < 0)


class Resampling:
    """One seeded set of draws of patients, shared by everything scored on the rows.

    Args:
        patient_ids: ``N`` ids, one a study.
        resamples: how many draws; 0 for no intervals.
        seed: of the draws.
    """

    def __init__(
        self, patient_ids: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        """Number the patients."""
        self.patient_of_row, patients = pd.factorize(
            np.asarray(patient_ids, dtype=object), use_na_sentinel=False
        )
        self.patients = len(patients)
        self.rows = len(self.patient_of_row)
        # One patient drawn again and again is always the same: no interval, not a narrow one.
        self.resamples = resamples if self.patients > 1 else 0
        self.seed = seed

    def weights(self) -> Iterator[np.ndarray]:
        """How often each study was drawn, in chunks ``(r, N)``; the same at every call."""
        generator = np.random.default_rng(self.seed)
        step = max(1, CHUNK_CELLS // max(1, self.rows))
        even = np.full(self.patients, 1 / max(1, self.patients))
        for start in range(0, self.resamples, step):
            size = min(step, self.resamples - start)
            drawn = generator.multinomial(self.patients, even, size=size)
            yield drawn.astype(np.float64)[:, self.patient_of_row]

    def samples(self, statistic: Statistic) -> dict[str, np.ndarray]:
        """Every figure of ``statistic`` under every resample, ``(resamples,)`` each."""
        parts = [statistic(weights) for weights in self.weights()]
        if not parts:
            return {name: np.empty(0) for name in self.point(statistic)}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def point(self, statistic: Statistic) -> dict[str, float]:
        """The figures on the rows as they are."""
        values = statistic(np.ones((1, self.rows)))
        return {name: float(value[0]) for name, value in values.items()}


def interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval; resamples in which the figure is undefined are passed over.

    >>> interval(np.array([1.0, 2.0, 3.0]), confidence=0.5)
    (1.5, 2.5)
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def figure(value: float, samples: np.ndarray) -> Figure:
    """A value with the interval of its samples."""
    return Figure(value, *interval(samples)) if not np.isnan(value) else Figure(value)


def difference(
    metric: str,
    first: tuple[str, float, np.ndarray],
    second: tuple[str, float, np.ndarray],
) -> Difference:
    """``second - first``; each is a name, a value and its samples, of the same draws."""
    low, high = interval(second[2] - first[2])
    return Difference(metric, first[0], second[0], second[1] - first[1], low, high)


def bootstrap(
    statistic: Statistic,
    patient_ids: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures with intervals, by patient.

    >>> right = np.array([1.0, 1.0, 0.0, 0.0])
    >>> share = lambda weights: {"share": weights @ right / weights.sum(axis=1)}
    >>> bootstrap(share, ["a", "b", "c", "d"])["share"].value
    0.5
    """
    draws = Resampling(patient_ids, resamples, seed)
    samples = draws.samples(statistic)
    return {name: figure(value, samples[name]) for name, value in draws.point(statistic).items()}


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    patient_ids: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """``second - first`` of each figure that both have, on the same rows and draws."""
    draws = Resampling(patient_ids, resamples, seed)
    ones, others = draws.point(first), draws.point(second)
    samples, other_samples = draws.samples(first), draws.samples(second)
    return {
        name: difference(
            name,
            ("first", ones[name], samples[name]),
            ("second", others[name], other_samples[name]),
        )
        for name in ones
        if name in others
    }


@dataclasses.dataclass(frozen=True)
class McNemar:
    """How often each of two systems is right on the same rows, and McNemar's exact p.

    Attributes:
        both, first_only, second_only, neither: how many rows.
        p: two-sided, of as uneven a split of the rows that they disagree on; 1 where there is none.
    """

    both: int
    first_only: int
    second_only: int
    neither: int
    p: float


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Whether one system is right more often, by the rows on which just one is.

    Args:
        first_right: ``(N,)`` bool.
        second_right: ``(N,)`` bool, of the same rows.

    Raises:
        ValueError: other numbers of rows.

    >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True])).p
    0.125
    """
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} rows of the first system, {len(second)} of the second")
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return McNemar(int((first & second).sum()), one, other, int((~first & ~second).sum()), p)


def adjusted(p: Sequence[float]) -> list[float]:
    """P values corrected for their number: the false discovery rate (Benjamini and Hochberg).

    >>> adjusted([0.01, 0.04])
    [0.02, 0.04]
    """
    return [float(value) for value in stats.false_discovery_control(p)] if len(p) else []
