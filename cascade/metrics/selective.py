"""Drafts ranked by their confidence: what is gained by leaving the least confident to a reader.

Selective prediction as El-Yaniv and Wiener (JMLR 11, 2010) frame it: of the drafts above a
threshold, which share is that (coverage), and how good are they (here a quality in [0, 1]; its
complement is the risk). Geifman and El-Yaniv (NeurIPS 2017) choose the threshold for a wanted risk;
here it is chosen for a wanted coverage, which looks at the confidences alone, so that the quality
told beside it is not what was optimised.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

DECIMALS = 6
"""Of a threshold; rows of annotations round confidences to as many."""


class Selection(NamedTuple):
    """What a threshold does to some drafts.

    Attributes:
        studies: how many.
        coverage: the share at the threshold or above.
        quality: mean quality of all.
        kept: mean quality of those at the threshold or above; NaN where there are none.
        withheld: of the others; NaN likewise.
        area: under the risk-coverage curve, in [0, 1], the lower the better.
        random: that of a random order, the mean risk.
        best: that of the order by quality itself.
    """

    studies: int
    coverage: float
    quality: float
    kept: float
    withheld: float
    area: float
    random: float
    best: float


def risk_coverage(confidences: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """The mean risk of the 1, 2, ... N most confident drafts, ``(N,)``.

    Drafts of one confidence are in random order: each has the mean risk of them all.

    >>> risk_coverage(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 0.5])).tolist()
    [0.0, 0.25, 0.5]
    """
    _, group = np.unique(-np.asarray(confidences), return_inverse=True)
    sizes = np.bincount(group)
    means = np.bincount(group, weights=1.0 - np.asarray(quality, dtype=float)) / sizes
    risks = np.repeat(means, sizes)
    return np.asarray(np.cumsum(risks) / np.arange(1, len(risks) + 1))


def choose_cut(confidences: np.ndarray, coverage: float) -> float:
    """The highest threshold that keeps a share ``coverage`` of the drafts, or more with ties.

    Raises:
        ValueError: no draft, or a share that is not above 0 and at most 1.

    >>> choose_cut(np.array([0.9, 0.2, 0.6, 0.4]), 0.75)
    0.4
    """
    if not len(confidences):
        raise ValueError("no draft to choose a threshold on")
    if not 0 < coverage <= 1:
        raise ValueError(f"a coverage of {coverage} is not above 0 and at most 1")
    falling = np.sort(confidences)[::-1]
    cut = float(falling[math.ceil(round(coverage * len(falling), 9)) - 1])
    return math.floor(cut * 10**DECIMALS) / 10**DECIMALS


def select(confidences: np.ndarray, quality: np.ndarray, threshold: float) -> Selection:
    """What a threshold does to drafts of known quality.

    Args:
        confidences: ``(N,)``, one draft at least.
        quality: ``(N,)`` in [0, 1].
        threshold: a draft of less confidence is withheld.
    """
    confidences, quality = np.asarray(confidences), np.asarray(quality, dtype=float)
    above = confidences >= threshold
    return Selection(
        studies=len(quality),
        coverage=float(above.mean()),
        quality=float(quality.mean()),
        kept=float(quality[above].mean()) if above.any() else math.nan,
        withheld=float(quality[~above].mean()) if not above.all() else math.nan,
        area=float(risk_coverage(confidences, quality).mean()),
        random=float(1 - quality.mean()),
        best=float(risk_coverage(quality, quality).mean()),
    )
